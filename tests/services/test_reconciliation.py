"""What others did in the account is recorded and counted, keeps its symbol from trading, and ends or is accepted."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from support.alpaca.bench import Bench
from support.alpaca.server import Fault
from support.trading import ACCOUNT, ACTION, RUN, SESSION, order

from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.cli.runtime import record_start
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Gate, KillSwitch, OperatorAction
from trading_pipeline.errors import NotReconciled, OperatorError, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.differences import DifferenceKind
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.reconciliation import accept_external, reconcile, start
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare

ORDERS = "/v2/orders"
BY_HAND = {"symbol": "NVDA", "qty": "5", "side": "buy", "type": "limit", "limit_price": "400", "time_in_force": "day"}


def _held(account: TradingAccount) -> dict[str, Decimal]:
    """Return the shares that ledger, book and broker agree on."""
    snapshot = account.guard.snapshot()
    assert snapshot is not None
    held = {symbol: one.qty for symbol, one in account.ledger.fills.positions(ACCOUNT).items()}
    assert held == snapshot.positions == account.broker.positions()
    return held


def _clears(account: TradingAccount, symbol: str, repeat: int = 0) -> bool:
    return not SubmissionService(account, RUN).submit(order(symbol, qty=1, repeat=repeat)).refused


def _verdict(account: TradingAccount, symbol: str, repeat: int) -> VerdictCode | None:
    verdict = SubmissionService(account, RUN).submit(order(symbol, qty=1, repeat=repeat)).verdict
    return None if verdict is None else verdict.code


def test_an_account_in_agreement_keeps_its_epoch_and_its_gate(account: TradingAccount) -> None:
    """Nothing is written that did not change."""
    before = account.ledger.books.get(ACCOUNT)
    done = reconcile(account, ACTION)
    assert (Gate.OPEN, before.epoch, (), {}, ()) == (
        done.record.gate,
        done.record.epoch,
        done.external,
        done.unresolved,
        done.unexplained,
    )


def test_only_reducing_orders_clear_from_a_start_until_the_account_was_reconciled(
    account: TradingAccount, bench: Bench
) -> None:
    """A broker that is away at the start leaves the gate closed; the next reconciliation opens it."""
    bench.server.plan_for("GET", "/v2/positions", *[Fault(status=503)] * 3)
    assert start(account, ACTION) is None
    assert Gate.CLOSED is account.ledger.books.get(ACCOUNT).gate
    assert account.ledger.externals.last_start(ACCOUNT) is not None
    assert not _clears(account, "AAPL")
    assert Gate.OPEN is reconcile(account, ACTION).record.gate
    assert _clears(account, "AAPL")
    done = start(account, ACTION)
    assert done is not None
    assert Gate.OPEN is done.record.gate


@pytest.mark.parametrize("process", ["the system", "trading-pipeline stream", "trading-pipeline slices"])
def test_each_start_of_a_process_that_sends_or_books_closes_the_gate_anew(
    process: str, account: TradingAccount, bench: Bench
) -> None:
    """By its name, reducing orders pass, and only a reconciliation that succeeded opens it."""
    bought = SubmissionService(account, RUN).submit(order("AAPL")).order
    bench.exchange.fill(bought.client_order_id)
    assert Gate.OPEN is reconcile(account, ACTION).record.gate
    bench.server.plan_for("GET", "/v2/positions", *[Fault(status=503)] * 3)
    record_start(account, process)
    record = account.ledger.books.get(ACCOUNT)
    assert Gate.CLOSED is record.gate
    assert process in record.gate_reason
    assert not _clears(account, "MSFT")
    assert not SubmissionService(account, RUN).submit(order("AAPL", Side.SELL, 4)).refused
    assert Gate.OPEN is reconcile(account, ACTION).record.gate
    assert _clears(account, "MSFT", repeat=1)


def test_an_answer_lost_in_a_crash_is_adopted(account: TradingAccount, bench: Bench) -> None:
    """The order was accepted and filled; the process never heard of it."""
    bench.server.plan_for("POST", ORDERS, Fault(kind="reset", after=True))
    sent = SubmissionService(account, RUN).submit(order("AAPL")).order
    assert OrderState.SUBMITTED_UNCONFIRMED is sent.state
    bench.exchange.fill(sent.client_order_id)
    done = reconcile(account, ACTION)
    stored = account.ledger.orders.get(sent.client_order_id)
    assert stored is not None
    assert (OrderState.FILLED, Gate.OPEN, ()) == (stored.state, done.record.gate, done.external)
    assert {"AAPL": Decimal(10)} == _held(account)


def test_shares_of_others_count_and_keep_their_symbol_until_they_are_accepted(
    account: TradingAccount, bench: Bench
) -> None:
    """Fractions are kept; the other symbols trade on."""
    bench.exchange.buy_elsewhere("NVDA", Decimal("2.5"))
    done = reconcile(account, ACTION)
    assert (Gate.OPEN, ["NVDA"]) == (done.record.gate, list(done.unresolved))
    assert {"NVDA": Decimal("2.5")} == _held(account)
    assert [] == compare(account)
    assert (False, True) == (_clears(account, "NVDA"), _clears(account, "AAPL"))

    assert () == reconcile(account, ACTION).external
    accepted = accept_external(account, "NVDA", OperatorAction(operator="ada", reason="bought by hand, to be kept"))
    assert (("NVDA",), {}) == (accepted.released, accepted.unresolved)
    assert _clears(account, "NVDA", repeat=1)
    with pytest.raises(OperatorError, match="nothing in NVDA waits"):
        accept_external(account, "NVDA", ACTION)
    assert account.ledger.seals.verify().sound


def test_a_symbol_comes_back_by_itself_when_the_shares_of_others_are_gone(
    account: TradingAccount, bench: Bench
) -> None:
    """Whoever bought has sold."""
    bench.exchange.buy_elsewhere("NVDA", Decimal(3))
    reconcile(account, ACTION)
    bench.exchange.buy_elsewhere("NVDA", Decimal(-3))
    done = reconcile(account, ACTION)
    assert (("NVDA",), {}, {}) == (done.released, done.unresolved, _held(account))
    assert _clears(account, "NVDA")


@pytest.mark.parametrize("days", [None, 3])
def test_a_quarantine_of_an_operator_does_not_end_by_itself(
    account: TradingAccount, bench: Bench, days: int | None
) -> None:
    """Only what a reconciliation began does it end, be it without an end or for a while."""
    until = None if days is None else datetime.now(UTC) + timedelta(days=days)
    RiskOperations(account).quarantine_symbol("NVDA", until, ACTION)
    bench.exchange.buy_elsewhere("NVDA", Decimal(3))
    reconcile(account, ACTION)
    bench.exchange.buy_elsewhere("NVDA", Decimal(-3))
    assert () == reconcile(account, ACTION).released
    assert not _clears(account, "NVDA")


def test_shares_sold_by_others_realise_profit(account: TradingAccount, bench: Bench) -> None:
    """Bought at 90, four of ten sold by hand while the price was 100: 40 dollars are realised, six shares stay."""
    sent = SubmissionService(account, RUN).submit(order("AAPL")).order
    bench.exchange.fill(sent.client_order_id, price=Decimal(90))
    reconcile(account, ACTION)
    bench.exchange.buy_elsewhere("AAPL", Decimal(-4))
    reconcile(account, ACTION)
    position = account.ledger.fills.positions(ACCOUNT)["AAPL"]
    assert (Decimal(6), Decimal(90), Decimal(40)) == (position.qty, position.average_price, position.realised)
    assert {"AAPL": Decimal(6)} == _held(account)


def test_an_order_of_others_is_reserved_and_keeps_its_symbol_until_it_ends(
    account: TradingAccount, bench: Bench
) -> None:
    """It counts toward exposure while it works, partly filled too."""
    made = bench.broker_client().post("/orders", BY_HAND)
    done = reconcile(account, ACTION)
    assert (Gate.OPEN, ["NVDA"]) == (done.record.gate, list(done.unresolved))
    assert Decimal(5) == _pending(account, "NVDA")
    assert [] == compare(account)
    assert not _clears(account, "NVDA")

    bench.exchange.fill(made["client_order_id"], 2, Decimal(399))
    reconcile(account, ACTION)
    assert (Decimal(3), {"NVDA": Decimal(2)}) == (_pending(account, "NVDA"), _held(account))
    bench.exchange.end(made["client_order_id"], "canceled")
    done = reconcile(account, ACTION)
    assert (Decimal(0), ["NVDA"], ()) == (_pending(account, "NVDA"), list(done.unresolved), done.unexplained)
    assert ("NVDA",) == accept_external(account, "NVDA", ACTION).released
    assert [] == compare(account)


def test_an_order_of_others_that_settlement_met_first_ends_its_quarantine_too(
    account: TradingAccount, bench: Bench
) -> None:
    """Whoever saw it first, its end brings the symbol back."""
    made = bench.broker_client().post("/orders", BY_HAND)
    settle(account, SESSION)
    assert not _clears(account, "NVDA")
    bench.exchange.end(made["client_order_id"], "canceled")
    assert ("NVDA",) == reconcile(account, ACTION).released
    assert _clears(account, "NVDA")


def test_an_accepted_order_of_others_lets_its_symbol_trade(account: TradingAccount, bench: Bench) -> None:
    """Its exposure stays reserved; its fills wait for a word of their own."""
    made = bench.broker_client().post("/orders", BY_HAND)
    reconcile(account, ACTION)
    assert ("NVDA",) == accept_external(account, "NVDA", ACTION).released
    assert Decimal(5) == _pending(account, "NVDA")
    bench.exchange.fill(made["client_order_id"], price=Decimal(399))
    assert ["NVDA"] == list(reconcile(account, ACTION).unresolved)


def _pending(account: TradingAccount, symbol: str) -> Decimal:
    snapshot = account.guard.snapshot()
    assert snapshot is not None
    return snapshot.symbols[symbol].pending_buy if symbol in snapshot.symbols else Decimal(0)


def test_shares_whose_price_nobody_knows_close_the_gate(account: TradingAccount, bench: Bench) -> None:
    """They cannot be counted toward exposure, so nothing that grows may clear."""
    valuation = account.valuation
    assert valuation is not None
    unpriced = replace(account, valuation=replace(valuation, quotes=lambda _session, _symbols: {}))
    bench.exchange.buy_elsewhere("NVDA", Decimal(3))
    done = reconcile(unpriced, ACTION)
    assert (Gate.CLOSED, [DifferenceKind.POSITION]) == (done.record.gate, [one.kind for one in done.unexplained])
    with pytest.raises(NotReconciled, match="NVDA"):
        done.require_explained()
    assert not _clears(account, "AAPL")
    assert Gate.OPEN is reconcile(account, ACTION).record.gate


def test_shares_that_the_second_look_explains_are_nobody_elses(account: TradingAccount, bench: Bench) -> None:
    """Positions are ahead of the order's executions for some seconds."""
    sent = SubmissionService(account, RUN).submit(order("AAPL")).order
    bench.exchange.fill(sent.client_order_id)

    class Behind:
        """Shows orders and executions of the past until time has passed."""

        def __getattr__(self, name: str) -> object:
            return getattr(account.broker, name)

        def executions(self, ids: list[str]) -> list[object]:
            return [] if not bench.waits.waited else list(account.broker.executions(ids))

        def find(self, order_id: str) -> object:
            found = account.broker.find(order_id)
            assert found is not None
            if bench.waits.waited:
                return found
            return replace(found, state=OrderState.ACCEPTED, filled_qty=Decimal(0), average_price=None)

    bench.waits.waited.clear()
    done = reconcile(replace(account, broker=Behind()), ACTION)  # type: ignore[arg-type]
    assert ((), Gate.OPEN, {"AAPL": Decimal(10)}) == (done.external, done.record.gate, _held(account))
    assert bench.waits.waited


@pytest.mark.parametrize(
    "lost",
    [
        "epoch = epoch + 1, confirmed_epoch = epoch + 1",
        "epoch = epoch + 2, confirmed_epoch = epoch + 1",
        "epoch = epoch + 1, high_sequence = high_sequence + 1000",
        "epoch = epoch - 1, confirmed_epoch = epoch - 2",
    ],
    ids=["a change it had made", "more than it never heard of", "what it said yes to", "its ledger"],
)
def test_a_book_that_lost_something_is_left_to_an_operator(
    lost: str, account: TradingAccount, bench: Bench, database_url: str
) -> None:
    """Reconciling never makes a book anew that is not the ledger's, orders of others or not."""
    with psycopg.connect(database_url) as connection:
        connection.execute(f"update ledger.books set {lost}".encode())
    bench.broker_client().post("/orders", BY_HAND)
    done = reconcile(account, ACTION)
    assert Gate.CLOSED is done.record.gate
    assert DifferenceKind.EPOCH in {one.kind for one in done.unexplained}
    RiskOperations(account).rebuild_risk_book(ACTION)
    assert Gate.OPEN is reconcile(account, ACTION).record.gate


def test_a_book_that_is_gone_is_left_to_an_operator_whatever_was_under_way(
    account: TradingAccount, database_url: str, redis_url: str
) -> None:
    """Nobody can tell what a book knew that is not there."""
    with psycopg.connect(database_url) as connection:
        connection.execute("update ledger.books set epoch = epoch + 1")
    with closing(connect(redis_url)) as client:
        client.flushdb()
    done = reconcile(account, ACTION)
    assert Gate.CLOSED is done.record.gate
    assert [DifferenceKind.BOOK_MISSING] == [one.kind for one in done.unexplained]


def test_what_redis_did_not_hear_while_it_was_away_the_next_reconciliation_tells_it(account: TradingAccount) -> None:
    """The switch was pressed, then let go of: until Redis knows, nothing clears; nobody has to rebuild the book."""
    with closing(connect("redis://127.0.0.1:1/0")) as nowhere:
        alone = RiskOperations(replace(account, guard=RiskGuard(nowhere, ACCOUNT)))
        assert "until a reconciliation" in alone.engage_kill_switch(ACTION).stale
        pressed = reconcile(account, ACTION)
        assert (Gate.OPEN, KillSwitch.ENGAGED) == (pressed.record.gate, pressed.record.kill_switch)
        assert not _clears(account, "AAPL")
        assert "until a reconciliation" in alone.disengage_kill_switch(ACTION).stale
    assert VerdictCode.BOOK_STALE is _verdict(account, "AAPL", repeat=1)
    assert Gate.OPEN is reconcile(account, ACTION).record.gate
    assert _clears(account, "AAPL", repeat=2)
    assert [] == compare(account)


def test_a_crash_between_ledger_and_guard_is_finished_by_the_next_one(account: TradingAccount, bench: Bench) -> None:
    """The external fill is booked and the guard was never told: it is told once."""
    bench.exchange.buy_elsewhere("NVDA", Decimal(3))
    now = account.clock.now()
    session = account.session()
    assert session is not None
    fill = account.ledger.externals.book(
        ACCOUNT, "NVDA", held=Decimal(0), there=Decimal(3), price=Decimal(100), session=session, at=now
    )
    assert fill is not None
    assert Side.BUY is fill.side
    again = account.ledger.externals.book(
        ACCOUNT, "NVDA", held=Decimal(0), there=Decimal(3), price=Decimal(100), session=session, at=now
    )
    assert again is None
    for _ in range(2):
        done = reconcile(account, ACTION)
        assert ((), ["NVDA"], {"NVDA": Decimal(3)}) == (done.external, list(done.unresolved), _held(account))
        assert 1 == [row["kind"] for row in account.ledger.alerts.latest()].count("foreign_shares")


def test_an_acceptance_that_was_cut_off_is_finished_by_a_repetition(account: TradingAccount, bench: Bench) -> None:
    """The word was written down; then the broker was away."""
    bench.exchange.buy_elsewhere("NVDA", Decimal(3))
    reconcile(account, ACTION)
    bench.server.plan_for("GET", "/v2/positions", *[Fault(status=503)] * 3)
    with pytest.raises(TransientError):
        accept_external(account, "NVDA", ACTION)
    assert not _clears(account, "NVDA")
    assert ("NVDA",) == accept_external(account, "NVDA", ACTION).released
    assert _clears(account, "NVDA", repeat=1)


def test_an_order_of_dollars_closes_the_gate(account: TradingAccount, bench: Bench) -> None:
    """It says no shares, so nobody can count it; when it has ended all trades on."""
    made = bench.broker_client().post("/orders", BY_HAND)
    bench.exchange.order(made["client_order_id"]).qty = Decimal(0)
    done = reconcile(account, ACTION)
    assert Gate.CLOSED is done.record.gate
    assert [DifferenceKind.ORDER_UNKNOWN_TO_LEDGER] == [one.kind for one in done.unexplained]
    bench.exchange.end(made["client_order_id"], "canceled")
    assert Gate.OPEN is reconcile(account, ACTION).record.gate


def test_a_symbol_that_the_rebuild_of_a_reconciliation_shut_comes_back_by_itself(
    account: TradingAccount, bench: Bench
) -> None:
    """The book is made anew to hold a foreign order while shares of F have no price: once they are gone, F trades."""
    valuation = account.valuation
    assert valuation is not None
    quotes = valuation.quotes
    without_f = replace(valuation, quotes=lambda session, symbols: quotes(session, set(symbols) - {"F"}))
    unpriced = replace(account, valuation=without_f)
    bench.broker_client().post("/orders", BY_HAND)
    bench.exchange.buy_elsewhere("F", Decimal(3))
    before = account.ledger.books.get(ACCOUNT).epoch
    assert Gate.CLOSED is reconcile(unpriced, ACTION).record.gate
    assert account.ledger.books.get(ACCOUNT).epoch > before
    bench.exchange.buy_elsewhere("F", Decimal(-3))
    done = reconcile(unpriced, ACTION)
    assert (Gate.OPEN, ("F",)) == (done.record.gate, done.released)
    assert _clears(account, "F")
