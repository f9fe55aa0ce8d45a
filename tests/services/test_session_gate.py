"""The gates of a range read at once: every session that was not passed is named with its reason."""

from datetime import date
from pathlib import Path

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.manifest import MANIFEST_SCHEMA
from trading_pipeline.core.quality.coverage import SESSION_SCHEMA
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.session_gate import failed_gates, one_refusal

DAYS = xnys().between(date(2024, 7, 1), date(2024, 7, 9))


def test_each_session_of_a_range_has_its_own_reason(tmp_path: Path) -> None:
    """Unjudged, a hole, too old, and without a judgement of freshness; the others pass."""
    lake = Lake(tmp_path)
    assert len(DAYS) == len(failed_gates(lake, DAYS))
    judged = DAYS[1:]
    verdicts = ["look_ahead", *["usable"] * (len(judged) - 1)]
    rows = [[day, verdict, 4, 2, 2, 0] for day, verdict in zip(judged, verdicts, strict=True)]
    lake.write(Dataset.SESSION_VERDICTS, pl.DataFrame(rows, schema=SESSION_SCHEMA, orient="row"), sessions=judged)
    aged = DAYS[:-1]
    states = [[day, "A", xnys().close_at(day), 0, "fresh", day != DAYS[2]] for day in aged]
    lake.write(Dataset.FRESHNESS, pl.DataFrame(states, schema=MANIFEST_SCHEMA, orient="row"), sessions=aged)

    refused = failed_gates(lake, DAYS)

    reasons = ["no quality gate", "calls it look_ahead", "not fresh enough, 1 of 1", "no freshness was judged"]
    assert [DAYS[0], DAYS[1], DAYS[2], DAYS[-1]] == list(refused)
    assert [True] * 4 == [reason in one.message for reason, one in zip(reasons, refused.values(), strict=True)]
    together = one_refusal(refused)
    assert [str(day) for day in refused] == together.fields["sessions"]
    assert f"4 sessions did not pass their gates: {DAYS[0]}, {DAYS[1]}" in together.message
    assert one_refusal({DAYS[1]: refused[DAYS[1]]}) is refused[DAYS[1]]
