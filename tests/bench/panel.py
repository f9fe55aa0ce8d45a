"""Seeded panels of synthetic daily bars for benchmarks."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from trading_pipeline.core.bars import BAR_SCHEMA, closes_of
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA

FIELDS = ("open", "high", "low", "close", "volume", "vwap")
SUSPENDED = 0.002
"""Share of sessions without a bar."""


def calendar(sessions: int) -> list[date]:
    """Return the first weekdays from 2010 on."""
    days = (date(2010, 1, 1) + timedelta(days=day) for day in range(2 * sessions + 7))
    return [day for day in days if day.weekday() < 5][:sessions]


def synthetic_bars(symbols: int, sessions: int, seed: int = 7) -> pl.DataFrame:
    """Return bars by symbol and session; one symbol in ten is listed late, and some sessions are suspended.

    Every value is exact in float32, the type pyqlib stores.
    """
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


def market(symbols: int, sessions: Sequence[date], seed: int = 20240703) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a market as a vendor delivers it: raw bars in bar format, with splits in them, and corporate actions.

    A third of the symbols splits two for one once, and half of them pays a dividend each 63 sessions.
    """
    rng = np.random.default_rng(seed)
    days, names = len(sessions), [f"S{at:04d}" for at in range(symbols)]
    splits = np.where(rng.random(symbols) < 1 / 3, rng.integers(1, max(days, 2), symbols), days)
    halved = np.where(np.arange(days)[:, None] >= splits, 0.5, 1.0)
    levels = rng.uniform(20, 300, symbols) * np.exp(np.cumsum(rng.normal(0, 0.012, (days, symbols)), axis=0))
    close = np.round(np.maximum(levels, 2) * halved, 2)
    opened = np.round(close * np.exp(rng.normal(0, 0.004, close.shape)), 2)
    ends = closes_of(pl.Series("session", sessions, dtype=pl.Date))
    frame = pl.DataFrame(
        {
            "session": pl.Series(sessions, dtype=pl.Date).gather(np.repeat(np.arange(days), symbols)),
            "symbol": pl.Series(names).gather(np.tile(np.arange(symbols), days)),
            "ended_at": ends.gather(np.repeat(np.arange(days), symbols)),
            "open": opened.ravel(),
            "high": np.round(np.maximum(opened, close) * 1.006, 2).ravel(),
            "low": np.round(np.minimum(opened, close) * 0.994, 2).ravel(),
            "close": close.ravel(),
            "volume": np.round(np.exp(rng.normal(13, 0.6, close.size))),
            "vwap": np.round((opened + close) / 2, 4).ravel(),
        }
    ).with_columns(pl.lit("bench").alias("source"))
    return frame.cast(BAR_SCHEMA).select(BAR_SCHEMA.names()), _actions(names, sessions, splits)


def _actions(names: Sequence[str], sessions: Sequence[date], splits: np.ndarray) -> pl.DataFrame:
    rows: list[dict[str, object]] = [
        {"symbol": name, "ex_date": sessions[at], "kind": "split", "ratio": 2.0}
        for name, at in zip(names, splits, strict=True)
        if at < len(sessions)
    ]
    rows += [
        {"symbol": name, "ex_date": day, "kind": "cash_dividend", "amount": 0.05}
        for name in names[::2]
        for day in sessions[62::63]
    ]
    known = datetime(2000, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        [
            dict.fromkeys(ACTION_SCHEMA)
            | row
            | {"action_id": f"{row['symbol']}:{row['ex_date']}:{row['kind']}", "source": "bench", "known_at": known}
            for row in rows
        ],
        schema=ACTION_SCHEMA,
    )
