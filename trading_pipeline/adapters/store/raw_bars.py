"""Raw bars in the lake: every version of each, read as known at an instant."""

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.bars import BAR_SCHEMA
from trading_pipeline.core.versions import append_versions, as_known_at, known_from


def record_raw_bars(lake: Lake, bars: pl.DataFrame, *, sessions: Sequence[date], now: datetime) -> list[date]:
    """Add what is new among delivered bars, in bar or raw format, and return the sessions that gained versions.

    A bar that was delivered before and says something else now becomes a second version; the first stays.

    Raises:
        DataQualityError: a version offered for an instant of which another one is stored.
    """
    offered = known_from(bars, now)
    return lake.update(Dataset.RAW_BARS, lambda present: append_versions(present, offered), sessions=sessions)


def read_raw_bars(lake: Lake, *, start: date, end: date, known_at: datetime | None = None) -> pl.DataFrame:
    """Return raw bars of a range, both ends included, as they were known at an instant (None: now), in bar format.

    Raises:
        DataQualityError: no raw bar was ever written, or they cannot be read.
    """
    return as_known_at(lake.read(Dataset.RAW_BARS, start=start, end=end), known_at).select(BAR_SCHEMA.names())
