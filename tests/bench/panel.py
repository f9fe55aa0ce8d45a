"""A seeded panel of synthetic daily bars for benchmarks: every value is exact in float32, the type pyqlib stores."""

from datetime import date, timedelta

import numpy as np
import polars as pl

FIELDS = ("open", "high", "low", "close", "volume", "vwap")
SUSPENDED = 0.002
"""Share of sessions without a bar."""


def calendar(sessions: int) -> list[date]:
    """Return the first weekdays from 2010 on."""
    days = (date(2010, 1, 1) + timedelta(days=day) for day in range(2 * sessions + 7))
    return [day for day in days if day.weekday() < 5][:sessions]


def synthetic_bars(symbols: int, sessions: int, seed: int = 7) -> pl.DataFrame:
    """Return bars by symbol and session; one symbol in ten is listed late, and some sessions are suspended."""
    rng = np.random.default_rng(seed)
    shape = (symbols, sessions)
    close = rng.uniform(5, 500, (symbols, 1)) * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=1))
    opened = close * np.exp(rng.normal(0, 0.01, shape))
    high = np.maximum(opened, close) * (1 + np.abs(rng.normal(0, 0.005, shape)))
    low = np.minimum(opened, close) * (1 - np.abs(rng.normal(0, 0.005, shape)))
    volume = np.round(np.exp(14 + rng.normal(0, 0.7, shape)))
    values = dict(zip(FIELDS, (opened, high, low, close, volume, (high + low + close) / 3), strict=True))
    listed = np.where(rng.random(symbols) < 0.1, rng.integers(0, sessions, symbols), 0)
    held = (rng.random(shape) >= SUSPENDED) & (np.arange(sessions) >= listed[:, None])
    days = pl.Series("session", calendar(sessions), dtype=pl.Date)
    names = pl.Series("symbol", [f"S{number:05d}" for number in range(symbols)])
    rows, columns = np.nonzero(held)
    frame = pl.DataFrame([days.gather(pl.Series(columns)), names.gather(pl.Series(rows))])
    return frame.with_columns(
        pl.Series(name, array[held].astype(np.float32).astype(np.float64)) for name, array in values.items()
    )
