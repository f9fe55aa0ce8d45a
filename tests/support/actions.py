"""Shares of AAPL held over a corporate action, on an Alpaca account on loopback."""

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl

from support.alpaca.bench import Bench
from support.session_lake import target
from support.trading import ACCOUNT, ACTION, SESSION
from trading_pipeline.adapters.store.actions import record_actions
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.action_locks import restate_or_lock
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebalance import Rebalance, rebalance
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.verification import verify_book

EX_DATE = date(2023, 9, 5)
SPLIT = {"kind": "split", "ratio": 4.0}
HELD_OVER = date(2023, 9, 6)
"""The session after the one in which `hold` buys."""


def act(lake: Lake, action_id: str = "a", symbol: str = "AAPL", **said: object) -> None:
    """Let an action be known."""
    row = dict.fromkeys(ACTION_SCHEMA) | {
        "action_id": action_id,
        "symbol": symbol,
        "ex_date": EX_DATE,
        "source": "test",
        "known_at": datetime(2023, 9, 1, tzinfo=UTC),
    }
    record_actions(lake, pl.DataFrame([row | said], schema=ACTION_SCHEMA))


def trade(account: TradingAccount, lake: Lake, session: date = SESSION) -> Rebalance:
    """Send the orders that are decided from a session."""
    return rebalance(account, lake, session, provenance=Provenance(run_id="run"))


def hold(account: TradingAccount, bench: Bench, lake: Lake) -> TradingAccount:
    """Buy ten shares of AAPL on September 5, and want twenty."""
    trade(account, lake)
    bench.exchange.fill_all()
    reconcile(account, ACTION)
    target(lake, 20)
    return account


def restate(account: TradingAccount, lake: Lake) -> dict[str, str]:
    """Do what comes before the orders that are decided from the session in which `hold` buys."""
    with account.ledger.lane(ACCOUNT):
        return restate_or_lock(account, lake, account.calendar.previous(HELD_OVER), {}, frozenset({"AAPL"}))


def shares(account: TradingAccount) -> dict[str, Decimal]:
    """Return what the ledger holds."""
    return {symbol: one.qty for symbol, one in account.ledger.fills.positions(ACCOUNT).items()}


def locked_in_ledger_and_book(account: TradingAccount) -> set[str]:
    """Return the symbols in quarantine, which ledger and book agree about."""
    snapshot = account.guard.snapshot()
    assert snapshot is not None
    locked = set(account.ledger.books.quarantined(ACCOUNT))
    assert locked == set(snapshot.quarantined)
    return locked


def agreed(account: TradingAccount) -> bool:
    """Tell whether ledger, book and broker say the same, and nothing waits."""
    assert (differences := verify_book(account).rows()) == [], differences
    return not account.ledger.restatements.awaiting(ACCOUNT) and not locked_in_ledger_and_book(account)
