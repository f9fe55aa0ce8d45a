"""Average daily volume out of the lake's good bars: what an order's size is judged by."""

from collections.abc import Collection
from datetime import date, timedelta

import polars as pl

from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.adjustment import Anchor, Convention, adjust_bars

AVERAGED = 20
"""Sessions averaged over."""
_REACH = timedelta(days=2 * AVERAGED)


def average_volumes(lake: Lake, session: date, symbols: Collection[str]) -> dict[str, int]:
    """Return the mean daily volume of the last 20 sessions up to this one by symbol, whole shares rounded down.

    Shares are those of the last session: volumes before a split are made comparable. A session without a good bar of
    the symbol counts as nothing traded, so a short history gives too little, never too much. A symbol without any bar
    in them is absent.

    Raises:
        DataQualityError: a corporate action does not fit the bars.
    """
    recent = lake.sessions(Dataset.BARS, start=session - _REACH, end=session)[-AVERAGED:]
    if not recent:
        return {}
    columns = ["session", "symbol", "close", "volume"]
    bars = lake.read(Dataset.BARS, start=recent[0], end=recent[-1], columns=columns)
    bars = bars.filter(pl.col("symbol").is_in(list(symbols)))
    actions = read_actions(lake, start=recent[0], end=recent[-1]).filter(pl.col("symbol").is_in(list(symbols)))
    if not actions.is_empty():
        bars = adjust_bars(bars, actions, convention=Convention.PREVIOUS_CLOSE, anchor=Anchor.LAST)
    means = bars.group_by("symbol").agg(pl.col("volume").sum() / AVERAGED)
    return {symbol: int(volume) for symbol, volume in means.iter_rows()}
