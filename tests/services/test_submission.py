"""The six steps of a submission, their crash points, and what keeps an order from the broker."""

import threading
from dataclasses import replace
from decimal import Decimal

import pytest
import redis
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, intent, order, trading_kit

from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.model import Purpose, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import ClearanceRequest, MarketFacts, VerdictCode
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import (
    OrderConflict,
    OrderRejected,
    OrderStateUnknown,
    ServerUnavailable,
    SessionNotTradable,
    TransientError,
)
from trading_pipeline.services.facts import Facts
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import GRACE, SubmissionService

MARKET = MarketFacts(reference_ticks=1_000_000, reference_age_seconds=0, adv_shares=10**6, equity_ticks=10**12)


def _clear(kit: Kit, new: NewOrder) -> None:
    """Take an order through steps 1 to 3 and stop there, as a crash would."""
    stored, _ = kit.ledger.orders.record(new)
    book = kit.ledger.books.get(ACCOUNT)
    request = ClearanceRequest.of(
        new.intent,
        market=Facts(kit.account, [new.intent]).of(new.intent),
        epoch=book.epoch,
        min_sequence=book.high_sequence,
    )
    kit.ledger.orders.record_verdict(stored, kit.guard.clear(request))


def test_an_order_is_recorded_cleared_and_accepted(kit: Kit) -> None:
    """The plain way: every step leaves its event."""
    submission = SubmissionService(kit.account, RUN).submit(order())

    assert OrderState.ACCEPTED is submission.order.state
    events = kit.ledger.orders.events(submission.order.client_order_id)
    assert ["pending_new", "cleared", "accepted"] == [event["to_state"] for event in events]
    assert ["cleared"] == [row["code"] for row in kit.ledger.orders.decisions(submission.order.client_order_id)]


def test_a_retry_returns_the_stored_order_and_sends_nothing(kit: Kit) -> None:
    """The same intent twice is one order at the broker."""
    service = SubmissionService(kit.account, RUN)
    first = service.submit(order())
    second = service.submit(order())

    assert first.order == second.order
    assert [first.order.client_order_id] == kit.broker.sent


def test_a_retry_whose_own_quantity_filled_the_limit_is_not_refused(database_url: str, redis_url: str) -> None:
    """The ledger is asked before the guard."""
    with trading_kit(database_url, redis_url, limits=RiskLimits(max_position_shares=10)) as kit:
        service = SubmissionService(kit.account, RUN)
        service.submit(order(qty=10))
        assert OrderState.ACCEPTED is service.submit(order(qty=10)).order.state


def test_one_id_with_another_payload_is_a_conflict(kit: Kit) -> None:
    """An id never stands for two orders; purpose is not part of the id, but it is of the payload."""
    SubmissionService(kit.account, RUN).submit(order())

    with pytest.raises(OrderConflict):
        SubmissionService(kit.account, Provenance.by_operator(ACTION)).submit(order(purpose=Purpose.FLATTEN))


def test_an_engaged_kill_switch_keeps_every_order_from_the_broker(kit: Kit) -> None:
    """And the ledger says so."""
    kit.operations.engage_kill_switch(ACTION)
    submission = SubmissionService(kit.account, RUN).submit(order())

    assert OrderState.REFUSED is submission.order.state
    assert submission.verdict is not None
    assert VerdictCode.KILL_SWITCH_ENGAGED is submission.verdict.code
    assert [] == kit.broker.sent


def test_a_refused_order_goes_through_once_the_switch_is_off(kit: Kit) -> None:
    """A refusal is not the end of an intent."""
    service = SubmissionService(kit.account, RUN)
    kit.operations.engage_kill_switch(ACTION)
    service.submit(order())
    kit.operations.disengage_kill_switch(ACTION)

    assert OrderState.ACCEPTED is service.submit(order()).order.state


def test_the_switch_pressed_while_redis_is_down_stops_later_orders(kit: Kit, redis_url: str) -> None:
    """The ledger alone is enough, and the book that missed it stays stale until it is rebuilt."""
    client = redis.Redis.from_url(redis_url)
    client.execute_command("CLIENT", "PAUSE", "2500", "ALL")
    kit.operations.engage_kill_switch(ACTION)
    client.execute_command("CLIENT", "UNPAUSE")
    client.close()
    assert SubmissionService(kit.account, RUN).submit(order()).refused

    kit.operations.disengage_kill_switch(ACTION)
    stale = SubmissionService(kit.account, RUN).submit(order()).verdict
    assert stale is not None
    assert VerdictCode.BOOK_STALE is stale.code

    kit.operations.rebuild_risk_book(ACTION)
    assert OrderState.ACCEPTED is SubmissionService(kit.account, RUN).submit(order()).order.state


def test_the_switch_pressed_between_clearance_and_its_record_vetoes_the_order(kit: Kit) -> None:
    """An order that was cleared a moment too early is not sent."""
    new = order()
    stored, _ = kit.ledger.orders.record(new)
    book = kit.ledger.books.get(ACCOUNT)
    verdict = kit.guard.clear(
        ClearanceRequest.of(new.intent, market=MARKET, epoch=book.epoch, min_sequence=book.high_sequence)
    )
    kit.operations.engage_kill_switch(ACTION)
    recorded, veto = kit.ledger.orders.record_verdict(stored, verdict)

    assert OrderState.CLEARED is recorded.state
    assert veto is not None
    assert VerdictCode.KILL_SWITCH_ENGAGED is veto.code


def test_a_flushed_book_refuses_everything_until_it_is_rebuilt(kit: Kit, redis_url: str) -> None:
    """A flush neither resets limits nor turns anything back on."""
    kit.operations.engage_kill_switch(ACTION)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    kit.operations.disengage_kill_switch(ACTION)
    missing = SubmissionService(kit.account, RUN).submit(order()).verdict
    assert missing is not None
    assert VerdictCode.BOOK_MISSING is missing.code

    kit.operations.rebuild_risk_book(ACTION)
    assert OrderState.ACCEPTED is SubmissionService(kit.account, RUN).submit(order()).order.state


def test_an_engaged_switch_is_engaged_after_a_flush_and_a_rebuild(kit: Kit, redis_url: str) -> None:
    """The truth of halts is the ledger."""
    kit.operations.engage_kill_switch(ACTION)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    kit.operations.rebuild_risk_book(ACTION)

    refused = SubmissionService(kit.account, RUN).submit(order()).verdict
    assert refused is not None
    assert VerdictCode.KILL_SWITCH_ENGAGED is refused.code
    kit.operations.disengage_kill_switch(ACTION)
    assert OrderState.ACCEPTED is SubmissionService(kit.account, RUN).submit(order()).order.state


def test_a_lost_answer_keeps_the_reservation_and_is_found_at_the_broker(kit: Kit) -> None:
    """A time-out after sending is not a failure."""
    kit.broker.after.append(OrderStateUnknown("timed out"))
    service = SubmissionService(kit.account, RUN)
    lost = service.submit(order(qty=10)).order
    assert OrderState.SUBMITTED_UNCONFIRMED is lost.state
    assert Decimal(10) == kit.ledger.orders.exposure(ACCOUNT)["AAPL"].pending

    service.resume()
    found = kit.ledger.orders.get(lost.client_order_id)
    assert found is not None
    assert OrderState.ACCEPTED is found.state
    assert [lost.client_order_id] == kit.broker.sent


def test_a_lost_order_that_never_arrived_ends_only_after_the_grace_time(kit: Kit) -> None:
    """Its exposure is held until the broker must have shown it."""
    kit.broker.before.append(OrderStateUnknown("connection reset"))
    service = SubmissionService(kit.account, RUN)
    lost = service.submit(order()).order
    assert [] == service.resume()

    kit.clock.advance(GRACE.total_seconds() + 60)
    service.resume()
    ended = kit.ledger.orders.get(lost.client_order_id)
    assert ended is not None
    assert OrderState.EXPIRED is ended.state
    assert {} == kit.ledger.orders.exposure(ACCOUNT)
    snapshot = kit.guard.snapshot()
    assert snapshot is not None
    assert 0 == snapshot.gross_ticks


def test_a_crash_after_the_clearance_is_finished_by_the_next_run(kit: Kit) -> None:
    """A cleared order counts as pending, so nobody plans it again: resuming must send it."""
    new = order()
    _clear(kit, new)
    touched = SubmissionService(kit.account, RUN).resume()

    assert [OrderState.ACCEPTED] == [one.order.state for one in touched]
    assert [new.intent.client_order_id] == kit.broker.sent


def test_a_crash_after_sending_adopts_the_brokers_order(kit: Kit) -> None:
    """The broker has it, the ledger does not know: found by its id, not sent again."""
    new = order()
    _clear(kit, new)
    book = kit.ledger.books.get(ACCOUNT)
    verdict = kit.guard.clear(
        ClearanceRequest.of(new.intent, market=MARKET, epoch=book.epoch, min_sequence=book.high_sequence)
    )
    assert verdict.clearance is not None
    kit.exchange.submit(new.intent, verdict.clearance)

    retried = SubmissionService(kit.account, RUN).submit(new)
    assert OrderState.ACCEPTED is retried.order.state
    assert [] == kit.broker.sent


def test_a_rejected_order_gives_its_exposure_back(kit: Kit) -> None:
    """Refused for good by the broker."""
    kit.broker.before.append(OrderRejected("no such asset"))
    rejected = SubmissionService(kit.account, RUN).submit(order()).order

    assert OrderState.REJECTED is rejected.state
    snapshot = kit.guard.snapshot()
    assert snapshot is not None
    assert 0 == snapshot.gross_ticks


def test_a_broker_that_is_busy_leaves_the_order_cleared(kit: Kit) -> None:
    """Certainly not accepted: the next run sends it."""
    kit.broker.before.append(TransientError("429, try later"))
    service = SubmissionService(kit.account, RUN)
    assert OrderState.CLEARED is service.submit(order()).order.state
    assert OrderState.ACCEPTED is service.submit(order()).order.state


def test_orders_of_another_session_never_reach_the_broker(kit: Kit) -> None:
    """Neither the past nor the future can be traded; nothing is recorded."""
    for session in (xnys().previous(SESSION), xnys().next(SESSION)):
        with pytest.raises(SessionNotTradable):
            SubmissionService(kit.account, RUN).submit(order(session=session))
    assert [] == kit.ledger.orders.of_session(ACCOUNT, xnys().next(SESSION))


def test_an_intent_never_sent_expires_with_its_session(kit: Kit) -> None:
    """Yesterday's refusal is not tomorrow's order."""
    kit.operations.engage_kill_switch(ACTION)
    refused = SubmissionService(kit.account, RUN).submit(order()).order
    kit.operations.disengage_kill_switch(ACTION)
    settle(kit.account, xnys().next(SESSION))
    SubmissionService(kit.account, RUN).resume()

    stored = kit.ledger.orders.get(refused.client_order_id)
    assert stored is not None
    assert OrderState.EXPIRED is stored.state


def test_two_submitters_of_the_same_intents_make_each_order_once(kit: Kit) -> None:
    """Real threads, real servers, one broker order an intent."""
    wanted = [order(symbol=f"SYM{n}", qty=n + 1) for n in range(8)]
    failures: list[Exception] = []

    def submit_all() -> None:
        service = SubmissionService(kit.account, RUN)
        for new in wanted:
            try:
                service.submit(new)
            except (ServerUnavailable, OrderConflict) as failure:
                failures.append(failure)

    threads = [threading.Thread(target=submit_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settle(kit.account, xnys().next(SESSION))

    assert [] == failures
    assert {f"SYM{n}": Decimal(n + 1) for n in range(8)} == kit.positions()


def test_a_sell_does_not_make_room_for_a_buy(database_url: str, redis_url: str) -> None:
    """Sell 1000 then buy 2000 must not pass a limit of 1000."""
    limits = RiskLimits(
        max_position_shares=1000,
        max_order_shares=5000,
        max_order_notional=Decimal(10**7),
        max_gross_notional=Decimal(10**7),
    )
    with trading_kit(database_url, redis_url, limits=limits) as kit:
        service = SubmissionService(kit.account, RUN)
        assert OrderState.ACCEPTED is service.submit(order(side=Side.SELL, qty=1000, price=Decimal(10))).order.state
        refused = service.submit(order(side=Side.BUY, qty=2000, price=Decimal(10)))
        assert refused.verdict is not None
        assert VerdictCode.POSITION_SHARES is refused.verdict.code


def test_the_broker_cannot_be_reached_with_anothers_clearance(kit: Kit) -> None:
    """A clearance opens the door for one payload."""
    book = kit.ledger.books.get(ACCOUNT)
    verdict = kit.guard.clear(ClearanceRequest.of(intent(), market=MARKET, epoch=book.epoch, min_sequence=0))
    assert verdict.clearance is not None
    with pytest.raises(PermissionError):
        kit.exchange.submit(intent(qty=11), verdict.clearance)


def test_an_order_cancelled_while_it_was_being_cleared_is_not_sent(kit: Kit) -> None:
    """The ledger's state is looked at again when the verdict is written."""
    new = order()
    stored, _ = kit.ledger.orders.record(new)
    book = kit.ledger.books.get(ACCOUNT)
    verdict = kit.guard.clear(
        ClearanceRequest.of(new.intent, market=MARKET, epoch=book.epoch, min_sequence=book.high_sequence)
    )
    kit.operations.cancel_all_orders(ACTION)
    recorded, veto = kit.ledger.orders.record_verdict(stored, verdict)
    assert OrderState.EXPIRED is recorded.state
    assert veto is not None
    assert VerdictCode.ENDED is veto.code


def test_a_breaker_tripped_between_clearance_and_its_record_vetoes_the_order(kit: Kit) -> None:
    """Like the kill switch: the book has moved on."""
    new = order()
    stored, _ = kit.ledger.orders.record(new)
    book = kit.ledger.books.get(ACCOUNT)
    verdict = kit.guard.clear(
        ClearanceRequest.of(new.intent, market=MARKET, epoch=book.epoch, min_sequence=book.high_sequence)
    )
    kit.operations.trip_circuit_breaker(ACTION)
    _, veto = kit.ledger.orders.record_verdict(stored, verdict)
    assert veto is not None
    assert VerdictCode.BOOK_STALE is veto.code


def test_an_order_that_arrives_after_its_end_is_still_ours(kit: Kit) -> None:
    """The broker was slower than the grace time: its fills are booked all the same."""
    kit.broker.before.append(OrderStateUnknown("connection reset"))
    service = SubmissionService(kit.account, RUN)
    new = order(qty=10)
    service.submit(new)
    book = kit.ledger.books.get(ACCOUNT)
    late = kit.guard.clear(
        ClearanceRequest.of(new.intent, market=MARKET, epoch=book.epoch, min_sequence=book.high_sequence)
    )
    kit.clock.advance(GRACE.total_seconds() + 60)
    service.resume()
    assert late.clearance is not None
    kit.exchange.submit(new.intent, late.clearance)
    settle(kit.account, xnys().next(SESSION))
    snapshot = kit.guard.snapshot()
    assert snapshot is not None
    assert {"AAPL": Decimal(10)} == kit.positions() == kit.exchange.positions()
    assert {"AAPL": 10} == snapshot.positions


def test_orders_that_do_not_fit_the_account_or_the_calendar_are_refused(kit: Kit) -> None:
    """A programming error, said before anything is recorded."""
    service, ours = SubmissionService(kit.account, RUN), intent()
    with pytest.raises(ValueError, match="another"):
        service.submit(NewOrder(intent=replace(ours, account="another")))
    with pytest.raises(ValueError, match="work in"):
        service.submit(NewOrder(intent=replace(ours, trade_session=xnys().shift(SESSION, 2))))
    assert None is kit.ledger.orders.get(ours.client_order_id)
