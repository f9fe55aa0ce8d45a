"""One order cancelled, one position closed, on an Alpaca account: exposure comes back only when an end is proven."""

from decimal import Decimal

import pytest
from support.alpaca.bench import Bench
from support.alpaca.server import Fault
from support.trading import ACCOUNT, ACTION, RUN, SESSION, order, quotes

from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.errors import OperatorError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.single_orders import cancel_order, close_position
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.sweep import sweep
from trading_pipeline.services.verification import compare

LIMIT = Decimal("100.50")


def sent(account: TradingAccount, symbol: str = "AAPL", **more) -> str:
    """Send an order and return its id."""
    (one,) = SubmissionService(account, RUN).submit_all([order(symbol, **more)])
    assert OrderState.ACCEPTED is one.order.state
    return one.order.client_order_id


def held(account: TradingAccount) -> dict[str, Decimal]:
    """Return what the book reserves."""
    book = account.guard.snapshot()
    assert book is not None
    return {name: one.remaining for name, one in book.reservations.items()}


def test_one_order_is_cancelled_and_the_others_work_on(account: TradingAccount, bench: Bench) -> None:
    """With who and why in the audit trail; a second time it is returned as it is."""
    apple, microsoft = sent(account, limit_price=LIMIT), sent(account, "MSFT")
    for _ in range(2):
        done = cancel_order(account, apple, ACTION)
        assert [OrderState.CANCELED] == [one.state for one in done.canceled]
    assert {microsoft: Decimal(10)} == held(account)
    newest = account.ledger.books.history(ACCOUNT, 1)[0]
    assert ("cancel_order", ACTION.operator) == (newest["action"], newest["operator"])
    assert 1 == sum(one.method == "DELETE" for one in bench.server.requests)


def test_an_order_that_filled_meanwhile_ends_filled(account: TradingAccount, bench: Bench) -> None:
    """The shares are ours: nothing of them is given back as if it had been cancelled."""
    apple = sent(account, limit_price=LIMIT)
    bench.exchange.fill(apple)
    done = cancel_order(account, apple, ACTION)
    assert [OrderState.FILLED] == [one.state for one in done.canceled]
    settle(account, SESSION)
    assert (Decimal(10), {}, []) == (
        account.ledger.fills.positions(ACCOUNT)["AAPL"].qty,
        held(account),
        compare(account),
    )


@pytest.mark.parametrize("fault", [Fault(kind="hang"), Fault(status=500), Fault(kind="reset", after=True)])
def test_a_cancellation_whose_answer_was_lost_gives_nothing_back(
    account: TradingAccount, bench: Bench, fault: Fault
) -> None:
    """It stays live and reserved until a sweep, which asks again, has seen the end."""
    apple = sent(account, limit_price=LIMIT)
    bench.server.plan_for("DELETE", f"/v2/orders/{bench.exchange.order(apple).id}", fault)
    done = cancel_order(account, apple, ACTION)
    assert ([apple], {apple: Decimal(10)}) == ([one.client_order_id for one, _ in done.still_live], held(account))
    bench.waits.sleep(31)
    sweep(account)
    assert ({}, "canceled") == (held(account), bench.exchange.order(apple).status)


def test_one_failure_keeps_no_other_order_from_being_cancelled(account: TradingAccount, bench: Bench) -> None:
    """Cancelling all asks for each by itself: what failed stays live and is named."""
    apple, microsoft = sent(account, limit_price=LIMIT), sent(account, "MSFT")
    bench.server.plan_for("DELETE", f"/v2/orders/{bench.exchange.order(apple).id}", Fault(status=500))
    done = RiskOperations(account).cancel_all_orders(ACTION)
    assert [microsoft] == [one.client_order_id for one in done.canceled]
    assert ([apple], {apple: Decimal(10)}) == ([one.client_order_id for one, _ in done.still_live], held(account))


def test_an_order_of_nobody_is_refused(account: TradingAccount) -> None:
    """By its id, with where to look."""
    with pytest.raises(OperatorError, match="has no order 0000"):
        cancel_order(account, "0000", ACTION)


def test_a_position_is_closed_once_however_often_it_is_asked_for(account: TradingAccount, bench: Bench) -> None:
    """What else is under way in the symbol is cancelled; the closing order reduces only, also under the kill switch."""
    bench.exchange.fill(sent(account))
    settle(account, SESSION)
    more, other = sent(account, qty=5, limit_price=LIMIT), sent(account, "MSFT")
    RiskOperations(account).engage_kill_switch(ACTION)
    first = close_position(account, "AAPL", ACTION, quotes)
    assert [more] == [one.client_order_id for one in first.cancellation.canceled]
    (closing,) = first.submissions
    assert ("sell", 10) == (closing.order.intent.side, closing.order.intent.qty)
    again = close_position(account, "AAPL", ACTION, quotes)
    assert ((), "orders over 10 shares are closing it already") == (again.submissions, again.still_open[0][1])
    bench.exchange.fill(closing.order.client_order_id)
    settle(account, SESSION)
    assert ({}, {other: Decimal(10)}) == (bench.exchange.positions(), held(account))
    assert ((), ()) == (close_position(account, "AAPL", ACTION, quotes).submissions, again.cancellation.canceled)
