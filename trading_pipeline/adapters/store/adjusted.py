"""Good bars with corporate actions applied, read from the lake; what is stored stays as it was traded."""

from datetime import date, datetime

import polars as pl

from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.adjustment import Anchor, Convention, adjustment_events, apply_events


def read_adjusted_bars(
    lake: Lake,
    *,
    start: date,
    end: date,
    convention: Convention = Convention.PREVIOUS_CLOSE,
    anchor: Anchor = Anchor.FIRST,
    known_at: datetime | None = None,
) -> pl.DataFrame:
    """Return the good bars of a range, both ends included, adjusted for the actions up to its end.

    With no actions known they are the stored bars, bit for bit. With `Anchor.FIRST` a row is the same whatever range it
    is read in, and depends on nothing after its session.

    Raises:
        DataQualityError: there are no bars, or an action does not fit them.
    """
    bars = lake.read(Dataset.BARS, start=start, end=end)
    actions = read_actions(lake, known_at=known_at, end=end)
    if bars.is_empty() or actions.is_empty():
        return bars
    # The first bar of a symbol, however long ago, is what all others are measured from.
    closes = lake.read(Dataset.BARS, start=date.min, end=end, columns=["session", "symbol", "close"])
    return apply_events(bars, adjustment_events(closes, actions, convention=convention), anchor=anchor)
