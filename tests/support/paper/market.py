"""What the run trades on: bars that pass the gates, and target portfolios drawn from a seed."""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from support.session_lake import judge_fresh
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.core.bars import BAR_SCHEMA
from trading_pipeline.core.freshness import FRESH
from trading_pipeline.core.portfolio import TARGET_SCHEMA
from trading_pipeline.core.quality import GateConfig
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.gate import judge_sessions

SYMBOLS = ("AAPL", "F", "MSFT", "NVDA", "XOM")
MOST_SHARES = 20
_PINS = {"model_name": "drawn", "model_version": "1", "model_digest": "d"}


class Market:
    """Prices and wishes of a seed."""

    def __init__(self, lake: Lake, seed: int) -> None:
        self._lake, self._chance = lake, random.Random(f"market {seed}")
        self.prices = {symbol: Decimal(80 + 10 * at) for at, symbol in enumerate(SYMBOLS)}

    def arrive(self, sessions: Sequence[date]) -> None:
        """Let sessions pass: deliver their bars, and judge them."""
        rows = []
        for session in sessions:
            self._move()
            rows += [self._bar(session, symbol) for symbol in SYMBOLS]
        now = xnys().close_at(sessions[-1]) + timedelta(hours=1)
        record_raw_bars(self._lake, pl.DataFrame(rows, schema=BAR_SCHEMA), sessions=sessions, now=now)
        judge_sessions(self._lake, sessions, GateConfig())
        for session in sessions:
            judge_fresh(self._lake, session, dict.fromkeys(SYMBOLS, FRESH))

    def _move(self) -> None:
        """Move each price by a percent at most."""
        for symbol, price in self.prices.items():
            self.prices[symbol] = (price * (1 + Decimal(self._chance.randint(-100, 100)) / 10_000)).quantize(
                Decimal("0.01")
            )

    def decide(self, session: date) -> dict[str, int]:
        """Draw the target portfolio of a session and return it, shares by symbol."""
        wanted = {symbol: self._chance.randint(0, MOST_SHARES) for symbol in SYMBOLS}
        rows = [
            {
                "session": session,
                "symbol": symbol,
                "score": 0.1,
                "rank": 1,
                "weight": 0.1,
                "target_shares": shares,
                "price": self.prices[symbol],
                "price_source": "close:test",
                "price_as_of": xnys().close_at(session),
                "notional": self.prices[symbol] * shares,
                "capped_by": None,
            }
            for symbol, shares in wanted.items()
        ]
        target = pl.DataFrame(rows, schema=TARGET_SCHEMA).with_columns(
            **{name: pl.lit(text) for name, text in _PINS.items()}
        )
        self._lake.write(Dataset.TARGET_PORTFOLIO, target, sessions=[session])
        return wanted

    def _bar(self, session: date, symbol: str) -> dict[str, object]:
        close = float(self.prices[symbol])
        opened = close * self._chance.uniform(0.995, 1.005)
        return {
            "session": session,
            "symbol": symbol,
            "ended_at": xnys().close_at(session),
            "open": opened,
            "high": max(opened, close) * self._chance.uniform(1.001, 1.01),
            "low": min(opened, close) * self._chance.uniform(0.99, 0.999),
            "close": close,
            "volume": float(self._chance.randint(9_000_000, 11_000_000)),
            "vwap": None,
            "source": "test",
        }
