"""Compares ledger, book and broker at any time, also while orders are in flight, and names each difference."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog

from trading_pipeline.adapters.broker.protocol import Execution
from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.restating import explains
from trading_pipeline.errors import PipelineError, ServerUnavailable, TradingHalted
from trading_pipeline.services.account import LATE_SESSIONS, TradingAccount
from trading_pipeline.services.book_differences import book_differences
from trading_pipeline.services.broker_differences import broker_differences
from trading_pipeline.services.contradictions import contradictions
from trading_pipeline.services.differences import BrokerView, Difference, DifferenceKind, LedgerView
from trading_pipeline.services.looking import Look

PATIENCE_SECONDS = 5
"""How long a comparison that found differences waits for whoever works on the account to finish."""

_ANOTHER_BOOK = frozenset(
    {DifferenceKind.BOOK_MISSING, DifferenceKind.BOOK_UNREADABLE, DifferenceKind.EPOCH, DifferenceKind.SEQUENCE}
)
"""Differences with which the book is not the one that the ledger told of fills and ends."""

_NEWS = frozenset(
    {
        DifferenceKind.EXECUTION_NOT_BOOKED,
        DifferenceKind.ORDER_STATE,
        DifferenceKind.EXECUTION_NOT_POSTED,
        DifferenceKind.ORDER_NOT_RELEASED,
    }
)
"""Differences that the next settlement ends: the broker, or the ledger, is ahead of whoever was not told yet."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was compared and what did not agree.

    Attributes:
        differences: all of them.
        awaited: those of them that a corporate action explains which the broker has not booked: see `unawaited`.
        quiet: nobody was working on the account meanwhile.
        settled: the broker's news was brought home between the two looks that found them.
        why_unsettled: why it was not, where it was tried.
    """

    account: str
    differences: tuple[Difference, ...]
    awaited: tuple[Difference, ...] = ()
    quiet: bool = True
    settled: bool = False
    why_unsettled: str = ""

    @property
    def agrees(self) -> bool:
        """True when all three say the same."""
        return not self.differences

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """The differences that nothing explains."""
        return tuple(one for one in self.differences if one not in self.awaited)

    @property
    def mismatches(self) -> tuple[Difference, ...]:
        """Those that nothing explains and that are no news: a fill of this moment is none before it could be booked."""
        return tuple(one for one in self.unexplained if self.settled or one.kind not in _NEWS)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a difference."""
        return [one.as_row() for one in self.differences]


def verify_book(
    account: TradingAccount,
    *,
    patience_seconds: int = PATIENCE_SECONDS,
    settle: Callable[[], object] | None = None,
) -> Verification:
    """Compare ledger, book and broker; report only what two comparisons in a row find alike.

    An order between two of its steps looks like a difference for a moment. So when the first look finds any, the
    second takes the account's lane, in which no order is under way. Where the lane stays busy the second look is taken
    all the same, and what it shares with the first is reported. `settle` brings the broker's news home before the
    second look, in the lane: what both looks share then is none that merely was not booked yet. When that
    fails they are compared all the same.

    Raises:
        ServerUnavailable: PostgreSQL, Redis or the broker did not answer.
    """
    first = compare(account)
    if not first:
        return Verification(account=account.account, differences=())
    second, quiet, why_unsettled = _compare_quietly(account, patience_seconds, settle)
    found = tuple(one for one in second if one in first)
    for one in found:
        log.warning("ledger, book and broker disagree", difference=one.describe())
    unexplained = unawaited(account, found)
    awaited = tuple(one for one in found if one not in unexplained)
    return Verification(
        account=account.account,
        differences=found,
        awaited=awaited,
        quiet=quiet,
        settled=quiet and settle is not None and not why_unsettled,
        why_unsettled=why_unsettled,
    )


def compare(account: TradingAccount) -> list[Difference]:
    """Compare once, as things stand, every execution of ours too: what is under way shows as a difference."""
    ledger, broker = read_views(account)
    with_book = compare_book(account, ledger)
    if not any(one.kind in _ANOTHER_BOOK for one in with_book):
        named = {one.subject for one in with_book}  # an end that the book holds still was not told, and is named so
        with_book += [one for one in forgotten(account) if one.subject not in named]
    return [*with_book, *broker_differences(ledger, broker)]


def forgotten(account: TradingAccount) -> list[Difference]:
    """Name what the guard was told, in the book of now, and does not know: told again it would count a second time.

    Only of the last sessions, and only what happened since the book was last written anew: a rebuild leaves the ids of
    before it out, which the ledger keeps from being told or cleared again. Its cost grows with the orders of a session.
    """
    current = account.broker.current_session
    if current is None:
        return []
    name, since = account.account, account.calendar.previous(current)
    executions, orders = account.guard.forgotten(
        executions=account.ledger.cleared.told_executions(name, since),
        orders=account.ledger.cleared.told_ends(name, since),
    )
    return [
        *(
            Difference(kind=DifferenceKind.EXECUTION_FORGOTTEN, subject=one, ledger="told", book="unknown")
            for one in executions
        ),
        *(
            Difference(kind=DifferenceKind.ORDER_FORGOTTEN, subject=one, ledger="over", book="unknown")
            for one in orders
        ),
    ]


def compare_since(account: TradingAccount, seen: Look, refused: Sequence[Execution]) -> list[Difference]:
    """Compare after the broker's news of a look was brought home, and ask only for what may be other than it was.

    Working orders and shares are read anew. An execution since the look shows in the shares; until then its figures
    were those of the ledger, so of the executions only those are compared that could not be booked. An order that the
    look found absent is not asked for again, which errs to a closed gate; one that was touched since is.
    """
    working = account.broker.open_orders()
    there = {one.client_order_id for one in working}
    ledger = read_ledger(account, there)
    absent = [order for order in ledger.live if order.client_order_id not in there]
    asked = [order.client_order_id for order in absent if not seen.knew_absent(order)]
    found = account.broker.find_many(asked) if asked else {}
    broker = BrokerView(
        positions=account.broker.positions(),
        working=working,
        ended={order.client_order_id: found.get(order.client_order_id) for order in absent},
        executions=refused,
        booked=account.ledger.fills.booked([one.executed for one in refused]),
    )
    return [*compare_book(account, ledger), *broker_differences(ledger, broker)]


def read_views(account: TradingAccount) -> tuple[LedgerView, BrokerView]:
    """Read what ledger and broker say of the account now."""
    ledger, broker = account.ledger, account.broker
    working = broker.open_orders()
    there = {one.client_order_id for one in working}
    ledger_view = read_ledger(account, there)
    absent = [order.client_order_id for order in ledger_view.live if order.client_order_id not in there]
    ids = _ids(account, ledger_view.live)
    found = broker.find_many([one for one in ids if one not in there])
    executions = broker.executions([one for one in ids if one in there or one in found])
    booked = ledger.fills.booked([one.executed for one in executions])
    broker_view = BrokerView(
        positions=broker.positions(),
        working=working,
        ended={order_id: found.get(order_id) for order_id in absent},
        executions=executions,
        booked=booked,
    )
    return ledger_view, broker_view


def apart_from_broker(account: TradingAccount) -> dict[str, tuple[Decimal, Decimal]]:
    """Return signed shares of ledger and broker where they differ and no execution on its way explains it."""
    ledger, broker = read_views(account)
    apart = {one.symbol for one in broker_differences(ledger, broker) if one.kind is DifferenceKind.POSITION}
    zero = Decimal(0)
    return {one: (ledger.positions.get(one, zero), broker.positions.get(one, zero)) for one in sorted(apart)}


def unawaited(account: TradingAccount, found: Iterable[Difference]) -> tuple[Difference, ...]:
    """Leave out shares that the broker has not restated as a recorded action did: their symbol is locked until it has.

    Only the shares of before the action are left out, or the whole ones where it left a fraction. Other numbers nothing
    explains, though the action is known.
    """
    found = tuple(found)
    there = {one.symbol: Decimal(one.broker) for one in found if _of_brokers_shares(one)}
    restatements, name = account.ledger.restatements, account.account
    apart = there.keys() & restatements.awaiting(name).keys() if there else set()
    if not apart:
        return found
    positions = account.ledger.fills.positions(name)
    explained: set[str] = set()
    for symbol in apart:
        before = restatements.before_awaited(name, symbol)
        after = {one: positions[one].qty if one in positions else Decimal(0) for state in before for one in state}
        if explains(after, {one: there.get(one, shares) for one, shares in after.items()}, before):
            explained.add(symbol)
    return tuple(one for one in found if one.symbol not in explained or not _of_brokers_shares(one))


def _of_brokers_shares(one: Difference) -> bool:
    return one.kind is DifferenceKind.POSITION and one.broker != ""


def read_ledger(account: TradingAccount, working: Collection[str] = ()) -> LedgerView:
    """Read what the ledger says of the account now, and of orders that are open at the broker, given by their ids."""
    name, ledger = account.account, account.ledger
    live = ledger.orders.live(name)
    others = set(working) - {one.client_order_id for one in live}
    return LedgerView(
        book=ledger.books.get(name),
        positions={symbol: one.qty for symbol, one in ledger.fills.positions(name).items()},
        live=live,
        known={order_id: one.state for order_id, one in ledger.orders.get_many(others).items()},
        unposted=ledger.fills.unposted(name),
        unreleased=ledger.orders.unreleased(name),
        unsettled={one.holder: one.client_order_id for one in ledger.chains.unsettled(name)},
        blocked=frozenset(ledger.books.blocked(name)),
        quarantined=ledger.books.quarantined(name),
        cleared_by_session=ledger.cleared.by_session(name),
        members=ledger.chains.members({one.chain for one in live if one.chain is not None}),
        inferred=ledger.fills.inferred(name),
        external=ledger.externals.working(name),
    )


def _compare_quietly(
    account: TradingAccount, seconds: int, settle: Callable[[], object] | None
) -> tuple[list[Difference], bool, str]:
    try:
        with account.ledger.lane(account.account, seconds=seconds):
            why_unsettled = "" if settle is None else _failure_of(settle)
            return compare(account), True, why_unsettled
    except ServerUnavailable as busy:
        log.info("the account could not be had alone: compared all the same", reason=busy.message)
        return compare(account), False, ""


def _failure_of(settle: Callable[[], object]) -> str:
    """Bring the broker's news home and return why it could not be; what is known is compared all the same."""
    try:
        settle()
    except PipelineError as failure:
        log.warning("the broker's news could not be brought home", reason=failure.message)
        return failure.message
    return ""


def compare_book(account: TradingAccount, ledger: LedgerView) -> list[Difference]:
    """Compare the ledger with the book as it is now; one that is missing or unreadable is a difference."""
    if not ledger.book.epoch:
        return [Difference(kind=DifferenceKind.BOOK_MISSING, subject="book", ledger="never initialised")]
    try:
        snapshot = account.guard.snapshot()
    except TradingHalted as damage:
        return [Difference(kind=DifferenceKind.BOOK_UNREADABLE, subject="book", book=damage.message)]
    if snapshot is None:
        epoch = f"epoch {ledger.book.epoch}"
        return [Difference(kind=DifferenceKind.BOOK_MISSING, subject="book", ledger=epoch, book="none")]
    return [*book_differences(ledger, snapshot), *contradictions(snapshot)]


def _ids(account: TradingAccount, live: Sequence[OrderRecord]) -> list[str]:
    """Return the orders that executions may still come of: those live, and those that ended lately."""
    working = [order.client_order_id for order in live]
    current = account.broker.current_session
    if current is None:
        return working
    since = account.calendar.shift(current, -LATE_SESSIONS)
    return [*working, *account.ledger.orders.recently_ended(account.account, since)]
