"""When a simulation plays: in the middle of the session that orders work in which were decided from the one before."""

from datetime import UTC, date, datetime

from trading_pipeline.core.sessions import xnys

SESSION = date(2023, 9, 1)
TRADED = xnys().next(SESSION)
OPENED, CLOSED = xnys().open_at(TRADED), xnys().close_at(TRADED)
START = datetime(2023, 9, 5, 15, tzinfo=UTC)
