"""The one way an order reaches a broker: ledger, guard, ledger, broker, ledger.

The six steps, and what a retry does after a crash in between:
    1 ledger row `pending_new`         continues from 2
    2 guard clears and reserves        gets the same clearance back
    3 ledger records the clearance     as above
    4 broker.submit                    looked up by client order id first: never sent twice
    5 ledger records the answer        the broker's order is found and adopted
    6 fills post, ends void            `services.settlement`
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.adapters.store.ledger import NewOrder, OrderRecord
from trading_pipeline.core.money import to_ticks
from trading_pipeline.core.orders.model import OrderIntent, Purpose
from trading_pipeline.core.orders.states import UNSENT, OrderState
from trading_pipeline.core.risk.clearance import Clearance, ClearanceRequest, Verdict, VerdictCode
from trading_pipeline.core.risk.halts import KillSwitch
from trading_pipeline.errors import (
    OrderRejected,
    OrderStateUnknown,
    SessionNotTradable,
    TransientError,
)
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.settlement import take_over, tell_guard

GRACE = timedelta(seconds=60)
"""How long a broker may take to show an order whose answer was lost before its absence counts."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What became of one order. `verdict` is None when the stored order already was beyond the guard."""

    order: OrderRecord
    verdict: Verdict | None = None

    @property
    def refused(self) -> bool:
        """True when the order was kept from the broker."""
        return self.verdict is not None and not self.verdict.cleared


class SubmissionService:
    """Submits orders of one account."""

    def __init__(self, account: TradingAccount) -> None:
        self._account = account
        self._orders = account.ledger.orders

    def submit(self, new: NewOrder) -> Submission:
        """Take one intent through the six steps as far as it goes.

        A retry of an order that is past the guard returns it as it is: what was sent is never sent again.

        Raises:
            SessionNotTradable: the broker takes no orders decided from this session now; nothing is recorded.
            OrderConflict: the id is known with another payload.
            ValueError: the order is another account's, or its trade session does not follow its session.
        """
        intent = new.intent
        self._require_ours(intent)
        with _bound(intent):
            stored = self._orders.get(intent.client_order_id)
            if stored is None or _unfinished(stored):
                self._account.broker.require_tradable(intent.session)
            stored, is_new = self._orders.record(new)
            if not _unfinished(stored):
                return Submission(order=stored)
            return self._clear_and_send(stored, is_new=is_new)

    def resume(self) -> list[Submission]:
        """Finish what a crash or a lost answer left in between, for the whole account; return the orders it touched.

        Orders cleared or unconfirmed are looked up at the broker. Found: adopted. Absent: a cleared one of the
        session the broker trades now goes on through the guard, any other ends; an unconfirmed one ends after the
        grace time. Intents never sent, of sessions that passed, expire.
        """
        account = self._account.account
        touched: list[Submission] = []
        for order in self._orders.live(account):
            with _bound(order.intent):
                touched += self._resume_live(order)
        for order in self._orders.unsent(account):
            if not self._tradable(order):
                touched.append(self._end(order, OrderState.EXPIRED, "its session passed before it was sent"))
        return touched

    def _clear_and_send(self, stored: OrderRecord, *, is_new: bool) -> Submission:
        # Looked up before the guard is asked: as little as can be lies between the last check and the send.
        found = None if is_new else self._account.broker.find(stored.client_order_id)
        verdict = self._clear(stored.intent)
        order, veto = self._orders.record_verdict(stored, verdict)
        verdict = veto or verdict
        if found is not None and order.state is OrderState.CLEARED:
            return Submission(order=self._adopt(order, found), verdict=verdict)
        if verdict.clearance is None:
            log.warning("order kept from the broker", **verdict.as_fields())
            return Submission(order=order, verdict=verdict)
        return Submission(order=self._send(order, verdict.clearance), verdict=verdict)

    def _clear(self, intent: OrderIntent) -> Verdict:
        book = self._account.ledger.books.get(self._account.account)
        if book.kill_switch is KillSwitch.ENGAGED and intent.purpose is not Purpose.FLATTEN:
            return Verdict(
                code=VerdictCode.KILL_SWITCH_ENGAGED,
                epoch=book.epoch,
                sequence=None,
                detail="the kill switch is engaged",
            )
        request = ClearanceRequest.of(
            intent,
            reference_ticks=to_ticks(intent.reference.price),
            epoch=book.epoch,
            min_sequence=book.high_sequence,
        )
        return self._account.guard.clear(request)

    def _send(self, order: OrderRecord, clearance: Clearance) -> OrderRecord:
        order_id = order.client_order_id
        try:
            answer = self._account.broker.submit(order.intent, clearance)
        except OrderRejected as rejection:
            log.warning("order rejected by the broker", reason=str(rejection))
            return self._ended(order_id, OrderState.REJECTED, str(rejection))
        except OrderStateUnknown as lost:
            log.warning("the broker's answer was lost", reason=str(lost))
            return self._orders.move(order_id, OrderState.SUBMITTED_UNCONFIRMED, reason=str(lost))
        except TransientError as failure:
            log.warning("the broker did not take the order; it stays cleared", reason=str(failure))
            return self._orders.get(order_id) or order
        log.info("order accepted", broker_order_id=answer.broker_order_id)
        return take_over(self._account, order, answer)

    def _adopt(self, stored: OrderRecord, found: BrokerOrder) -> OrderRecord:
        log.info("order found at the broker", state=found.state.value)
        adopted = take_over(self._account, stored, found, reason="found at the broker")
        tell_guard(self._account)
        return adopted

    def _resume_live(self, order: OrderRecord) -> list[Submission]:
        if order.state not in {OrderState.CLEARED, OrderState.SUBMITTED_UNCONFIRMED}:
            return []
        found = self._account.broker.find(order.client_order_id)
        if found is not None:
            return [Submission(order=self._adopt(order, found))]
        if order.state is OrderState.CLEARED and self._tradable(order):
            return [self._clear_and_send(order, is_new=False)]
        if self._account.clock.now() - order.updated_at < GRACE:
            return []
        return [self._end(order, OrderState.EXPIRED, "the broker never saw it")]

    def _end(self, order: OrderRecord, state: OrderState, reason: str) -> Submission:
        return Submission(order=self._ended(order.client_order_id, state, reason))

    def _ended(self, client_order_id: str, state: OrderState, reason: str) -> OrderRecord:
        ended = self._orders.move(client_order_id, state, reason=reason)
        tell_guard(self._account)
        return ended

    def _require_ours(self, intent: OrderIntent) -> None:
        account, calendar = self._account.account, self._account.calendar
        if intent.account != account:
            msg = f"an order of account {intent.account} was offered to account {account}"
            raise ValueError(msg)
        if intent.trade_session != calendar.next(intent.session):
            due = calendar.next(intent.session)
            msg = f"orders decided from {intent.session} work in {due}, not {intent.trade_session}"
            raise ValueError(msg)

    def _tradable(self, order: OrderRecord) -> bool:
        try:
            self._account.broker.require_tradable(order.intent.session)
        except SessionNotTradable:
            return False
        return True


def _unfinished(order: OrderRecord) -> bool:
    return order.state in UNSENT or order.state is OrderState.CLEARED


def _bound(intent: OrderIntent) -> AbstractContextManager[object]:
    return structlog.contextvars.bound_contextvars(client_order_id=intent.client_order_id, symbol=intent.symbol)
