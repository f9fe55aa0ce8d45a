"""What is held over a corporate action is restated in ledger and book, and trades when the broker agrees."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from support.actions import (
    EX_DATE,
    HELD_OVER,
    SPLIT,
    act,
    agreed,
    hold,
    locked_in_ledger_and_book,
    restate,
    trade,
)
from support.alpaca.bench import Bench
from support.dying import Crash
from support.session_lake import session_lake
from support.trading import ACCOUNT, ACTION, SESSION, Kit, order, valuation

from trading_pipeline.adapters.broker.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.ledger.books import Books
from trading_pipeline.adapters.store.ledger.restatements import Restatements
from trading_pipeline.core.corporate_actions import ActionKind
from trading_pipeline.core.orders.model import ReferencePrice, Side
from trading_pipeline.core.restating import Restatement
from trading_pipeline.core.risk.halts import Gate
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.action_locks import restate_or_lock
from trading_pipeline.services.actions import OPERATOR_VERBS, OperatorContext
from trading_pipeline.services.arguments import Arguments
from trading_pipeline.services.equity import value_session
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.reconciliation import accept_external, reconcile
from trading_pipeline.services.restating import finish, record, restate_as_the_broker
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import verify_book


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Ten shares of AAPL are wanted for the open of September 5."""
    return session_lake(tmp_path)


@pytest.fixture
def holding(account: TradingAccount, bench: Bench, lake: Lake) -> TradingAccount:
    """The account with ten shares of AAPL, bought on September 5, and a target of twenty."""
    return hold(account, bench, lake)


def test_a_split_before_the_open_restates_all_at_once_and_the_symbol_trades_on(
    holding: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """40 at a quarter of the price in ledger, book and at the broker: no lock, no external fill, nothing realised."""
    cost = holding.ledger.fills.positions(ACCOUNT)["AAPL"].cost
    act(lake, **SPLIT, ex_date=HELD_OVER)
    bench.exchange.restate("AAPL", "40")
    left_out = restate(holding, lake)
    assert "its target was sized before" in left_out["AAPL"]
    assert set() == locked_in_ledger_and_book(holding)
    position = holding.ledger.fills.positions(ACCOUNT)["AAPL"]
    assert (Decimal(40), cost, Decimal(0)) == (position.qty, position.cost, position.realised)
    assert agreed(holding)
    assert [] == holding.ledger.externals.fills(ACCOUNT)


@pytest.mark.parametrize("bar_of_the_day", [False, True])
@pytest.mark.parametrize("said", [SPLIT, {"kind": "symbol_change", "other_symbol": "APPL"}])
def test_what_is_held_over_an_action_is_worth_the_same_with_and_without_a_bar_of_the_day(
    said: dict[str, Any], bar_of_the_day: bool, holding: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """The newest close may be from before it: of an old share, and by the old name."""
    renamed = "other_symbol" in said

    def closes(session: date, symbols: Collection[str]) -> dict[str, ReferencePrice]:
        known = {"AAPL": _close(120, EX_DATE)}
        if bar_of_the_day and session >= HELD_OVER:
            known = known | {"APPL": _close(120, HELD_OVER)} if renamed else {"AAPL": _close(30, HELD_OVER)}
        return {symbol: known[symbol] for symbol in symbols if symbol in known}

    valued = replace(holding, valuation=replace(valuation(), quotes=closes))
    before = value_session(valued, EX_DATE)
    act(lake, **said, ex_date=HELD_OVER)
    restate(holding, lake)
    name, shares = ("APPL", 10) if renamed else ("AAPL", 40)
    assert {name: Decimal(shares)} == {
        symbol: one.qty for symbol, one in holding.ledger.fills.positions(ACCOUNT).items()
    }
    after = value_session(valued, HELD_OVER)
    assert (before.equity, Decimal(0)) == (after.equity, after.change)
    assert before == value_session(valued, EX_DATE), "the day before keeps its own shares and prices"


def _close(price: int, day: date) -> ReferencePrice:
    return ReferencePrice(
        price=Decimal(price), source="close:test", as_of=datetime(day.year, day.month, day.day, 20, tzinfo=UTC)
    )


def test_a_broker_that_has_not_split_locks_the_symbol_with_both_numbers_until_it_has(
    holding: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """Reconciling books no loss and leaves the gate open for the others; when the broker follows, the lock ends."""
    act(lake, **SPLIT, ex_date=HELD_OVER)
    restate(holding, lake)
    assert {"AAPL"} == locked_in_ledger_and_book(holding)
    (alert,) = [one for one in holding.ledger.alerts.latest() if one["kind"] == "corporate_action"]
    assert "split 4:1 of AAPL, effective 2023-09-06; AAPL: the ledger has 40, the broker 10" in alert["message"]
    found = reconcile(holding, ACTION)
    assert "the broker 10" in found.unresolved["AAPL"]
    assert () == found.external == found.unexplained
    assert Gate.OPEN is found.record.gate
    bench.exchange.restate("AAPL", "40")
    assert {} == reconcile(holding, ACTION).unresolved
    assert set() == locked_in_ledger_and_book(holding)
    assert agreed(holding)


def test_an_operator_may_accept_what_the_broker_has_instead(holding: TradingAccount, bench: Bench, lake: Lake) -> None:
    """A fraction paid in cash: the ledger has 7.5 and the broker 7; accepted, the half share is booked as others'."""
    act(lake, kind="reverse_split", ratio=0.75, ex_date=HELD_OVER)
    bench.exchange.restate("AAPL", "7")
    restate(holding, lake)
    assert {"AAPL"} == locked_in_ledger_and_book(holding)
    (alert,) = [one for one in holding.ledger.alerts.latest() if one["kind"] == "corporate_action"]
    assert "the ledger has 7.5, the broker 7" in alert["message"]
    accept_external(holding, "AAPL", ACTION)
    assert set() == locked_in_ledger_and_book(holding)
    assert Decimal(7) == holding.ledger.fills.positions(ACCOUNT)["AAPL"].qty
    assert agreed(holding)


def test_a_release_of_the_lock_alone_does_not_let_it_trade(holding: TradingAccount, lake: Lake) -> None:
    """As long as the numbers differ the next reconciliation locks again: accepting says that they may."""
    act(lake, **SPLIT, ex_date=HELD_OVER)
    restate(holding, lake)
    RiskOperations(holding).release_symbol("AAPL", ACTION)
    reconcile(holding, ACTION)
    assert {"AAPL"} == locked_in_ledger_and_book(holding)


def test_a_change_of_symbol_moves_the_position(holding: TradingAccount, bench: Bench, lake: Lake) -> None:
    """Both names are locked until the broker has moved it too; neither is bought meanwhile, so that nothing doubles."""
    act(lake, kind="symbol_change", other_symbol="UNSEEN", ex_date=HELD_OVER)
    left_out = restate(holding, lake)
    assert {"AAPL", "UNSEEN"} == locked_in_ledger_and_book(holding)
    assert {"AAPL", "UNSEEN"} == left_out.keys()
    bench.exchange.prices["UNSEEN"] = Decimal(100)
    bench.exchange.restate("AAPL", "10", new_symbol="UNSEEN")
    reconcile(holding, ACTION)
    assert set() == locked_in_ledger_and_book(holding)
    assert {"UNSEEN": Decimal(10)} == {name: one.qty for name, one in holding.ledger.fills.positions(ACCOUNT).items()}


def test_what_no_number_restates_is_locked_for_an_operator(holding: TradingAccount, lake: Lake) -> None:
    """A merger: reconciling does not end it, a release does, and the same action does not lock again."""
    act(lake, kind="merger", ex_date=HELD_OVER)
    restate(holding, lake)
    reconcile(holding, ACTION)
    assert {"AAPL"} == locked_in_ledger_and_book(holding)
    RiskOperations(holding).release_symbol("AAPL", ACTION)
    restate(holding, lake)
    assert set() == locked_in_ledger_and_book(holding)


def test_what_the_broker_has_restated_already_is_restated_before_it_is_compared(
    holding: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """So a tie-out or a reconciliation between the broker's split and the session's orders finds nothing."""
    ex_date = holding.calendar.next(holding.session() or SESSION)
    act(lake, **SPLIT | {"ex_date": ex_date})
    restate_as_the_broker(holding, lake)
    assert Decimal(10) == holding.ledger.fills.positions(ACCOUNT)["AAPL"].qty
    bench.exchange.restate("AAPL", "40")
    restate_as_the_broker(holding, lake)
    assert agreed(holding)
    assert () == reconcile(holding, ACTION).external


def test_a_session_that_is_closed_late_is_restated_first(holding: TradingAccount, bench: Bench, lake: Lake) -> None:
    """The broker has split the shares overnight: the tie-out that ends the session agrees all the same."""
    act(lake, **SPLIT | {"ex_date": holding.calendar.next(holding.session() or SESSION)})
    bench.exchange.restate("AAPL", "40")
    bench.waits.instant = datetime(2023, 9, 6, 3, tzinfo=UTC)
    context = OperatorContext.of(holding, lake, RiskLimits(), Arguments())
    (row,) = OPERATOR_VERBS["close_session"].act(context, ACTION)
    assert "2023-09-05" == row["session"]
    assert Decimal(40) == holding.ledger.fills.positions(ACCOUNT)["AAPL"].qty


def test_the_simulated_exchange_books_an_action_once(kit: Kit) -> None:
    """Where nobody else does: on what was held before its session, so that ledger and exchange agree."""
    service = SubmissionService(kit.account, Provenance(run_id="run", sessions=(SESSION,)))
    service.submit_all([order("AAPL", Side.BUY, 10)])
    traded = kit.account.calendar.next(SESSION)
    settle(kit.account, traded)
    action = Restatement(
        action_id="a",
        kind=ActionKind.SPLIT,
        symbol="AAPL",
        session=kit.account.calendar.next(traded),
        at=datetime(2023, 9, 6, 4, tzinfo=UTC),
        ratio=Fraction(4),
    )
    for _ in range(2):
        record(kit.account, action)
        finish(kit.account)
    assert {"AAPL": Decimal(40)} == kit.account.broker.positions() == kit.positions()
    assert verify_book(kit.account).agrees
    assert {} == kit.account.ledger.books.quarantined(ACCOUNT)


def test_a_target_of_a_split_symbol_that_is_not_held_gets_no_order_and_no_lock(
    account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """Ten shares of before a reverse split would be a hundred's worth; the next session sizes it anew."""
    act(lake, kind="reverse_split", ratio=0.1)
    done = trade(account, lake)
    assert [] == bench.exchange.accepted
    assert "reverse split 1:10" in {one.symbol: one.reason for one in done.skipped}["AAPL"]
    assert set() == locked_in_ledger_and_book(account)


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
    act(lake, **said)  # type: ignore[arg-type]
    trade(holding, lake)
    assert 2 == len(bench.exchange.accepted)
    assert set() == locked_in_ledger_and_book(holding)


def test_an_action_that_becomes_known_late_restates_what_was_held_over_it(
    holding: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """Held at the close before it, known only at the close of the session after it."""
    (fill,) = holding.ledger.query("select session from ledger.fills")
    ex_date = holding.calendar.next(fill["session"])
    act(lake, **SPLIT | {"ex_date": ex_date})
    bench.exchange.restate("AAPL", "40")
    assert {} == restate_or_lock(holding, lake, holding.calendar.next(ex_date), {}, frozenset())
    assert agreed(holding)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (Restatements, "record"),
        (AlpacaBroker, "restate"),
        (Books, "begin_epoch"),
        (RiskGuard, "rebuild"),
        (Restatements, "in_book"),
        (Books, "release"),
        (Restatements, "agree"),
    ],
)
def test_a_crash_before_or_after_any_step_is_finished_by_the_next_run(
    holding: TradingAccount,
    bench: Bench,
    lake: Lake,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    *,
    done: bool,
) -> None:
    """One action, one position, one book, no lock left; and no order of the symbol in between."""
    act(lake, **SPLIT, ex_date=HELD_OVER)
    bench.exchange.restate("AAPL", "40")
    whole = getattr(owner, step)

    def dies(*args: Any, **named: Any) -> None:
        if done:
            whole(*args, **named)
        raise Crash(step)

    with monkeypatch.context() as dying:
        dying.setattr(owner, step, dies)
        with pytest.raises(Crash):
            restate(holding, lake)
    if holding.ledger.restatements.outside_book(ACCOUNT):
        assert "AAPL" in holding.ledger.books.quarantined(ACCOUNT)
    restate(holding, lake)
    restate(holding, lake)
    assert Decimal(40) == holding.ledger.fills.positions(ACCOUNT)["AAPL"].qty
    assert 1 == len(holding.ledger.restatements.all(ACCOUNT))
    if (step, done) == ("release", True):
        reconcile(holding, ACTION)  # a release the book did not hear of left it stale, and lost nothing
    assert agreed(holding)
    assert holding.ledger.seals.verify().sound


def test_two_runs_at_once_restate_once(holding: TradingAccount, bench: Bench, lake: Lake) -> None:
    """The account's lane lets one after the other."""
    act(lake, **SPLIT, ex_date=HELD_OVER)
    bench.exchange.restate("AAPL", "40")
    with ThreadPoolExecutor(2) as pool:
        for run in [pool.submit(restate, holding, lake) for _ in range(2)]:
            run.result()
    assert 1 == len(holding.ledger.restatements.all(ACCOUNT))
    assert agreed(holding)
