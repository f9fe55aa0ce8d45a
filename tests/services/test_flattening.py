"""A flatten closes what is held, under an engaged switch too, once, and opens nothing."""

from dataclasses import replace

from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, hold, order, quotes

from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.model import Purpose, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import TransientError
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService


def test_flatten_closes_everything_under_an_engaged_kill_switch(kit: Kit) -> None:
    """Long and short; nothing is left and nothing is opened."""
    SubmissionService(kit.account, RUN).submit(order("AAPL", Side.BUY, 10))
    SubmissionService(kit.account, RUN).submit(order("MSFT", Side.SELL, 7))
    settle(kit.account, xnys().next(SESSION))
    kit.operations.engage_kill_switch(ACTION)
    result = kit.operations.flatten_positions(ACTION, quotes)
    assert [OrderState.ACCEPTED] * 2 == [one.order.state for one in result.submissions]

    settle(kit.account, xnys().shift(SESSION, 2))
    assert {} == kit.positions() == kit.exchange.positions()


def test_a_flatten_under_an_engaged_switch_carries_who_and_why_and_only_reduces(kit: Kit) -> None:
    """In the stored order, in its origin and in the audit; the guard holds it to what is not being closed already."""
    hold(kit, qty=10)
    kit.operations.engage_kill_switch(ACTION)
    getting_out = OperatorAction(operator="bob", reason="we get out of everything now")
    (done,) = kit.operations.flatten_positions(getting_out, quotes).submissions

    stored = kit.ledger.orders.get(done.order.client_order_id)
    assert stored is not None
    assert (OrderState.ACCEPTED, Purpose.FLATTEN, Side.SELL, 10) == (
        stored.state,
        stored.intent.purpose,
        stored.intent.side,
        stored.intent.qty,
    )
    said = {"operator": "bob", "reason": "we get out of everything now"}
    assert said == {name: stored.origin[name] for name in said}
    newest = next(row for row in kit.ledger.books.history(ACCOUNT) if row["action"] == "flatten_positions")
    assert (said, {"AAPL": "10"}) == ({name: newest[name] for name in said}, newest["detail"])

    service = SubmissionService(kit.account, Provenance.by_operator(getting_out))
    beyond = replace(stored.intent, qty=1, repeat=stored.intent.repeat + 1)
    for refused in (beyond, replace(beyond, side=Side.BUY, qty=1), replace(beyond, symbol="MSFT")):
        verdict = service.submit(NewOrder(intent=refused, origin=said)).verdict
        assert verdict is not None
        assert VerdictCode.NOT_REDUCING is verdict.code
    assert [10] == [one.qty for one in kit.exchange.open_orders()]


def test_flatten_twice_closes_once(kit: Kit) -> None:
    """The first flatten's orders are cancelled and asked for anew, never doubled."""
    hold(kit)
    kit.operations.flatten_positions(ACTION, quotes)
    kit.operations.flatten_positions(ACTION, quotes)
    settle(kit.account, xnys().shift(SESSION, 2))
    assert {} == kit.positions()


def test_a_flatten_is_not_kept_by_one_of_another_account(kit: Kit) -> None:
    """Ids say nothing of the account: one that another account has not sent yet is no order of ours to go on with."""
    hold(kit, qty=10)
    asked = kit.operations.flatten_positions(ACTION, quotes).submissions[0].order.intent
    others = replace(asked, account="another", repeat=asked.repeat + 1)
    kit.ledger.orders.record(NewOrder(intent=others))
    result = kit.operations.flatten_positions(ACTION, quotes)

    assert ((), [OrderState.ACCEPTED]) == (result.still_open, [one.order.state for one in result.submissions])
    settle(kit.account, xnys().shift(SESSION, 2))
    assert {} == kit.positions()


def test_a_second_flatten_counts_what_the_first_is_still_closing(kit: Kit) -> None:
    """Its order could not be cancelled: it may fill, so it is not asked for again."""
    hold(kit, qty=10)
    first = kit.operations.flatten_positions(ACTION, quotes)
    kit.broker.cancel_failures.append(TransientError("429"))
    second = kit.operations.flatten_positions(ACTION, quotes)

    assert [10] == [one.order.intent.qty for one in first.submissions]
    assert ((), (("AAPL", "orders over 10 shares are closing it already"),)) == (second.submissions, second.still_open)
    settle(kit.account, xnys().shift(SESSION, 2))
    assert {} == kit.positions()


def test_a_flatten_closes_what_a_smaller_closing_order_leaves(kit: Kit) -> None:
    """Three of ten are being sold by an order that cannot be cancelled now: seven are left."""
    hold(kit, qty=10)
    SubmissionService(kit.account, RUN).submit(order(side=Side.SELL, qty=3, session=kit.exchange.current_session))
    kit.broker.cancel_failures.append(TransientError("429"))
    result = kit.operations.flatten_positions(ACTION, quotes)

    assert [(7, OrderState.ACCEPTED)] == [(one.order.intent.qty, one.order.state) for one in result.submissions]
    settle(kit.account, xnys().shift(SESSION, 2))
    assert {} == kit.positions() == kit.exchange.positions()
