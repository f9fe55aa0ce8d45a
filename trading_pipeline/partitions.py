"""The partitions of every daily asset: one key an exchange session, addressable from the next midnight in New York."""

from datetime import datetime, time

import dagster as dg

from trading_pipeline.core.sessions import xnys

EXCHANGE_TIME_ZONE = "America/New_York"
KEY_FORMAT = "%Y-%m-%d"

_FIRST = xnys().sessions[0]

SESSIONS = dg.TimeWindowPartitionsDefinition(
    start=datetime.combine(_FIRST, time()),
    fmt=KEY_FORMAT,
    timezone=EXCHANGE_TIME_ZONE,
    cron_schedule="0 0 * * *",
    exclusions=["0 0 * * 0,6", *(datetime.combine(day, time()) for day in xnys().closures)],
)

PREVIOUS_SESSION = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
"""Maps a session to the one before it: what was decided there happens here."""

IN_ONE_RUN = dg.BackfillPolicy.single_run()
"""For assets that compute any range of sessions at once."""
