"""Prices out of the lake's good bars: closes to size and mark with, whole bars for the simulated exchange."""

from collections.abc import Callable, Collection
from datetime import date, timedelta

import polars as pl

from trading_pipeline.adapters.broker.matching import OpeningBar
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.money import price_from_float
from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.errors import BarsUnavailable

MARK_LOOKBACK = 10
"""Sessions to look back for a mark of a symbol that has no bar in the session itself."""


def session_closes(lake: Lake, session: date, symbols: Collection[str]) -> dict[str, ReferencePrice]:
    """Return the close of a session by symbol, in dollars; a symbol without a good bar in it is absent."""
    if not lake.has(Dataset.BARS, session):
        return {}
    return _quotes(lake.read_session(Dataset.BARS, session), symbols)


def last_closes(lake: Lake, session: date, symbols: Collection[str]) -> dict[str, ReferencePrice]:
    """Return the last close by symbol in the sessions up to this one, at most `MARK_LOOKBACK` back."""
    start = session - timedelta(days=2 * MARK_LOOKBACK)
    recent = lake.sessions(Dataset.BARS, start=start, end=session)[-MARK_LOOKBACK:]
    if not recent:
        return {}
    bars = lake.read(Dataset.BARS, start=recent[0], end=recent[-1])
    return _quotes(bars.sort("session").group_by("symbol").last(), symbols)


def opening_bars(lake: Lake) -> Callable[[date, Collection[str]], dict[str, OpeningBar]]:
    """Return the function by which the simulated exchange learns the bars of a session."""

    def openings(session: date, symbols: Collection[str]) -> dict[str, OpeningBar]:
        if not lake.has(Dataset.BARS, session):
            raise BarsUnavailable(
                f"orders wait for the open of {session}, but the lake has no bars of it: materialise `bars` first",
                session=session.isoformat(),
            )
        bars = lake.read_session(Dataset.BARS, session).filter(pl.col("symbol").is_in(list(symbols)))
        return {
            row["symbol"]: OpeningBar(
                open=price_from_float(row["open"]),
                high=price_from_float(row["high"]),
                low=price_from_float(row["low"]),
                volume=int(row["volume"]),
            )
            for row in bars.iter_rows(named=True)
        }

    return openings


def _quotes(bars: pl.DataFrame, symbols: Collection[str]) -> dict[str, ReferencePrice]:
    wanted = bars.filter(pl.col("symbol").is_in(list(symbols)))
    return {
        row["symbol"]: ReferencePrice(
            price=price_from_float(row["close"]), source=f"close:{row['source']}", as_of=row["ended_at"]
        )
        for row in wanted.iter_rows(named=True)
    }
