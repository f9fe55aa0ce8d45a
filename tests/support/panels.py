"""Seeded panels of clean daily bars that behave like a stock market, for tests and benchmarks."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.core.bars import BAR_SCHEMA, closes_of
from trading_pipeline.core.sessions import xnys

FIRST, LAST = date(2014, 1, 2), date(2023, 12, 29)


def seeded_panel(
    symbols: int = 100, *, sessions: Sequence[date] | None = None, seed: int = 7, source: str = "synthetic"
) -> pl.DataFrame:
    """Return clean bars (BAR_SCHEMA) of every symbol at every session, the same for the same arguments.

    A market that most symbols follow, overnight gaps and moves within the session, fat tails, and a few times a year
    earnings: real jumps at several times the usual volume. Prices in whole cents, volume in shares that grows with the
    size of the move.

    Args:
        symbols: how many; they are named S0000, S0001, ...
        sessions: of the exchange; ten years by default.
        seed: of the generator.
        source: the source column.
    """
    days = list(sessions) if sessions is not None else xnys().between(FIRST, LAST)
    random = np.random.default_rng(seed)
    shape = (len(days), symbols)
    gap, move, news = _returns(random, shape)
    log_close = np.cumsum(gap + move, axis=0) + np.log(random.uniform(15, 250, symbols))
    log_close += np.maximum(np.log(8) - log_close, 0).max(axis=0)
    close, opened = np.round(np.exp(log_close), 2), np.round(np.exp(log_close - move), 2)
    reach = np.abs(random.normal(0, 0.006, (2, *shape)))
    high = np.maximum(np.round(np.maximum(opened, close) * np.exp(reach[0]), 2), np.maximum(opened, close))
    low = np.minimum(np.round(np.minimum(opened, close) * np.exp(-reach[1]), 2), np.minimum(opened, close))
    usual = random.uniform(np.log(3e5), np.log(2e7), symbols)
    volume = usual + random.normal(0, 0.3, shape) + 8 * np.abs(gap + move) + news * random.uniform(1.6, 2.4, shape)
    names = np.array([f"S{number:04}" for number in range(symbols)])
    ends = closes_of(pl.Series("session", days, dtype=pl.Date))
    return pl.DataFrame(
        {
            "session": pl.Series(days, dtype=pl.Date).gather(np.repeat(np.arange(len(days)), symbols)),
            "symbol": pl.Series(names).gather(np.tile(np.arange(symbols), len(days))),
            "ended_at": ends.gather(np.repeat(np.arange(len(days)), symbols)),
            "open": opened.ravel(),
            "high": high.ravel(),
            "low": low.ravel(),
            "close": close.ravel(),
            "volume": np.round(np.exp(volume)).ravel(),
            "vwap": pl.Series([None], dtype=pl.Float64).new_from_index(0, len(days) * symbols),
            "source": pl.Series([source]).new_from_index(0, len(days) * symbols),
        },
        schema=BAR_SCHEMA,
    )


def _returns(random: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log moves overnight and within the session, and which of them are news."""
    days, symbols = shape
    market = random.standard_t(4, (days, 1)) * 0.006
    habit = random.uniform(0.006, 0.018, symbols)
    gap = 0.4 * market + habit * 0.5 * random.standard_t(5, shape)
    move = 0.6 * market + habit * 0.8 * random.standard_t(5, shape)
    news = random.random(shape) < 4 / 252
    size = np.clip(np.abs(random.normal(0.06, 0.05, shape)), 0.03, 0.4) * random.choice([-1.0, 1.0], shape)
    return np.where(news, gap + size, gap), move, news
