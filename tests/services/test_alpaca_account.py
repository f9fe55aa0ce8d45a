"""The whole order path on an Alpaca account: ledger, guard and the real client against a server that misbehaves."""

from datetime import timedelta
from decimal import Decimal

import pytest
from support.alpaca.bench import Bench, alpaca_account
from support.alpaca.server import Fault
from support.trading import ACCOUNT, ACTION, RUN, SESSION, order, quotes
from support.virtual_time import shift_time

from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.errors import ClockUnreliable
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare

ORDERS = "/v2/orders"
FAULTS = [
    pytest.param(Fault(status=500, body="<html>oops</html>"), 2, id="500 before acceptance"),
    pytest.param(Fault(status=504, after=True), 3, id="504 after acceptance"),
    pytest.param(Fault(kind="hang", after=True), 3, id="hang after acceptance"),
    pytest.param(Fault(kind="reset", after=True), 3, id="reset after acceptance"),
    pytest.param(Fault(status=429), 3, id="429"),
]


@pytest.mark.parametrize(("fault", "sent"), FAULTS)
def test_a_fault_in_the_first_order_leaves_ledger_book_and_broker_alike(
    fault: Fault, sent: int, bench: Bench, database_url: str, redis_url: str
) -> None:
    """Submit, resume, fill, settle: never two orders of one intent, and at the end all three tell the same."""
    news = [order("AAPL", limit_price=Decimal("100.50")), order("MSFT"), order("NVDA", Side.SELL, 4)]
    bench.server.plan_for("POST", ORDERS, fault)
    with alpaca_account(database_url, redis_url, bench) as account:
        SubmissionService(account, RUN).submit_all(news)
        bench.waits.sleep(5)
        for _ in range(2):
            SubmissionService(account, RUN).resume()
            shift_time(database_url, 61)
            bench.waits.sleep(61)
        SubmissionService(account, RUN).submit_all(news)
        for one in bench.exchange.accepted:
            bench.exchange.fill(one.client_order_id, 1, Decimal("100.123"))
            bench.exchange.fill(one.client_order_id)
        settle(account, SESSION)
        held = {symbol: one.qty for symbol, one in account.ledger.fills.positions(ACCOUNT).items()}
        assert {1} == set(bench.exchange.accepted_per_intent().values())
        assert sent == len(bench.exchange.accepted)
        assert bench.exchange.positions() == held == account.broker.positions()
        assert [] == compare(account)
        assert [] == account.ledger.orders.live(ACCOUNT)


@pytest.mark.parametrize("orders", [1, 6])
def test_ends_of_many_orders_read_the_executions_of_the_account_once(
    orders: int, bench: Bench, database_url: str, redis_url: str
) -> None:
    """What is booked already is not read again for each order that ends: its pages are those of the whole account."""
    with alpaca_account(database_url, redis_url, bench) as account:
        news = [order(symbol, qty=10 + at) for at in range((orders + 1) // 2) for symbol in ("AAPL", "MSFT")][:orders]
        for sent in SubmissionService(account, RUN).submit_all(news):
            bench.exchange.fill(sent.order.client_order_id, 3)
            bench.exchange.end(sent.order.client_order_id, "canceled")
        bench.server.requests.clear()
        settle(account, SESSION)
        assert [] == account.ledger.orders.live(ACCOUNT)
        assert [] == compare(account)
        settled = bench.server.count("GET", "/v2/account/activities/FILL")
    assert 3 == settled, "two pages, the last one empty, for the settlement, and one of nothing new for the comparison"


def test_a_cancelled_order_frees_what_it_held(bench: Bench, database_url: str, redis_url: str) -> None:
    """A partial fill, then an operator's cancel: the ledger ends the order with what was filled."""
    with alpaca_account(database_url, redis_url, bench) as account:
        (sent,) = SubmissionService(account, RUN).submit_all([order("AAPL", limit_price=Decimal("100.50"))])
        bench.exchange.fill(sent.order.client_order_id, 3)
        RiskOperations(account).cancel_all_orders(ACTION)
        settle(account, SESSION)
        stored = account.ledger.orders.get(sent.order.client_order_id)
        assert stored is not None
        assert (OrderState.CANCELED, Decimal(3)) == (stored.state, stored.filled_qty)
        assert [] == compare(account)


def test_shares_whose_execution_is_not_listed_yet_count_until_it_arrives(
    bench: Bench, database_url: str, redis_url: str
) -> None:
    """The order is filled, one execution is missing: inferred from the average, then replaced by the real one."""
    with alpaca_account(database_url, redis_url, bench) as account:
        (sent,) = SubmissionService(account, RUN).submit_all([order("AAPL", limit_price=Decimal("100.50"))])
        order_id = sent.order.client_order_id
        listed = bench.exchange.fill(order_id, 4, Decimal("100.10"))
        late = bench.exchange.fill(order_id, price=Decimal("100.40"))
        bench.exchange.books.fills.remove(late)
        settle(account, SESSION)
        known, missing = ("execution", Decimal(4), Decimal("100.10")), (Decimal(6), Decimal("100.40"))
        assert {known, ("synthetic", *missing)} == _fills(account, order_id)
        assert {order_id: Decimal(6)} == account.ledger.fills.inferred(ACCOUNT)
        assert (Decimal(10), OrderState.FILLED) == _held_and_state(account, order_id)

        bench.exchange.books.fills.append(late)
        bench.waits.sleep(61)
        settle(account, SESSION)
        assert {known, ("execution", *missing)} == _fills(account, order_id)
        assert {listed.id, late.id} == {row["execution_id"] for row in account.ledger.fills.of_order(order_id)}
        assert {} == account.ledger.fills.inferred(ACCOUNT)
        assert (Decimal(10), OrderState.FILLED) == _held_and_state(account, order_id)
        assert [] == compare(account)


@pytest.mark.parametrize("seconds", [-31, 31])
def test_a_clock_that_halts_keeps_every_order_back_and_lets_cancellations_pass(
    seconds: int, bench: Bench, database_url: str, redis_url: str
) -> None:
    """Orders that increase, reduce or flatten are refused by the clock's name; nothing of them is sent."""
    with alpaca_account(database_url, redis_url, bench) as account:
        held, working = SubmissionService(account, RUN).submit_all([order("AAPL"), order("MSFT")])
        bench.exchange.fill(held.order.client_order_id)
        settle(account, SESSION)
        bench.exchange.clock_offset = timedelta(seconds=seconds)
        bench.waits.sleep(31)
        sent = len(bench.exchange.accepted)
        for wanted in (order("NVDA"), order("AAPL", Side.SELL, 4)):
            with pytest.raises(ClockUnreliable, match=r"31\.0 s apart.*synchronise this machine's clock"):
                SubmissionService(account, RUN).submit(wanted)
        done = RiskOperations(account).flatten_positions(ACTION, quotes)
        ((symbol, why),) = done.still_open
        assert ("AAPL", True, ()) == (symbol, "31.0 s apart" in why, done.submissions)
        assert sent == len(bench.exchange.accepted)
        stored = account.ledger.orders.get(working.order.client_order_id)
        assert stored is not None
        assert OrderState.CANCELED is stored.state
        bench.exchange.clock_offset = timedelta(0)
        assert not SubmissionService(account, RUN).submit(order("AAPL", Side.SELL, 4)).refused


def _fills(account: TradingAccount, order_id: str) -> set[tuple[str, Decimal, Decimal]]:
    return {(row["kind"], row["qty"], row["price"]) for row in account.ledger.fills.of_order(order_id)}


def _held_and_state(account: TradingAccount, order_id: str) -> tuple[Decimal, OrderState]:
    """Return the shares that ledger and book agree on, and where the order is."""
    snapshot, stored = account.guard.snapshot(), account.ledger.orders.get(order_id)
    assert snapshot is not None
    assert stored is not None
    held = account.ledger.fills.positions(ACCOUNT)["AAPL"].qty
    assert {"AAPL": held} == snapshot.positions
    return held, stored.state
