"""A seeded panel in which every trap of the parity with pyqlib occurs."""

from datetime import date, timedelta

import numpy as np
import polars as pl

SESSIONS = 320
PRICES = ("open", "high", "low", "close", "vwap")


def make_calendar() -> list[date]:
    """Weekdays from the start of 2020."""
    days = (date(2020, 1, 2) + timedelta(days=day) for day in range(2 * SESSIONS))
    return [day for day in days if day.weekday() < 5][:SESSIONS]


def make_awkward_bars(calendar: list[date]) -> pl.DataFrame:
    """Seeded bars with suspensions, a late listing, a single row, idle and constant stretches; exact in float32."""
    rng = np.random.default_rng(7)
    row = pl.int_range(pl.len())
    everyday = range(SESSIONS)
    gaps = [place for place in everyday if not (60 <= place < 63 or 100 <= place < 140 or place % 17 == 3)]
    idle = (row % 9 < 4) | (row > SESSIONS - 30)
    frames = [
        _bars(rng, calendar, "PLAIN", everyday),
        _bars(rng, calendar, "PENNY", everyday, price=0.8, volatility=0.05),
        _bars(rng, calendar, "GAPS", gaps),
        _bars(rng, calendar, "LATE", range(SESSIONS - 45, SESSIONS)),
        _bars(rng, calendar, "ONCE", range(SESSIONS - 20, SESSIONS - 19)),
        _bars(rng, calendar, "IDLE", everyday).with_columns(
            pl.when(idle).then(0.0).otherwise(pl.col("volume")).alias("volume")
        ),
        _bars(rng, calendar, "FLAT", everyday).with_columns(
            pl.when(row > 100).then(50.0).otherwise(pl.col(name)).alias(name) for name in PRICES
        ),
    ]
    return pl.concat(frames).with_columns(pl.col(*PRICES, "volume").cast(pl.Float32).cast(pl.Float64))


def _bars(
    rng: np.random.Generator,
    calendar: list[date],
    symbol: str,
    places: range | list[int],
    *,
    price: float = 100.0,
    volatility: float = 0.02,
) -> pl.DataFrame:
    def noise(scale: float) -> np.ndarray:
        return rng.normal(0, scale, len(places))

    close = price * np.exp(np.cumsum(noise(volatility)))
    opened = close * np.exp(noise(volatility / 2))
    high = np.maximum(opened, close) * (1 + np.abs(noise(volatility / 3)))
    low = np.minimum(opened, close) * (1 - np.abs(noise(volatility / 3)))
    return pl.DataFrame(
        {
            "session": [calendar[place] for place in places],
            "symbol": [symbol] * len(places),
            "open": opened,
            "high": high,
            "low": low,
            "close": close,
            "volume": np.round(np.exp(14 + noise(0.7))),
            "vwap": (high + low + close) / 3,
        }
    )
