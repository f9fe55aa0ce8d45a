"""The book made anew from ledger and broker: what they agree on is taken, what nobody can explain is kept from trading.

Nothing of the broker's is adopted silently: executions and ends of our own orders are booked as in any settlement, and
whatever then still differs closes the gate and puts its symbol into quarantine until a person has looked.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

import structlog
from psycopg.rows import DictRow

from trading_pipeline.adapters.broker.protocol import Execution
from trading_pipeline.adapters.guards.book import BookState, RecentIntent, SessionCount
from trading_pipeline.adapters.store.ledger import BookRecord, chains_of
from trading_pipeline.core.money import to_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.halts import LONGEST_REASON, Gate, OperatorAction
from trading_pipeline.core.risk.limits import LimitSet, RiskLimits
from trading_pipeline.errors import OperatorError, TradingHalted
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.broker_differences import broker_differences
from trading_pipeline.services.differences import Difference
from trading_pipeline.services.looking import Look, look
from trading_pipeline.services.reservations import notional_held, reservation_of, reservation_of_others
from trading_pipeline.services.settlement import (
    book_executions,
    book_late_shares,
    judge_losses,
    take_over_many,
    tell_guard,
)
from trading_pipeline.services.verification import read_views, unawaited

_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
"""The periods of the guard's token buckets."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What ledger and broker still differ in after the broker's news was brought home."""

    unexplained: tuple[Difference, ...]

    @property
    def gate(self) -> Gate:
        """Open only when they agree."""
        return Gate.CLOSED if self.unexplained else Gate.OPEN

    @property
    def reason(self) -> str:
        """Why the gate is as it is, each difference by its name."""
        if not self.unexplained:
            return "ledger and broker agree"
        return f"ledger and broker differ: {'; '.join(one.describe() for one in self.unexplained)}"[:LONGEST_REASON]

    @property
    def symbols(self) -> dict[str, str]:
        """The symbols that nobody can explain, each with its first difference."""
        return {one.symbol: one.describe() for one in reversed(self.unexplained) if one.symbol}


def initialise_book(account: TradingAccount, limits: RiskLimits, action: OperatorAction) -> BookRecord:
    """Create the first book of an account, while the caller holds its lane.

    Raises:
        OperatorError: the ledger or Redis has one; a rebuild replaces it.
        ServerUnavailable: a server did not answer; a rebuild finishes the work.
    """
    account.guard.check_server()
    books, name = account.ledger.books, account.account
    present = books.get(name)
    found = Reconciliation(unexplained=()) if present.epoch else _reconcile(account, action, "rebuild: ")
    record = books.begin_epoch(
        name,
        limits=limits,
        action=action,
        verb="initialize_risk_book",
        only_first=True,
        gate=found.gate,
        gate_reason=found.reason,
    )
    unposted = _unposted(account)
    sequence = account.guard.initialise(_book_state(account, record, unposted))
    books.saw_book(name, record.epoch, sequence)
    return record


def rebuild_book(account: TradingAccount, action: OperatorAction, *, cause: str = "rebuild: ") -> BookRecord:
    """Write the book anew in a new epoch, while the caller holds the lane; limits and halts are the ledger's.

    A crash at any point leaves a book of an older epoch, which clears nothing; another rebuild starts over, and if the
    book had lost nothing, the next reconciliation does. `cause` is how the reason of a quarantine begins that the
    rebuild starts: whoever ends it knows it by that.

    Raises:
        OperatorError: the account never had a book.
        ServerUnavailable: a server did not answer; without the broker nothing can be reconciled.
    """
    account.guard.check_server()
    books, name = account.ledger.books, account.account
    if not books.get(name).epoch:
        raise OperatorError(f"account {name} never had a risk book: run initialize-risk-book first", account=name)
    found = _reconcile(account, action, cause)
    judge_losses(account, must_judge=False)  # before the book is written: what trips by it is written as tripped
    return _write_anew(account, action, found.gate, found.reason)


def rewrite_book(account: TradingAccount, action: OperatorAction) -> BookRecord:
    """Write the book anew as `rebuild_book` does, for who has brought the broker's news home and compares afterwards.

    The broker is not asked. The gate stays as it is, as it does while anything else of a reconciliation is under way.
    """
    account.guard.check_server()
    present = account.ledger.books.get(account.account)
    return _write_anew(account, action, present.gate, present.gate_reason)


def catch_up(account: TradingAccount, action: OperatorAction) -> None:
    """Make anew a book that never heard of a change the ledger has, while the caller holds the lane.

    A process died between ledger and Redis, or Redis was away. Nothing is lost then: the book is still in the last
    epoch it was seen in, or a later one, and has all that the ledger saw of it. Any other book that is not the ledger's
    has lost something, and is left to an operator. For whom it is, see `rewrite_book`.
    """
    books, record = account.ledger.books, account.ledger.books.get(account.account)
    if record.confirmed_epoch == record.epoch:
        return
    try:
        book = account.guard.snapshot()
    except TradingHalted:
        return  # damaged: the comparison says so
    if book is None or book.sequence < record.high_sequence:
        return
    if book.epoch == record.epoch:
        books.saw_book(account.account, book.epoch, book.sequence)
    elif record.confirmed_epoch <= book.epoch < record.epoch:
        why = f"the book is in epoch {book.epoch}: it never heard of what made it {record.epoch}, and has lost nothing"
        log.warning("the book is made anew", reason=why)
        rewrite_book(account, OperatorAction(operator=action.operator, reason=why))


def _write_anew(account: TradingAccount, action: OperatorAction, gate: Gate, reason: str) -> BookRecord:
    books, name = account.ledger.books, account.account
    record = books.begin_epoch(
        name, action=action, verb="rebuild_risk_book", only_first=False, gate=gate, gate_reason=reason
    )
    unposted = _unposted(account)
    sequence = account.guard.rebuild(_book_state(account, record, unposted))
    account.ledger.fills.mark_posted(unposted)
    books.saw_book(name, record.epoch, sequence)
    tell_guard(account)
    return record


def _reconcile(account: TradingAccount, action: OperatorAction, beginning: str) -> Reconciliation:
    """Bring the broker's news home, then quarantine every symbol in which ledger and broker still differ."""
    bring_home(account)
    found = Reconciliation(unexplained=unawaited(account, broker_differences(*read_views(account))))
    in_quarantine = account.ledger.books.quarantined(account.account)
    for symbol, why in found.symbols.items():
        log.warning("ledger and broker differ: the symbol is kept from trading", symbol=symbol, difference=why)
        if symbol not in in_quarantine or in_quarantine[symbol] is not None:
            reason = f"{beginning}{why}"[:LONGEST_REASON]
            cause = OperatorAction(operator=action.operator, reason=reason)
            account.ledger.books.quarantine(account.account, symbol, None, cause)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What was brought home: the look it came from, and the executions that contradict what is booked."""

    seen: Look
    refused: tuple[Execution, ...]


def bring_home(account: TradingAccount) -> News:
    """Book executions and ends of our orders, those whose answer a crash lost among them, as the broker has them.

    An execution that contradicts what is booked is a difference, and keeps neither the others nor the book.
    """
    seen = look(account, account.broker.current_session)
    booked = book_executions(account, seen.unsettled)
    live = account.ledger.orders.live(account.account)
    reported = [(order, seen.found[order.client_order_id]) for order in live if order.client_order_id in seen.found]
    changed = [
        (order, now) for order, now in reported if (now.state, now.filled_qty) != (order.state, order.filled_qty)
    ]
    take_over_many(account, changed)
    book_late_shares(account, seen)
    return News(seen=seen, refused=tuple(booked.refused))


def _unposted(account: TradingAccount) -> list[str]:
    return [row["execution_id"] for row in account.ledger.fills.unposted(account.account)]


def _book_state(account: TradingAccount, record: BookRecord, unposted: Collection[str]) -> BookState:
    """Build the book from the ledger.

    Fills the old book was not told of are in the positions, so they count as seen.
    """
    ledger, name = account.ledger, account.account
    live = ledger.orders.live(name)
    positions = ledger.fills.positions(name)
    known = ledger.externals.prices(name) | ledger.orders.last_references(name)
    prices = ledger.restatements.restated_prices(name, known)
    others = [
        reservation_of_others(one, sequence=record.high_sequence, trade_session=_next_session(account))
        for one in ledger.externals.working(name).values()
    ]
    members = ledger.chains.members({one.chain for one in live if one.chain is not None})
    ours = [reservation_of(chain, record.high_sequence) for chain in chains_of(live, members) if chain.held > 0]
    sessions = ledger.cleared.by_session(name)
    lately = ledger.cleared.lately(name, max(_longest_window(record.limit_set), _MINUTE))
    return BookState(
        epoch=record.epoch,
        sequence=record.high_sequence,
        limits=record.limit_set.limits,
        changes=record.limit_set.changes,
        kill_switch=record.kill_switch,
        kill_switch_reason=record.kill_switch_reason,
        breaker=record.breaker,
        breaker_reason=record.breaker_reason,
        quiet_until=record.quiet_until,
        gate=record.gate,
        gate_reason=record.gate_reason,
        positions={symbol: position.qty for symbol, position in positions.items()},
        marks={symbol: to_ticks(price) for symbol, price in prices.items()},
        reservations=(*ours, *others),
        executions=frozenset(unposted),
        blocked=frozenset(ledger.books.blocked(name)),
        quarantined=ledger.books.quarantined(name),
        sessions={
            session: SessionCount(one.orders, to_ticks(one.filled) + notional_held(session, ours))
            for session, one in sessions.items()
        },
        intents=tuple(_recent_intent(row) for row in lately if row["asked_for"]),
        cleared_last_second=sum(row["age"] < _SECOND for row in lately),
        cleared_last_minute=sum(row["age"] < _MINUTE for row in lately),
    )


def _recent_intent(row: DictRow) -> RecentIntent:
    """Return an order that was cleared so lately that it counts for duplicates, with the age it is known to have.

    A clearance is recorded after it was given, and the book is written after this was read: both make it seem younger
    than it is, so nothing is let through too early.
    """
    return RecentIntent(
        client_order_id=row["client_order_id"],
        strategy_id=row["strategy_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        qty=row["qty"],
        trade_session=row["trade_session"],
        age_us=max(row["age"] // timedelta(microseconds=1), 0),
    )


def _longest_window(limits: LimitSet) -> timedelta:
    """Return the longest window for duplicates that may yet hold: a change may expire, and bring back a longer one."""
    later = [one.value for one in limits.changes if one.limit == "duplicate_window_seconds"]
    return timedelta(seconds=max(int(one or 0) for one in (limits.limits.duplicate_window_seconds, *later)))


def _next_session(account: TradingAccount) -> date:
    current = account.broker.current_session or account.calendar.latest_closed(account.clock.now())
    return account.calendar.next(current)
