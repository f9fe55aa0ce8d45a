"""What is held over a corporate action that changes its shares gets no order until a person has released it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from support.alpaca.bench import Bench
from support.session_lake import session_lake, target
from support.trading import ACCOUNT, ACTION, SESSION

from trading_pipeline.adapters.store.actions import record_actions
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.errors import ServerUnavailable
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.action_locks import lock_restated
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebalance import Rebalance, rebalance
from trading_pipeline.services.reconciliation import accept_external, reconcile

EX_DATE = date(2023, 9, 5)
SPLIT = {"kind": "split", "ratio": 4.0}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Ten shares of AAPL are wanted for the open of September 5."""
    return session_lake(tmp_path)


def _act(lake: Lake, action_id: str = "a", symbol: str = "AAPL", **said: object) -> None:
    row = dict.fromkeys(ACTION_SCHEMA) | {
        "action_id": action_id,
        "symbol": symbol,
        "ex_date": EX_DATE,
        "source": "test",
        "known_at": datetime(2023, 9, 1, tzinfo=UTC),
    }
    record_actions(lake, pl.DataFrame([row | said], schema=ACTION_SCHEMA))


def _trade(account: TradingAccount, lake: Lake) -> Rebalance:
    return rebalance(account, lake, SESSION, provenance=Provenance(run_id="run"))


@pytest.fixture
def holding(account: TradingAccount, bench: Bench, lake: Lake) -> TradingAccount:
    """The account with ten shares of AAPL, and a target of twenty."""
    _trade(account, lake)
    bench.exchange.fill_all()
    reconcile(account, ACTION)
    target(lake, 20)
    return account


def _locked_in_ledger_and_book(account: TradingAccount) -> set[str]:
    snapshot = account.guard.snapshot()
    assert snapshot is not None
    locked = set(account.ledger.books.quarantined(ACCOUNT))
    assert locked == set(snapshot.quarantined)
    return locked


def test_a_split_before_the_open_locks_what_is_held_and_says_what_to_compare(
    holding: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """No order is made of a target in shares of before; ledger and book hold the lock, an alert names the shares."""
    _act(lake, **SPLIT)
    done = _trade(holding, lake)
    assert 1 == len(bench.exchange.accepted)
    assert "its target was sized before" in {one.symbol: one.reason for one in done.skipped}["AAPL"]
    assert {"AAPL"} == _locked_in_ledger_and_book(holding)
    (alert,) = [one for one in holding.ledger.alerts.latest() if one["kind"] == "corporate_action"]
    assert "split 4:1 of AAPL, effective 2023-09-05; the ledger has 10, 40 after it" in alert["message"]


@pytest.mark.parametrize("splits", [True, False])
def test_a_lock_ends_by_an_operator_only_whether_the_broker_split_or_not(
    holding: TradingAccount, bench: Bench, lake: Lake, *, splits: bool
) -> None:
    """Reconciling and accepting do not end it, and once released the same action does not lock again."""
    _act(lake, **SPLIT)
    _trade(holding, lake)
    if splits:
        bench.exchange.buy_elsewhere("AAPL", Decimal(30))
        reconcile(holding, ACTION)
        accept_external(holding, "AAPL", ACTION)
    else:
        reconcile(holding, ACTION)
    assert {"AAPL"} == _locked_in_ledger_and_book(holding)
    RiskOperations(holding).release_symbol("AAPL", ACTION)
    _trade(holding, lake)
    assert set() == _locked_in_ledger_and_book(holding)
    assert Decimal(40 if splits else 10) == holding.ledger.fills.positions(ACCOUNT)["AAPL"].qty


def test_a_change_of_symbol_locks_both_names(holding: TradingAccount, lake: Lake) -> None:
    """Neither the old nor the new name is bought while the shares move, so that nothing doubles."""
    _act(lake, kind="symbol_change", other_symbol="UNSEEN")
    done = _trade(holding, lake)
    assert {"AAPL", "UNSEEN"} == _locked_in_ledger_and_book(holding)
    assert not {one.order.intent.symbol for one in done.submissions if one.order.broker_order_id is None}


def test_a_target_of_a_split_symbol_that_is_not_held_gets_no_order_and_no_lock(
    account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """Ten shares of before a reverse split would be a hundred's worth; the next session sizes it anew."""
    _act(lake, kind="reverse_split", ratio=0.1)
    done = _trade(account, lake)
    assert [] == bench.exchange.accepted
    assert "reverse split 1:10" in {one.symbol: one.reason for one in done.skipped}["AAPL"]
    assert set() == _locked_in_ledger_and_book(account)


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "cash_dividend", "amount": 0.25},
        SPLIT | {"ex_date": date(2023, 9, 6)},
        SPLIT | {"symbol": "MSFT"},
        SPLIT | {"ex_date": SESSION},
    ],
)
def test_what_changes_no_shares_that_are_held_over_it_locks_nothing(
    holding: TradingAccount, bench: Bench, lake: Lake, said: dict[str, object]
) -> None:
    """A dividend, an action of a later session, one of another company, one from before the position."""
    _act(lake, **said)  # type: ignore[arg-type]
    _trade(holding, lake)
    assert 2 == len(bench.exchange.accepted)
    assert set() == _locked_in_ledger_and_book(holding)


def test_an_action_that_becomes_known_late_locks_what_was_held_over_it(holding: TradingAccount, lake: Lake) -> None:
    """Held at the close before it, known only at the close of the session after it."""
    (fill,) = holding.ledger.query("select session from ledger.fills")
    ex_date = holding.calendar.next(fill["session"])
    _act(lake, **SPLIT | {"ex_date": ex_date})
    assert {} == lock_restated(holding, lake, holding.calendar.next(ex_date), {}, frozenset())
    assert {"AAPL"} == _locked_in_ledger_and_book(holding)


def test_a_crash_before_the_lock_is_remembered_locks_again_once(
    holding: TradingAccount, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The symbol is locked before anything remembers it; the retry finishes, and leaves the lock as it is."""
    _act(lake, **SPLIT)

    def lost(**_: object) -> None:
        raise ServerUnavailable("the connection broke")

    with monkeypatch.context() as broken:
        broken.setattr(holding.ledger.alerts, "record", lost)
        with pytest.raises(ServerUnavailable):
            _trade(holding, lake)
    assert {"AAPL"} == _locked_in_ledger_and_book(holding)
    _trade(holding, lake)
    _trade(holding, lake)
    assert {"AAPL"} == _locked_in_ledger_and_book(holding)
    assert 2 == _locks(holding.ledger)


def test_two_runs_at_once_lock_once(holding: TradingAccount, lake: Lake) -> None:
    """The account's lane lets one after the other."""
    _act(lake, **SPLIT)
    with ThreadPoolExecutor(2) as pool:
        for run in [pool.submit(_trade, holding, lake) for _ in range(2)]:
            run.result()
    assert {"AAPL"} == _locked_in_ledger_and_book(holding)
    assert 1 == _locks(holding.ledger)


def _locks(ledger: Ledger) -> int:
    (row,) = ledger.query("select count(*) from ledger.operator_actions where action = 'quarantine_symbol'")
    return int(row["count"])
