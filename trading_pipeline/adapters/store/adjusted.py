"""Good bars with corporate actions applied, read from the lake; what is stored stays as it was traded."""

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.adjustment import Anchor, Convention, adjustment_events, apply_events
from trading_pipeline.core.instruments import identify, identify_actions, spells_of_actions


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

    Prices are adjusted along the instrument, whatever its symbols were; rows carry the symbol of their session. With no
    actions known they are the stored bars, bit for bit. With `Anchor.FIRST` a row is the same whatever range it is read
    in, and depends on nothing after its session.

    Raises:
        DataQualityError: there are no bars, or an action does not fit them.
    """
    rows = read_instrument_bars(lake, start=start, end=end, convention=convention, anchor=anchor, known_at=known_at)
    return rows.drop("instrument")


def read_instrument_bars(
    lake: Lake,
    *,
    start: date,
    end: date,
    convention: Convention = Convention.PREVIOUS_CLOSE,
    anchor: Anchor = Anchor.FIRST,
    known_at: datetime | None = None,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return what `read_adjusted_bars` does, with a column `instrument`: the identity by which to look back in time.

    A symbol may be one company's today and was another's before; a company may have had several symbols. Whatever
    follows a price through time groups by `instrument`.

    `columns` are read alone, None for all; `session` and `symbol` must be among them.

    Raises:
        DataQualityError: there are no bars, or an action does not fit them.
    """
    actions = read_actions(lake, known_at=known_at, end=end)
    spells = spells_of_actions(actions)
    bars = identify(lake.read(Dataset.BARS, start=start, end=end, columns=columns), spells)
    if bars.is_empty() or actions.is_empty():
        return bars
    # The first bar of an instrument, however long ago, is what all others are measured from.
    closes = identify(lake.read(Dataset.BARS, start=date.min, end=end, columns=["session", "symbol", "close"]), spells)
    events = adjustment_events(
        closes.drop("symbol").rename({"instrument": "symbol"}),
        identify_actions(actions, spells),
        convention=convention,
    )
    by_instrument = bars.rename({"symbol": "traded", "instrument": "symbol"})
    adjusted = apply_events(by_instrument, events, anchor=anchor)
    return adjusted.rename({"symbol": "instrument", "traded": "symbol"}).select(bars.columns)
