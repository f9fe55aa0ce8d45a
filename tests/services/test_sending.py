"""The last check before a send, absences, and what the broker has that nobody expected."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
import redis
from support.stepped_redis import interrupted
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, order

from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.scripts import source
from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.orders.model import OrderIntent, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import Clearance, ClearanceRequest, Verdict, VerdictCode
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import OrderStateUnknown
from trading_pipeline.services.facts import Facts
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import GRACE, SubmissionService


def _cleared(kit: Kit) -> tuple[OrderRecord, Verdict]:
    """Take an order through steps 1 to 3."""
    new = order()
    stored, _ = kit.ledger.orders.record(new)
    book = kit.ledger.books.get(ACCOUNT)
    request = ClearanceRequest.of(
        new.intent,
        market=Facts(kit.account, [new.intent]).of(new.intent),
        epoch=book.epoch,
        min_sequence=book.high_sequence,
    )
    verdict = kit.guard.clear(request)
    kit.ledger.orders.record_verdict(stored, verdict)
    return stored, verdict


def _last_check(kit: Kit, order_: OrderRecord, verdict: Verdict) -> VerdictCode | None:
    with kit.ledger.sending.batch() as batch:
        veto = batch.check(order_, verdict)
    return None if veto is None else veto.code


def test_nothing_stands_against_an_order_just_cleared(kit: Kit) -> None:
    """The check lets it go."""
    assert None is _last_check(kit, *_cleared(kit))


def test_whoever_was_overtaken_does_not_send(kit: Kit) -> None:
    """A process that wakes up after another took the order finds the fence raised."""
    mine, verdict = _cleared(kit)
    theirs = kit.ledger.sending.take([mine.client_order_id])[mine.client_order_id]
    assert VerdictCode.OVERTAKEN is _last_check(kit, mine, verdict)
    assert None is _last_check(kit, theirs, verdict)


def test_a_switch_pressed_after_the_clearance_was_recorded_is_seen(kit: Kit) -> None:
    """The last check comes after everything."""
    mine, verdict = _cleared(kit)
    kit.operations.engage_kill_switch(ACTION)
    assert VerdictCode.KILL_SWITCH_ENGAGED is _last_check(kit, mine, verdict)


def test_a_breaker_tripped_after_the_clearance_was_recorded_is_seen(kit: Kit) -> None:
    """By the epoch of the book."""
    mine, verdict = _cleared(kit)
    kit.operations.trip_circuit_breaker(ACTION)
    assert VerdictCode.BOOK_STALE is _last_check(kit, mine, verdict)


def test_an_order_that_ended_after_its_clearance_is_not_sent(kit: Kit) -> None:
    """A cancellation that came in between stands."""
    mine, verdict = _cleared(kit)
    kit.ledger.orders.move(mine.client_order_id, OrderState.CANCELED, reason="cancelled")
    assert VerdictCode.ENDED is _last_check(kit, mine, verdict)


def test_an_order_being_sent_can_neither_be_taken_nor_called_absent(kit: Kit) -> None:
    """The sender holds it until its answer is recorded."""
    mine, verdict = _cleared(kit)
    seen = kit.ledger.orders.get(mine.client_order_id)
    assert seen is not None
    with kit.ledger.sending.batch() as batch:
        assert None is batch.check(mine, verdict)
        assert {} == kit.ledger.sending.take([mine.client_order_id])
        kit.ledger.sending.absent(seen, grace=timedelta(0), reason="gone", end=OrderState.EXPIRED)
    assert [] == kit.ledger.sending.absences(mine.client_order_id)


def test_one_absence_never_ends_an_order(kit: Kit) -> None:
    """However long ago it was sent; the second, a grace time later, does."""
    kit.broker.before.append(OrderStateUnknown("connection reset"))
    service = SubmissionService(kit.account, RUN)
    lost = service.submit(order()).order
    kit.clock.advance(GRACE.total_seconds() * 100)
    service.resume()
    waiting = kit.ledger.orders.get(lost.client_order_id)
    assert waiting is not None
    assert (OrderState.SUBMITTED_UNCONFIRMED, 1) == (
        waiting.state,
        len(kit.ledger.sending.absences(lost.client_order_id)),
    )

    kit.clock.advance(GRACE.total_seconds())
    service.resume()
    ended = kit.ledger.orders.get(lost.client_order_id)
    assert ended is not None
    assert OrderState.EXPIRED is ended.state


def test_a_look_up_from_before_a_change_says_nothing(kit: Kit) -> None:
    """An absence counts only for the order as it was when it was looked up."""
    mine, _ = _cleared(kit)
    seen = kit.ledger.orders.get(mine.client_order_id)
    assert seen is not None
    kit.ledger.sending.take([mine.client_order_id])
    kit.ledger.sending.absent(seen, grace=timedelta(0), reason="gone", end=OrderState.EXPIRED)
    assert [] == kit.ledger.sending.absences(mine.client_order_id)


def test_an_order_cleared_meanwhile_is_not_withdrawn(kit: Kit) -> None:
    """Only what was never sent ends that way."""
    mine, _ = _cleared(kit)
    kept = kit.ledger.sending.withdraw(mine.client_order_id, "cancelled")
    assert kept is not None
    assert OrderState.CLEARED is kept.state


def test_a_foreign_order_is_named_once_and_its_symbol_put_into_quarantine(kit: Kit) -> None:
    """Somebody else trades this account."""
    foreign = BrokerOrder(
        client_order_id="by hand",
        broker_order_id="b-1",
        symbol="AAPL",
        side=Side.BUY,
        qty=Decimal(5),
        state=OrderState.ACCEPTED,
        filled_qty=Decimal(0),
    )
    kit.broker.foreign.append(foreign)
    settle(kit.account, SESSION)
    settle(kit.account, SESSION)
    assert ["foreign_order"] == [row["kind"] for row in kit.ledger.alerts.latest()]
    assert {"AAPL": None} == kit.ledger.books.quarantined(ACCOUNT)
    assert SubmissionService(kit.account, RUN).submit(order()).refused


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (lambda kit, _: kit.exchange.advance(xnys().next(SESSION)), OrderState.FILLED),
        (lambda kit, order_id: kit.exchange.cancel(order_id), OrderState.CANCELED),
    ],
    ids=["filled", "canceled"],
)
def test_an_ended_order_that_a_lagging_list_still_shows_surprises_nobody(
    kit: Kit, end: Callable[[Kit, str], object], state: OrderState
) -> None:
    """Every share was executed, or the broker has ended it when asked for it alone: its symbol goes on trading."""
    submitted = SubmissionService(kit.account, RUN).submit(order()).order
    shown = kit.exchange.find(submitted.client_order_id)
    assert shown is not None
    end(kit, submitted.client_order_id)
    settle(kit.account, SESSION)
    ended = kit.ledger.orders.get(submitted.client_order_id)
    assert ended is not None
    assert state is ended.state
    kit.broker.foreign.append(shown)
    settle(kit.account, SESSION)
    assert [] == kit.ledger.alerts.latest()
    assert {} == kit.ledger.books.blocked(ACCOUNT)


def test_an_order_that_arrives_after_it_was_given_up_is_named_and_cancelled(kit: Kit) -> None:
    """Its exposure was released, so nothing more of the symbol is bought until a person has looked."""
    submitted = SubmissionService(kit.account, RUN).submit(order()).order
    kit.ledger.orders.move(submitted.client_order_id, OrderState.EXPIRED, reason="the broker never saw it")
    settle(kit.account, SESSION)
    alerts = kit.ledger.alerts.latest()
    assert ["late_arrival"] == [row["kind"] for row in alerts]
    assert "works at the broker" in alerts[0]["message"]
    at_broker = kit.exchange.find(submitted.client_order_id)
    assert at_broker is not None
    assert OrderState.CANCELED is at_broker.state


def test_a_book_that_forgets_a_clearance_within_a_batch_is_stale_for_the_next(kit: Kit, redis_url: str) -> None:
    """Nothing is sent on a book that has lost what it just said yes to."""
    with closing(interrupted(redis_url)) as line, closing(redis.Redis.from_url(redis_url)) as server:
        before = {key: server.dump(key) for key in server.scan_iter()}

        def goes_back() -> None:
            for key, content in before.items():
                server.restore(key, 0, content, replace=True)

        line.script_load(source("clear"))
        line.interrupt(1, goes_back)
        account = replace(kit.account, guard=RiskGuard(line, ACCOUNT))
        submissions = SubmissionService(account, RUN).submit_all([order("AAPL"), order("MSFT")])
    codes = {one.verdict.code for one in submissions if one.verdict}
    assert {VerdictCode.CLEARED, VerdictCode.BOOK_STALE} == codes
    assert 1 == len(kit.broker.sent)


def test_a_switch_pressed_while_a_batch_is_sent_stops_the_rest(kit: Kit) -> None:
    """The last check of each order is its own: the first is at the broker, no other goes there."""
    account = replace(kit.account, broker=PressingBroker(kit))
    submissions = SubmissionService(account, RUN).submit_all([order(symbol) for symbol in ("AAPL", "MSFT", "TSLA")])
    assert [False, True, True] == sorted(one.refused for one in submissions)
    assert {VerdictCode.KILL_SWITCH_ENGAGED} == {one.verdict.code for one in submissions if one.refused and one.verdict}
    assert 1 == len(kit.broker.sent)


class PressingBroker:
    """A broker during whose first answer an operator presses the kill switch."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    def submit(self, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Take the order; the switch is pressed before the answer is back."""
        answer = self._kit.broker.submit(intent, clearance)
        self._kit.operations.engage_kill_switch(ACTION)
        return answer

    def __getattr__(self, name: str) -> object:
        return getattr(self._kit.broker, name)


def test_what_is_cleared_after_its_end_is_released_once_more(kit: Kit) -> None:
    """An order that ended while the guard was answering leaves nothing reserved."""
    stored, verdict = _cleared(kit)
    kit.ledger.orders.move(stored.client_order_id, OrderState.EXPIRED)
    kit.ledger.orders.mark_released([stored.client_order_id])
    kit.ledger.orders.record_verdict(stored, verdict)
    settle(kit.account, SESSION)
    assert {} == kit.guard.snapshot().reservations
