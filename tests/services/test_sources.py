"""Who says where an order stands, written with each event and believed in this order; and texts that are over."""

from datetime import UTC, datetime
from itertools import permutations

from support.trading import ACTION, RUN, SESSION, Kit, order

from trading_pipeline.core.orders.states import OrderState, Source
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import OrderStateUnknown
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.single_orders import cancel_order, cancel_orders
from trading_pipeline.services.submission import SubmissionService

AT = datetime(2023, 9, 5, 14, 0, tzinfo=UTC)
NEXT = xnys().next(SESSION)
ENDS = {
    Source.MANUAL: OrderState.CANCELED,
    Source.RECONCILIATION: OrderState.EXPIRED,
    Source.BROKER: OrderState.REJECTED,
}


def _said_by(kit: Kit, order_id: str) -> list[tuple[str, str]]:
    return [(event["to_state"], event["source"]) for event in kit.ledger.orders.events(order_id)]


def test_of_ends_at_one_instant_that_of_the_better_source_stands(kit: Kit) -> None:
    """Manual, reconciliation, broker, in whatever order the ledger hears of them, and each is written down."""
    orders, service = kit.ledger.orders, SubmissionService(kit.account, RUN)
    for number, told in enumerate([*permutations(ENDS, 2), *permutations(ENDS)]):
        order_id = service.submit(order(repeat=number)).order.client_order_id
        for source in told:
            orders.move(order_id, ENDS[source], reason=f"said by {source}", source=source, broker_at=AT)
        believed = max(told, key=list(ENDS).index)
        stands = orders.get(order_id)
        assert (ENDS[believed], f"said by {believed}") == (stands.state, stands.reason), told
        assert [(ENDS[one].value, one.value) for one in told] == _said_by(kit, order_id)[3:]


def test_a_person_who_ends_an_order_that_was_never_sent_is_its_source(kit: Kit) -> None:
    """No broker has seen it, so no broker can have said so."""
    stored, _ = kit.ledger.orders.record(order())
    assert cancel_order(kit.account, stored.client_order_id, ACTION).canceled
    assert ("expired", "manual") == _said_by(kit, stored.client_order_id)[-1]
    assert kit.ledger.orders.get(stored.client_order_id).reason.startswith("cancelled by ada before it was sent")


def test_an_order_that_came_too_late_was_ended_by_the_system(kit: Kit) -> None:
    """Nor by a person."""
    stored, _ = kit.ledger.orders.record(order())
    settle(kit.account, NEXT)
    SubmissionService(kit.account, RUN).resume()
    assert ("expired", "system") == _said_by(kit, stored.client_order_id)[-1]


def test_what_a_look_finds_is_no_event_of_the_broker(kit: Kit) -> None:
    """Its answers to a send and to a cancellation are, and so is an execution."""
    service = SubmissionService(kit.account, RUN)
    filled, canceled, gone = (
        service.submit(order(symbol)).order.client_order_id for symbol in ("AAPL", "MSFT", "NVDA")
    )
    cancel_order(kit.account, canceled, ACTION)
    kit.exchange.cancel(gone)
    settle(kit.account, NEXT)
    assert [("accepted", "broker"), ("canceled", "broker")] == _said_by(kit, canceled)[2:]
    assert [("accepted", "broker"), ("filled", "broker")] == _said_by(kit, filled)[2:]
    assert [("accepted", "broker"), ("canceled", "reconciliation")] == _said_by(kit, gone)[2:]


def test_an_answer_to_a_cancellation_that_a_look_asks_for_again_is_the_brokers(kit: Kit) -> None:
    """The first one was lost on its way, of an order of which nobody knew whether the broker has it."""
    kit.broker.after.append(OrderStateUnknown("the line broke"))
    lost = SubmissionService(kit.account, RUN).submit(order()).order.client_order_id
    kit.broker.cancel_failures.append(OrderStateUnknown("the line broke again"))
    assert () == cancel_orders(kit.account, [kit.ledger.orders.get(lost)], ACTION).canceled
    SubmissionService(kit.account, RUN).look_up()
    assert [("submitted_unconfirmed", "system"), ("canceled", "broker")] == _said_by(kit, lost)[2:]


def test_the_text_of_an_error_that_is_over_is_cleared_and_what_was_not_told_stays(kit: Kit) -> None:
    """An answer was lost; the reconciliation that finds the order working has nothing to say about that any more."""
    kit.broker.after.append(OrderStateUnknown("the line broke"))
    lost = SubmissionService(kit.account, RUN).submit(order()).order
    assert (OrderState.SUBMITTED_UNCONFIRMED, "the line broke", None) == (lost.state, lost.reason, lost.broker_order_id)

    reconcile(kit.account, ACTION)

    found = kit.ledger.orders.get(lost.client_order_id)
    assert (OrderState.ACCEPTED, "") == (found.state, found.reason)
    assert (f"sim-{lost.client_order_id}", lost.guard_sequence) == (found.broker_order_id, found.guard_sequence)
    assert "the line broke" in [event["reason"] for event in kit.ledger.orders.events(lost.client_order_id)]

    odd = kit.ledger.orders.move(lost.client_order_id, OrderState.PARTIALLY_FILLED, reason="something odd")
    after = kit.ledger.orders.move(lost.client_order_id, OrderState.CANCELED)
    assert ("something odd", "") == (odd.reason, after.reason)
    assert found.broker_order_id == odd.broker_order_id == after.broker_order_id
