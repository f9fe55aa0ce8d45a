"""A lake that is ready for one session's orders: raw bars, the verdict of the gate, freshness and a target."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

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
    rows = [
        {
            "session": SESSION,
            "symbol": symbol,
            "score": 0.1,
            "rank": 1,
            "weight": 0.1,
            "target_shares": shares,
            "price": Decimal(100),
            "price_source": "close:test",
            "price_as_of": CLOSE,
            "notional": Decimal(1000),
            "capped_by": None,
        }
        for symbol in ("AAPL", "HELD", "STALE", "UNSEEN")
    ]
    wanted = pl.DataFrame(rows, schema=TARGET_SCHEMA).with_columns(
        **{name: pl.lit(text) for name, text in PINS.items()}
    )
    lake.write(Dataset.TARGET_PORTFOLIO, wanted, sessions=[SESSION])


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
