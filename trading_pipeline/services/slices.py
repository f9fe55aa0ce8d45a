"""Sends the slices of large orders when they are due: one at a time, through the guard, and never two to catch up.

What a slice becomes is decided once, under the account's lane, and written down before anything is sent. So whoever
comes after a crash goes on with that decision, and two senders never make two orders of one slice.

A slice that cannot be sent waits and is tried again while its grace lasts; then it expires for good, with the reason:
    no price, no answer, a halt, a closed gate,
    a symbol kept from trading, a failed tie-out     it is tried again every `RETRY`
    the guard's rates are used up                    it is tried again when the guard says
    any other verdict of the guard                   it expires at once: a limit does not go away by waiting
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog

from trading_pipeline.adapters.store.ledger import NewOrder, OrderRecord
from trading_pipeline.adapters.store.ledger.slices import UNKNOWN_VOLUME, ParentRecord, SliceRecord, Traded
from trading_pipeline.core.orders.model import OrderIntent, Purpose, ReferencePrice
from trading_pipeline.core.orders.pacing import expires_at, not_before
from trading_pipeline.core.orders.slicing import carried_shares, slice_shares
from trading_pipeline.core.orders.states import UNSENT, OrderState
from trading_pipeline.core.orders.twap import last_due
from trading_pipeline.core.pricing import PriceSource
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.errors import OrderConflict, PipelineError, PriceUnavailable, SessionNotTradable, TransientError
from trading_pipeline.services.account import LATE_SESSIONS, TradingAccount
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import pass_on
from trading_pipeline.services.submission import RATES, Submission, SubmissionService
from trading_pipeline.services.volumes import VolumeSource

RETRY: Final = timedelta(seconds=15)
"""How long a slice that could not be sent waits before it is tried again."""
PATIENCE_SECONDS: Final = 5
"""How long a sender waits for whoever works on the account; then it looks again."""
LOOK: Final = timedelta(seconds=1)
"""How often a sender looks for slices that somebody has planned since."""
_SHORTEST: Final = timedelta(milliseconds=50)
_NEVER_LEFT: Final = frozenset({OrderState.CANCELED, OrderState.EXPIRED})
PASSING: Final = RATES | {
    VerdictCode.GUARD_UNAVAILABLE,
    VerdictCode.BOOK_MISSING,
    VerdictCode.BOOK_STALE,
    VerdictCode.OVERTAKEN,
    VerdictCode.KILL_SWITCH_ENGAGED,
    VerdictCode.BREAKER_TRIPPED,
    VerdictCode.QUIET_PERIOD,
    VerdictCode.GATE_CLOSED,
    VerdictCode.LIMIT_BREACHED,
    VerdictCode.SYMBOL_BLOCKED,
    VerdictCode.SYMBOL_QUARANTINED,
    VerdictCode.EQUITY_MISSING,
    VerdictCode.REFERENCE_STALE,
}
"""Verdicts that may change while a slice waits."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceNews:
    """What a look did to a slice; `late_seconds` is how long after its due time an order left us, else None."""

    parent_id: str
    number: int
    symbol: str
    state: str
    ordered: int
    reason: str
    late_seconds: float | None


def require_real_time(account: TradingAccount) -> None:
    """Check that the account's broker knows the time of day.

    Raises:
        SessionNotTradable: its orders fill at the open of the next session, whenever they were sent.
    """
    if not account.broker.real_time:
        raise SessionNotTradable(
            f"the {account.broker.name} fills at the next open and knows no time of day: slices would all be one order "
            "there. `plan-twap` shows what they would be; work a large order on a real-time account",
            account=account.account,
        )


class SliceService:
    """Sends due slices of one account on behalf of a run or a process.

    Args:
        account: whose slices.
        provenance: who sends them.
        prices: what a slice is judged at when it is sent.
        volumes: what was traded since the slice before; None where nobody knows.

    Raises:
        SessionNotTradable: the run is a backfill or a range, or the broker has no time of day.
    """

    def __init__(
        self,
        account: TradingAccount,
        provenance: Provenance,
        prices: PriceSource,
        volumes: VolumeSource | None = None,
    ) -> None:
        require_real_time(account)
        # No patience: who waits for the guard's rates keeps the lane from other slices.
        self._submission = SubmissionService(account, provenance, patience=timedelta())
        self._account, self._provenance, self._prices, self._volumes = account, provenance, prices, volumes
        self._slices, self._orders, self._clock = account.ledger.slices, account.ledger.orders, account.clock
        self._since: date | None = None

    def send_due(self) -> list[SliceNews]:
        """Do what is due now: one slice a parent at most is sent. Return what was done.

        Raises:
            ServerUnavailable: ledger or book are away, or somebody else works on the account; look again.
        """
        news: list[SliceNews] = []
        for parent in self._to_do():
            at = self._next_at(parent, self._slices.of_parent(parent.parent_id))
            if at is None or at > self._clock.now():
                continue
            with self._account.ledger.lane(self._account.account, seconds=PATIENCE_SECONDS):
                news += self._advance(parent.parent_id)
        return news

    def next_at(self) -> datetime | None:
        """Return when something is to be done next as far as it is known now, None when nothing is."""
        times = [self._next_at(parent, self._slices.of_parent(parent.parent_id)) for parent in self._to_do()]
        return min((at for at in times if at is not None), default=None)

    def _to_do(self) -> list[ParentRecord]:
        """Return parents with work left: of all times at first, of the last sessions afterwards."""
        since = self._since or self._account.calendar.first_day
        found = self._slices.to_do(self._account.account, since=since)
        self._since = self._account.calendar.shift_within(
            self._account.calendar.latest_closed(self._clock.now()), -LATE_SESSIONS
        )
        return found

    def _next_at(self, parent: ParentRecord, slices: list[SliceRecord]) -> datetime | None:
        to_do = _to_do(slices)
        if not to_do:
            return None
        one = to_do[0]
        if one.unfinished:
            return one.retry_at or one.due_at
        return min(self._expires(parent, one), max(self._not_before(parent, slices, one), one.retry_at or one.due_at))

    def _advance(self, parent_id: str) -> list[SliceNews]:
        """Go on with a parent, read under the lane: expire what is too late, then go on with one slice."""
        expired: list[SliceNews] = []
        while True:
            parent, slices, now = self._slices.get(parent_id), self._slices.of_parent(parent_id), self._clock.now()
            to_do = _to_do(slices)
            at = None if parent is None else self._next_at(parent, slices)
            if parent is None or at is None or at > now:
                return expired
            one = to_do[0]
            if one.unfinished:
                self._go_on(parent, one)
            elif now >= self._expires(parent, one):
                self._slices.expire(one, self._too_late(parent, one), at=now)
                expired.append(self._news(parent, one))
                continue
            else:
                self._decide(parent, slices, one)
            return [*expired, self._news(parent, one)]

    def _decide(self, parent: ParentRecord, slices: list[SliceRecord], one: SliceRecord) -> None:
        """Make an order of a slice, or carry its shares on."""
        now = self._clock.now()
        try:
            price = self._prices.prices([parent.symbol], now).get(parent.symbol)
        except PipelineError as failure:
            self._wait(one, f"no price: {failure.message}")
            return
        if price is None or isinstance(price, PriceUnavailable):
            self._wait(one, f"no price: {price.message if price is not None else 'the source gave none'}")
            return
        volume = self._traded(parent, slices, one)
        wanted = one.qty + carried_shares((earlier.qty, earlier.ordered) for earlier in slices if _passed_on(earlier))
        qty = slice_shares(
            wanted,
            volume=volume.shares,
            max_volume_bps=parent.max_volume_bps,
            max_adv_shares=parent.adv_shares * parent.max_adv_bps // 10_000,
            max_slice_shares=parent.max_slice_shares,
            min_slice_shares=parent.min_slice_shares,
        )
        if not qty:
            traded = "an unknown number of" if volume.shares is None else f"{volume.shares:,}"
            why = f"{traded} shares were traded since the slice before: {wanted:,} shares go on to later slices"
            self._slices.carry(one, why, volume=volume, at=now)
            return
        new = NewOrder(intent=self._intent(parent, one, qty, price), origin=self._origin(parent, one))
        try:
            order = self._slices.order(new, volume=volume, at=now)
        except OrderConflict as overtaken:
            log.warning("a slice was not ordered", parent_id=one.parent_id, number=one.number, why=overtaken.message)
            return
        self._submit(one, order)

    def _go_on(self, parent: ParentRecord, one: SliceRecord) -> None:
        """Go on with an order that a crash, a refusal or a lost answer left in between."""
        order = self._orders.get(one.client_order_id or "")
        if order is None:
            return
        too_late = bool(parent.canceled) or self._clock.now() >= self._expires(parent, one)
        if order.state is OrderState.SUBMITTED_UNCONFIRMED or order.cancel_requested_at is not None:
            self._look_up(one, order)
        elif not too_late:
            self._submit(one, order)
        elif order.state in UNSENT:
            self._withdraw(order, self._too_late(parent, one))
        else:
            asked = self._account.ledger.sending.request_cancel(order.client_order_id)
            self._look_up(one, asked or order)

    def _submit(self, one: SliceRecord, order: OrderRecord) -> None:
        try:
            outcome = self._submission.submit(NewOrder(intent=order.intent, origin=order.origin))
        except PipelineError as refused:
            self._wait(one, refused.message)
            return
        self._after(one, outcome)

    def _look_up(self, one: SliceRecord, order: OrderRecord) -> None:
        try:
            touched = self._submission.look_up_order(order)
        except PipelineError as unknown:
            self._wait(one, unknown.message)
            return
        if touched:
            self._after(one, touched[0])
        else:
            self._wait(one, "whether the broker has its order is not known yet")

    def _after(self, one: SliceRecord, outcome: Submission) -> None:
        verdict, order = outcome.verdict, outcome.order
        if order.state not in UNSENT and order.state is not OrderState.CLEARED:
            if one.sent_at is None and (order.state not in _NEVER_LEFT or order.broker_order_id is not None):
                self._slices.sent(one, at=self._clock.now())
            if order.state is OrderState.SUBMITTED_UNCONFIRMED:
                self._wait(one, order.reason)
        elif not outcome.refused or verdict is None:
            self._wait(one, "the broker took no order just now")
        elif verdict.code in PASSING:
            rate = verdict.retry_after_ms if verdict.code in RATES else None
            self._wait(one, verdict.describe(), RETRY if rate is None else timedelta(milliseconds=rate))
        elif order.state in UNSENT:
            self._withdraw(order, f"the guard refused: {verdict.describe()}")
        else:
            self._account.ledger.sending.request_cancel(order.client_order_id)
            self._wait(one, verdict.describe())

    def _withdraw(self, order: OrderRecord, reason: str) -> None:
        """End an order that was never sent. The guard may have cleared it for a process that died before it knew."""
        self._account.ledger.sending.withdraw(order.client_order_id, reason)
        pass_on(self._account)

    def _wait(self, one: SliceRecord, reason: str, wait: timedelta = RETRY) -> None:
        now = self._clock.now()
        self._slices.wait(one, reason, retry_at=now + wait, at=now)
        log.warning("a slice waits", parent_id=one.parent_id, number=one.number, reason=reason)

    def _traded(self, parent: ParentRecord, slices: list[SliceRecord], one: SliceRecord) -> Traded:
        if parent.max_volume_bps is None or self._volumes is None:
            return UNKNOWN_VOLUME
        opened = self._account.calendar.open_at(parent.trade_session)
        before = [earlier.volume_until or earlier.decided_at for earlier in slices if _passed_on(earlier)]
        since = max(before[-1] if before and before[-1] is not None else one.due_at - parent.interval, opened)
        return self._volumes.traded(parent.symbol, since, self._clock.now())

    def _expires(self, parent: ParentRecord, one: SliceRecord) -> datetime:
        cut = last_due(parent.trade_session, self._account.calendar)
        return expires_at(one.due_at, when_late=parent.when_late, grace=parent.grace, interval=parent.interval, cut=cut)

    def _not_before(self, parent: ParentRecord, slices: list[SliceRecord], one: SliceRecord) -> datetime:
        sent = [earlier.sent_at or earlier.decided_at for earlier in slices if earlier.client_order_id is not None]
        last = max((at for at in sent if at is not None), default=None)
        return not_before(one.due_at, first_due=slices[0].due_at, interval=parent.interval, last_sent=last)

    def _too_late(self, parent: ParentRecord, one: SliceRecord) -> str:
        if parent.canceled:
            return f"its parent was cancelled by {parent.canceled}"
        due, until = (
            at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") for at in (one.due_at, self._expires(parent, one))
        )
        why = one.waited_for or "nobody looked for it, or an earlier slice took its time"
        return f"due at {due} UTC and not sent by {until}: {why}"

    def _intent(self, parent: ParentRecord, one: SliceRecord, qty: int, price: ReferencePrice) -> OrderIntent:
        return OrderIntent(
            account=parent.account,
            strategy_id=parent.strategy_id,
            session=parent.session,
            trade_session=parent.trade_session,
            symbol=parent.symbol,
            side=parent.side,
            qty=qty,
            reference=price,
            purpose=Purpose.SLICE,
            repeat=one.number,
            parent_id=parent.parent_id,
        )

    def _origin(self, parent: ParentRecord, one: SliceRecord) -> dict[str, object]:
        return {
            "parent_id": parent.parent_id,
            "slice": one.number,
            "due_at": one.due_at.isoformat(),
            "run_id": self._provenance.run_id,
            "operator": parent.operator,
            "reason": parent.reason,
        }

    def _news(self, parent: ParentRecord, one: SliceRecord) -> SliceNews:
        now = self._slices.of_parent(parent.parent_id)[one.number - 1]
        late = None if now.sent_at is None else (now.sent_at - now.due_at).total_seconds()
        told = SliceNews(
            parent_id=one.parent_id,
            number=one.number,
            symbol=parent.symbol,
            state=now.state,
            ordered=now.ordered,
            reason=now.reason,
            late_seconds=late,
        )
        log.info("slice", parent_id=told.parent_id, number=told.number, state=told.state, late_seconds=late)
        return told


class SliceLoop:
    """Sends due slices until it is stopped: what the process `slices` runs."""

    def __init__(self, service: SliceService, now: Callable[[], datetime], *, look: timedelta = LOOK) -> None:
        self._service, self._now, self._look = service, now, look
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let `run` return once the slice in hand is dealt with."""
        self._stop.set()

    def run(self) -> None:
        """Send what is due, wait until the next is, and again. What cannot be done for now is tried again."""
        while not self._stop.is_set():
            pause = self._look
            try:
                self._service.send_due()
                due = self._service.next_at()
                if due is not None:
                    pause = min(pause, max(due - self._now(), _SHORTEST))
            except TransientError as away:
                log.warning("the next look sends what is due", reason=away.message)
            self._stop.wait(pause.total_seconds())


def _to_do(slices: list[SliceRecord]) -> list[SliceRecord]:
    """Return what is left of a parent: an order that is not finished comes before any slice behind it."""
    return [one for one in slices if one.unfinished] or [one for one in slices if one.undecided]


def _passed_on(one: SliceRecord) -> bool:
    """Tell whether what a slice did not order goes on to later ones: it was ordered, or carried whole."""
    return one.client_order_id is not None or one.state == "carried"
