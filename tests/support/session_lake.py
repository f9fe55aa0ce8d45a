"""A lake that is ready for one session's orders: raw bars, the verdict of the gate, freshness and a target."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import polars as pl

from support.trading import SESSION
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.core.bars import BAR_SCHEMA
from trading_pipeline.core.manifest import MANIFEST_SCHEMA
from trading_pipeline.core.portfolio import TARGET_SCHEMA
from trading_pipeline.core.quality import GateConfig
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.gate import judge_sessions

CLOSE = datetime(2023, 9, 1, 20, tzinfo=UTC)
PINS = {"model_name": "m", "model_version": "1", "model_digest": "d"}


def session_lake(root: Path) -> Lake:
    """Make a lake with a target of four symbols: one is stale, one in quarantine, and one judged by nobody."""
    opened = Lake(root)
    arrive(opened)
    judge_sessions(opened, [SESSION], GateConfig())
    target(opened, 10)
    judge(opened, usable=True)
    return opened


def target(lake: Lake, shares: int) -> None:
    """Want so many shares of each of four symbols."""
    want(lake, SESSION, dict.fromkeys(("AAPL", "HELD", "STALE", "UNSEEN"), shares))


def want(
    lake: Lake, session: date, shares: Mapping[str, int], prices: Mapping[str, Decimal | float] = MappingProxyType({})
) -> None:
    """Want so many shares of each symbol, sized at the close of a session: 100 dollars unless told."""
    rows = [
        {
            "session": session,
            "symbol": symbol,
            "score": 0.1,
            "rank": 1,
            "weight": 0.1,
            "target_shares": wanted,
            "price": Decimal(str(prices.get(symbol, 100))),
            "price_source": "close:test",
            "price_as_of": xnys().close_at(session),
            "notional": Decimal(1000),
            "capped_by": None,
        }
        for symbol, wanted in shares.items()
    ]
    wanted = pl.DataFrame(rows, schema=TARGET_SCHEMA).with_columns(
        **{name: pl.lit(text) for name, text in PINS.items()}
    )
    lake.write(Dataset.TARGET_PORTFOLIO, wanted, sessions=[session])


def decide(lake: Lake, session: date, closes: Mapping[str, float], shares: Mapping[str, int]) -> None:
    """Leave all that the orders decided from a session need: good bars at these closes, and so many shares wanted."""
    ended = xnys().close_at(session)
    bar = {"session": session, "ended_at": ended, "vwap": None, "source": "test"}
    volume = 1e6 + session.toordinal()  # one that repeats looks like a feed that is stuck
    rows = [
        bar | {"symbol": symbol, "volume": volume, "open": close, "high": close + 1, "low": close - 1, "close": close}
        for symbol, close in closes.items()
    ]
    bars = pl.DataFrame(rows, schema=BAR_SCHEMA)
    record_raw_bars(lake, bars, sessions=[session], now=ended + timedelta(hours=1))
    judge_sessions(lake, [session], GateConfig())
    judge_fresh(lake, session, dict.fromkeys(closes, "fresh"))
    want(lake, session, shares, closes)


def arrive(lake: Lake, *, restated: float = 0.0) -> None:
    """Deliver bars of three symbols, one of them broken."""
    rows = [
        {
            "session": SESSION,
            "symbol": symbol,
            "ended_at": CLOSE,
            "open": 100.0 + restated,
            "high": 101.0,
            "low": low,
            "close": 100.0,
            "volume": volume,
            "vwap": None,
            "source": "test",
        }
        for symbol, low, volume in (("AAPL", 99.0, 1e6), ("HELD", 102.0, 2e6), ("MSFT", 99.0, 3e6))
    ]
    now = CLOSE + timedelta(hours=1 + restated)
    record_raw_bars(lake, pl.DataFrame(rows, schema=BAR_SCHEMA), sessions=[SESSION], now=now)


def judge(lake: Lake, *, usable: bool) -> None:
    """Judge the freshness of three symbols, and of the session."""
    states = {"AAPL": "fresh", "HELD": "fresh", "STALE": "stale"}
    judge_fresh(lake, SESSION, states, usable=usable)


def judge_fresh(lake: Lake, session: date, states: Mapping[str, str], *, usable: bool = True) -> None:
    """Leave the freshness of symbols, by name, in a session that is usable or not."""
    rows = [
        {
            "session": session,
            "symbol": symbol,
            "ended_at": xnys().close_at(session),
            "age_minutes": 0,
            "state": state,
            "session_usable": usable,
        }
        for symbol, state in states.items()
    ]
    lake.write(Dataset.FRESHNESS, pl.DataFrame(rows, schema=MANIFEST_SCHEMA), sessions=[session])
