"""Bars that an operator has accepted although the gate held them: each with who, why and when. Nothing is deleted."""

from datetime import date, datetime
from typing import Final

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.quality.gate import ACCEPTANCE_SCHEMA
from trading_pipeline.core.risk.halts import OperatorAction

ACCEPTANCE_LOG_SCHEMA: Final = pl.Schema(
    {
        **ACCEPTANCE_SCHEMA,
        "reasons": pl.String(),
        "accepted": pl.Boolean(),
        "operator": pl.String(),
        "why": pl.String(),
        "at": pl.Datetime("us", "UTC"),
    }
)
"""One row a decision: `accepted` is false where an acceptance was taken back; the newest decision on a bar counts."""
_BAR: Final = ACCEPTANCE_SCHEMA.names()


def record_decisions(
    lake: Lake, bars: pl.DataFrame, *, accepted: bool, action: OperatorAction, now: datetime
) -> list[date]:
    """Add a decision on bars (`ACCEPTANCE_SCHEMA` and `reasons`) and return the sessions that gained one.

    A decision that is the newest one on its bar already is not added again.
    """
    offered = bars.select(
        *_BAR,
        "reasons",
        pl.lit(accepted).alias("accepted"),
        pl.lit(action.operator).alias("operator"),
        pl.lit(action.reason).alias("why"),
        pl.lit(now).alias("at"),
    ).cast(ACCEPTANCE_LOG_SCHEMA)

    def merge(present: pl.DataFrame | None) -> pl.DataFrame:
        if present is None:
            return offered
        same = _newest(present).filter(pl.col("accepted") == accepted)
        return pl.concat([present, offered.join(same, on=_BAR, how="anti", nulls_equal=True)])

    return lake.update(Dataset.ACCEPTANCES, merge, sessions=offered["session"].unique().to_list())


def read_acceptances(
    lake: Lake, *, start: date = date.min, end: date = date.max, known_at: datetime | None = None
) -> pl.DataFrame:
    """Return the bars of a range that are accepted as of an instant (None: now), in `ACCEPTANCE_LOG_SCHEMA`."""
    if not lake.sessions(Dataset.ACCEPTANCES, start=start, end=end):
        return ACCEPTANCE_LOG_SCHEMA.to_frame()
    log = lake.read(Dataset.ACCEPTANCES, start=start, end=end)
    if known_at is not None:
        log = log.filter(pl.col("at") <= known_at)
    return _newest(log).filter(pl.col("accepted"))


def _newest(log: pl.DataFrame) -> pl.DataFrame:
    return log.sort("at").unique(_BAR, keep="last", maintain_order=True)
