"""The one way an order reaches a broker: ledger, guard, ledger, broker, ledger.

The six steps, and what a retry does after a crash in between:
    1 ledger row `pending_new`         takes the order up (raises its fence) and continues from 2
    2 guard clears and reserves        gets the same clearance back
    3 ledger records the clearance     as above
    4 last check, broker.submit        looked up by client order id first: never sent twice
    5 ledger records the answer        the broker's order is found and adopted
    6 fills post, ends void            `services.settlement`

Steps 4 and 5 are one transaction that holds the order. While a process sends, nobody else can send the order or
conclude that it is absent; a process that was overtaken finds the fence raised and does not send.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.adapters.store.ledger import NewOrder, OrderRecord
from trading_pipeline.core.batches import batches
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.orders.model import OrderIntent, Purpose, ReferencePrice
from trading_pipeline.core.orders.states import UNSENT, OrderState, Source
from trading_pipeline.core.risk.clearance import ClearanceRequest, ReplacementRequest, Verdict, VerdictCode
from trading_pipeline.core.risk.halts import KillSwitch
from trading_pipeline.errors import SessionNotTradable, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.facts import Facts
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.sending import Cleared, Sending
from trading_pipeline.services.settlement import pass_on, take_over
from trading_pipeline.services.tie_out import kept_back, require_tied_out
from trading_pipeline.services.unrestated import refuse_unrestated

GRACE = timedelta(seconds=60)
"""How long a broker may take to show an order whose answer was lost before its absence counts."""
BATCH = 128
"""Orders that are recorded, cleared and recorded again together."""
SENT_TOGETHER = 32
"""Orders whose answers are committed together: so many look-ups a crash costs."""
MOST_WAIT = timedelta(seconds=45)
"""How long one submission waits for the guard's rate limits in all: less than others wait for the account's lane.

What is left then is refused, with the wait."""
SHORTEST_PAUSE = timedelta(seconds=1)
RATES = frozenset({VerdictCode.ORDERS_PER_SECOND, VerdictCode.ORDERS_PER_MINUTE})

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
    """Submits orders of one account on behalf of one run.

    `patience` is how long one submission waits for the guard's rate limits.

    Raises:
        SessionNotTradable: the run is a backfill or a range.
    """

    def __init__(self, account: TradingAccount, provenance: Provenance, *, patience: timedelta = MOST_WAIT) -> None:
        provenance.require_tradable()
        self._patience = patience
        self._account = account
        self._provenance = provenance
        self._orders = account.ledger.orders
        self._left: dict[str, OrderRecord] = {}
        self._judged_at: dict[str, ReferencePrice] = {}
        self._busy: TransientError | None = None

    @property
    def left(self) -> Mapping[str, OrderRecord]:
        """Orders, by id, that the broker had no time for: cleared, exposure held, and ours to send; see `go_on`."""
        return self._left

    @property
    def busy(self) -> TransientError | None:
        """Why the broker took no more orders, the last time it did not; its `retry_at` may say from when on it does."""
        return self._busy

    def submit(self, new: NewOrder) -> Submission:
        """Take one intent through the six steps as far as it goes: `submit_all` of one."""
        return self.submit_all([new])[0]

    def submit_all(self, news: Sequence[NewOrder]) -> list[Submission]:
        """Take intents through the six steps as far as each goes, and return what became of them in the same order.

        A retry of an order that is past the guard returns it as it is: what was sent is never sent again. Where the
        guard's rate limits are used up the submission waits, `MOST_WAIT` in all, and asks again.

        Raises:
            SessionNotTradable: the run is not of this session, or the broker takes no orders decided from it now;
                nothing is recorded.
            OutsideSubmissionWindow: a session's own orders are sent before its open only; nothing is recorded.
            TieOutFailed, TieOutMissing: the newest tie-out found differences, or the last session wants one, and not
                every order that may still have to be sent flattens; nothing is recorded.
            OperatorError: an order flattens, and no operator asks for it; nothing is recorded.
            OrderConflict: an id is known with another payload; the orders before its batch were submitted.
            ValueError: an order is another account's, or its trade session does not follow its session.
        """
        for new in news:
            self._require_ours(new.intent)
            self._provenance.require_allowed(new.intent)
            self._provenance.require_tradable(new.intent.session)
        self._require_tradable(news)
        self._busy = None
        patience = _Patience(self._account.clock, self._patience)
        return [one for batch in batches(news, BATCH) for one in self._submit_batch(batch, patience)]

    def resume(self) -> list[Submission]:
        """Finish what a crash or a lost answer left in between, for the whole account; return the orders it touched.

        Orders cleared or unconfirmed are looked up at the broker. Found: adopted, and cancelled where that was asked
        for. A cleared slice of a larger order is left to its sender, which knows whether it is too late. Absent: a
        cleared one of the session the broker trades now goes on through the guard unless its cancellation was asked
        for; any other ends when it was absent twice, a grace time apart. While a tie-out that succeeds is wanted it
        stays cleared, its exposure held, unless it flattens. Intents that came too late expire.
        """
        account = self._account.account
        touched: list[Submission] = []
        waits = kept_back(self._account)
        if waits is not None:
            log.warning("cleared orders wait for a tie-out that succeeds", reason=waits.message)
        sendable = [
            order.client_order_id
            for order in self._orders.live(account)
            if self._sendable(order) and (waits is None or order.intent.purpose is Purpose.FLATTEN)
        ]
        taken = self._account.ledger.sending.take(sendable) if sendable else {}
        self._busy = None
        patience = _Patience(self._account.clock, self._patience)
        touched += self._clear_and_send(list(taken.values()), patience, known=True)
        touched += self.look_up()
        for order in self._orders.unsent(account):
            if not self._tradable(order):
                touched += self._expire(order)
        return touched

    def go_on(self) -> list[Submission]:
        """Send what the broker had no time for, through the guard and the last check as if for the first time.

        The broker is not asked whether it has them: it took none, and of one that somebody else has taken up meanwhile
        the fence is raised. To be called while the account's lane is held, which need not have been held in between.

        Raises:
            SessionNotTradable, OutsideSubmissionWindow, TieOutFailed, TieOutMissing: as `submit_all`; all stay `left`.
        """
        self._require_sendable(
            [order.intent for order in self._left.values()],
            replacing={order_id for order_id, order in self._left.items() if order.replaces is not None},
        )
        left, self._left, self._busy = list(self._left.values()), {}, None
        return self._clear_and_send(left, _Patience(self._account.clock, self._patience), known=False)

    def look_up(self) -> list[Submission]:
        """Look up what may be lost, and ask again for cancellations; nothing is sent. See `resume`."""
        return [one for order in self._orders.live(self._account.account) for one in self.look_up_order(order)]

    def _submit_batch(self, news: Sequence[NewOrder], patience: "_Patience") -> list[Submission]:
        recorded = {order.client_order_id: (order, is_new) for order, is_new in self._orders.record_many(news)}
        fresh = [order for order, is_new in recorded.values() if is_new]
        known = [order_id for order_id, (_, is_new) in recorded.items() if not is_new]
        again = list(self._account.ledger.sending.take(known).values()) if known else []
        outcome = {order_id: Submission(order=order) for order_id, (order, _) in recorded.items()}
        touched = self._clear_and_send(again, patience, known=True)
        for one in (*touched, *self._clear_and_send(fresh, patience, known=False)):
            outcome[one.order.client_order_id] = one
        return [outcome[new.intent.client_order_id] for new in news]

    def _clear_and_send(self, orders: Sequence[OrderRecord], patience: "_Patience", *, known: bool) -> list[Submission]:
        """Take orders we have taken up through steps 2 to 5, as many at a time as the guard's rates let through."""
        outcome: dict[str, Submission] = {}
        rest = list(orders)
        while rest:
            cleared = self._clear_all(rest, patience)
            self._record_and_send(cleared, outcome, known=known)
            rest = rest[len(cleared) :]
            patience.pause()
        return list(outcome.values())

    def _record_and_send(self, verdicts: Sequence[Cleared], outcome: dict[str, Submission], *, known: bool) -> None:
        """Record verdicts, and send what may go. `known`: the broker may have it."""
        # Looked up before the verdicts are recorded: as little as can be lies between the last check and the send.
        found = self._find(order for order, _ in verdicts) if known else {}
        to_send: list[Cleared] = []
        for (order, verdict), (stored, veto) in zip(verdicts, self._orders.record_verdicts(verdicts), strict=True):
            order_id = order.client_order_id
            outcome[order_id] = Submission(order=stored, verdict=veto or verdict)
            if order_id in found and stored.state is OrderState.CLEARED:
                adopted = self._adopt(stored, found[order_id])
                outcome[order_id] = Submission(order=adopted, verdict=veto or verdict)
            elif outcome[order_id].refused:
                log.warning("order kept from the broker", client_order_id=order_id, **(veto or verdict).as_fields())
            else:
                to_send.append((order, verdict))
        if found:
            pass_on(self._account)
        self._send_all(to_send, outcome)

    def _clear_all(self, orders: Sequence[OrderRecord], patience: "_Patience") -> list[Cleared]:
        """Ask the guard, and return what it says up to the first that it is worth waiting for.

        What it cleared behind that one waits with it, so that orders are sent in their order: asked again, it gets the
        same clearance back.
        """
        cleared: list[Cleared] = []
        for order, verdict in zip(orders, self._verdicts(orders), strict=True):
            if patience.waits_for(verdict):
                break
            cleared.append((order, verdict))
        return cleared

    def _verdicts(self, orders: Sequence[OrderRecord]) -> list[Verdict]:
        book = self._account.ledger.books.get(self._account.account)
        facts = Facts(self._account, [order.intent for order in orders])
        self._judged_at |= {order.client_order_id: facts.reference(order.intent) for order in orders}
        halted = book.kill_switch is KillSwitch.ENGAGED
        kept = {} if halted else self._kept_back(orders, facts, book.epoch)
        requests = {
            order.client_order_id: ClearanceRequest.of(
                order.intent, market=facts.of(order.intent), epoch=book.epoch, min_sequence=book.high_sequence
            )
            for order in orders
            if order.client_order_id not in kept and (not halted or order.intent.purpose is Purpose.FLATTEN)
        }
        plain = [one.client_order_id for one in orders if one.client_order_id in requests and one.replaces is None]
        answers = dict(zip(plain, self._account.guard.clear_many([requests[one] for one in plain]), strict=True))
        for order in orders:
            if order.replaces is not None and order.client_order_id in requests:
                answers[order.client_order_id] = self._amend(order, order.replaces, requests[order.client_order_id])
        refusal = Verdict(
            code=VerdictCode.KILL_SWITCH_ENGAGED, epoch=book.epoch, sequence=None, detail="the kill switch is engaged"
        )
        answers |= kept
        return [answers.get(order.client_order_id, refusal) for order in orders]

    def _kept_back(self, orders: Sequence[OrderRecord], facts: Facts, epoch: int) -> dict[str, Verdict]:
        return _unpriced(orders, facts, epoch) | refuse_unrestated(self._account, orders, epoch)

    def _amend(self, order: OrderRecord, replaced: str, request: ClearanceRequest) -> Verdict:
        old = self._orders.get_many([replaced])[replaced]
        asked = ReplacementRequest(order=request, holder=order.holder, replaced_qty=old.intent.qty)
        return self._account.guard.amend(asked)

    def _send_all(self, to_send: Sequence[Cleared], outcome: dict[str, Submission]) -> None:
        """Send orders until all are sent or the broker asks to wait; what was not sent stays cleared and is `left`."""
        rest = list(to_send)
        while rest and self._busy is None:
            sending = Sending(self._account, self._judged_at)
            sent = sending.send(rest[:SENT_TOGETHER])
            for order, answer in sending.to_take_over:
                take_over(self._account, order, answer)
            if sending.to_take_over or sending.rejected:
                pass_on(self._account)
            stored = self._orders.get_many([order.client_order_id for order, _ in rest[:sent]])
            for order_id, verdict in [(order.client_order_id, verdict) for order, verdict in rest[:sent]]:
                outcome[order_id] = Submission(order=stored[order_id], verdict=sending.vetoes.get(order_id, verdict))
            self._busy = sending.busy
            # The order that met a busy broker was dealt with, and is the first that is left.
            rest = rest[sent - 1 :] if sending.busy else rest[sent:]
        self._left |= {order.client_order_id: order for order, _ in rest}

    def _find(self, orders: Iterable[OrderRecord]) -> Mapping[str, BrokerOrder]:
        asked = {order.client_order_id: find_at_broker(self._account, order) for order in orders}
        return {order_id: found for order_id, found in asked.items() if found is not None}

    def _adopt(self, stored: OrderRecord, found: BrokerOrder, source: Source = Source.RECONCILIATION) -> OrderRecord:
        log.info("order found at the broker", client_order_id=stored.client_order_id, state=found.state.value)
        return take_over(self._account, stored, found, "found at the broker", source)

    def look_up_order(self, order: OrderRecord) -> list[Submission]:
        """Look up an order of which we do not know whether the broker has it, and ask again for a cancellation.

        Found: adopted. Absent twice, a grace time apart: ended. Else nothing is known yet, and nothing is returned.
        """
        canceled = order.cancel_requested_at is not None
        too_late = order.state is OrderState.CLEARED and not self._tradable(order)
        if not (canceled or too_late or order.state is OrderState.SUBMITTED_UNCONFIRMED):
            return []
        answer = self._account.broker.cancel(order.client_order_id) if canceled else None
        found = answer or find_at_broker(self._account, order)
        if found is not None:
            adopted = self._adopt(order, found, Source.RECONCILIATION if answer is None else Source.BROKER)
            pass_on(self._account)
            return [Submission(order=adopted)]
        end = OrderState.CANCELED if canceled else OrderState.EXPIRED
        seen = self._account.ledger.sending.absent(order, grace=GRACE, reason="the broker never saw it", end=end)
        if not seen.state.terminal:
            return []
        pass_on(self._account)
        return [Submission(order=seen)]

    def _expire(self, order: OrderRecord) -> list[Submission]:
        reason = "its session, or the window before its open, passed before it was sent"
        expired = self._account.ledger.sending.withdraw(order.client_order_id, reason)
        if expired is None or not expired.state.terminal:
            return []
        pass_on(self._account)
        return [Submission(order=expired)]

    def _require_ours(self, intent: OrderIntent) -> None:
        account, calendar = self._account.account, self._account.calendar
        if intent.account != account:
            msg = f"an order of account {intent.account} was offered to account {account}"
            raise ValueError(msg)
        if intent.trade_session != calendar.next(intent.session):
            due = calendar.next(intent.session)
            msg = f"orders decided from {intent.session} work in {due}, not {intent.trade_session}"
            raise ValueError(msg)

    def _require_tradable(self, news: Sequence[NewOrder]) -> None:
        """Check tie-out and sessions of all orders that may still have to be sent."""
        known = self._orders.get_many([new.intent.client_order_id for new in news])
        stored = [(new.intent, known.get(new.intent.client_order_id)) for new in news]
        unsent = [intent for intent, order in stored if order is None or _unfinished(order)]
        replacing = {new.intent.client_order_id for new in news if new.replaces is not None}
        self._require_sendable(unsent, replacing)

    def _require_sendable(self, unsent: Sequence[OrderIntent], replacing: Collection[str]) -> None:
        if any(intent.purpose is not Purpose.FLATTEN for intent in unsent):
            require_tied_out(self._account)
        for session in sorted({intent.session for intent in unsent}):
            self._account.broker.require_tradable(session)
        for intent in unsent:
            if _keeps_the_window(intent) and intent.client_order_id not in replacing:
                self._account.require_in_window(intent.session)

    def _sendable(self, order: OrderRecord) -> bool:
        if order.intent.purpose is Purpose.SLICE:
            return False
        return order.state is OrderState.CLEARED and order.cancel_requested_at is None and self._tradable(order)

    def _tradable(self, order: OrderRecord) -> bool:
        try:
            self._account.broker.require_tradable(order.intent.session)
            if _keeps_the_window(order.intent) and order.replaces is None:
                self._account.require_in_window(order.intent.session)
        except SessionNotTradable:
            return False
        return True


class _Patience:
    """How long one submission may still wait for the guard's rate limits."""

    def __init__(self, clock: Clock, most: timedelta) -> None:
        self._clock = clock
        self._left = most
        self._due = timedelta(0)

    def waits_for(self, verdict: Verdict) -> bool:
        """Tell whether a verdict is a matter of time, and of so little that it is waited for."""
        if verdict.code not in RATES or verdict.retry_after_ms is None:
            return False
        # A second at least: what clears after it is then a batch, not one order.
        wait = max(timedelta(milliseconds=verdict.retry_after_ms), SHORTEST_PAUSE)
        self._due = wait if wait <= self._left else timedelta(0)
        return bool(self._due)

    def pause(self) -> None:
        """Wait for what was decided to wait for, if anything was."""
        if not self._due:
            return
        log.info("the guard's rate limits are used up: waiting", seconds=self._due.total_seconds())
        self._left -= self._due
        self._clock.pause(self._due)
        self._due = timedelta(0)


def find_at_broker(account: TradingAccount, order: OrderRecord) -> BrokerOrder | None:
    """Return the broker's view of an order, None when it has never seen it."""
    if order.replaces is None:
        return account.broker.find(order.client_order_id)
    return account.broker.find_replacement(order.replaces, order.client_order_id)


def _unpriced(orders: Sequence[OrderRecord], facts: Facts, epoch: int) -> dict[str, Verdict]:
    """Return the refusals, by order, of orders whose price became too old and that have no newer one."""
    why = {order.client_order_id: facts.why_unpriced(order.intent) for order in orders}
    return {
        order_id: Verdict(code=VerdictCode.REFERENCE_STALE, epoch=epoch, sequence=None, detail=detail)
        for order_id, detail in why.items()
        if detail
    }


def _keeps_the_window(intent: OrderIntent) -> bool:
    """Tell a session's own orders from those of people and of large orders, whose time is the session itself."""
    return intent.purpose is Purpose.REBALANCE


def _unfinished(order: OrderRecord) -> bool:
    return order.state in UNSENT or order.state is OrderState.CLEARED
