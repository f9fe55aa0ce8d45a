"""Ledger, book and broker side by side: each difference by its name. Compares only; reads nothing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution
from trading_pipeline.adapters.guards.book import BookSnapshot, Reservation
from trading_pipeline.adapters.store.ledger import BookRecord, ExternalOrder, OrderRecord, chains_of
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.limits import LimitSet

_NONE = Decimal(0)
_AT_THE_BROKER = frozenset({OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED})


class DifferenceKind(StrEnum):
    """What differs. The runbook has an entry for each."""

    BOOK_MISSING = "book_missing"
    BOOK_UNREADABLE = "book_unreadable"
    EPOCH = "epoch"
    SEQUENCE = "sequence"
    KILL_SWITCH = "kill_switch"
    BREAKER = "breaker"
    GATE = "gate"
    LIMIT = "limit"
    BLOCKED_SYMBOL = "blocked_symbol"
    QUARANTINED_SYMBOL = "quarantined_symbol"
    COUNTER = "counter"
    POSITION = "position"
    PENDING = "pending"
    EXPOSURE = "exposure"
    RESERVATION_MISSING = "reservation_missing"
    RESERVATION_SURPLUS = "reservation_surplus"
    RESERVATION_DIFFERS = "reservation_differs"
    EXECUTION_DIFFERS = "execution_differs"
    EXECUTION_NOT_BOOKED = "execution_not_booked"
    EXECUTION_NOT_POSTED = "execution_not_posted"
    ORDER_NOT_RELEASED = "order_not_released"
    ORDER_STATE = "order_state"
    ORDER_UNKNOWN_TO_LEDGER = "order_unknown_to_ledger"
    ORDER_UNKNOWN_TO_BROKER = "order_unknown_to_broker"


_REBUILD = "rebuild-risk-book"
_SETTLE = "run the job `reports` for the broker's session: it settles"
_BROKER = "engage the kill switch, then compare with the broker's own record"
ADVICE: Mapping[DifferenceKind, str] = {
    DifferenceKind.BOOK_MISSING: f"{_REBUILD}, or initialize-risk-book for a new account",
    DifferenceKind.EPOCH: f"reconcile: it tells the book what it never heard; if it lost something, {_REBUILD}",
    DifferenceKind.ORDER_UNKNOWN_TO_LEDGER: "reconcile: it records what others do in the account",
    DifferenceKind.ORDER_UNKNOWN_TO_BROKER: _BROKER,
    DifferenceKind.EXECUTION_DIFFERS: _BROKER,
    DifferenceKind.ORDER_STATE: _SETTLE,
    DifferenceKind.EXECUTION_NOT_BOOKED: _SETTLE,
    DifferenceKind.EXECUTION_NOT_POSTED: _SETTLE,
    DifferenceKind.ORDER_NOT_RELEASED: _SETTLE,
    DifferenceKind.RESERVATION_SURPLUS: f"submit the session again, which finishes the order; else {_REBUILD}",
}

DIFFERENCE_COLUMNS = ("difference", "subject", "ledger", "book", "broker", "what_to_do")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing the three do not agree about: what, about which symbol, order or setting, and each one's word."""

    kind: DifferenceKind
    subject: str
    ledger: str = ""
    book: str = ""
    broker: str = ""
    symbol: str = ""

    @property
    def what_to_do(self) -> str:
        """The next step of an operator."""
        return ADVICE.get(self.kind, _REBUILD)

    def describe(self) -> str:
        """Return the difference as one line."""
        said = {"ledger": self.ledger, "book": self.book, "broker": self.broker}
        words = ", ".join(f"{who} {what}" for who, what in said.items() if what)
        return f"{self.kind} {self.subject}" + (f": {words}" if words else "")

    def as_row(self) -> dict[str, Any]:
        """Return the difference as a row for people."""
        return {
            "difference": self.kind.value,
            "subject": self.subject,
            "ledger": self.ledger,
            "book": self.book,
            "broker": self.broker,
            "what_to_do": self.what_to_do,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerView:
    """The ledger's word. Shares; `known` are orders that are open at the broker but not live here."""

    book: BookRecord
    positions: Mapping[str, Decimal]
    live: Sequence[OrderRecord]
    known: Mapping[str, OrderState] = field(default_factory=dict)
    unposted: Sequence[Mapping[str, Any]] = ()
    unreleased: Sequence[str] = ()
    unsettled: Mapping[str, str] = field(default_factory=dict)
    """Ended orders of chains of replacements, of which the book was not told, by the id that holds the reservation."""
    blocked: frozenset[str] = frozenset()
    quarantined: frozenset[str] = frozenset()
    cleared_by_session: Mapping[date, int] = field(default_factory=dict)
    inferred: Mapping[str, Decimal] = field(default_factory=dict)
    """Shares of orders that are booked from the broker's cumulative figures, without their executions."""
    external: Mapping[str, ExternalOrder] = field(default_factory=dict)
    """Working orders of others that are recorded, by the broker's id: reserved in the book, and no surprise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerView:
    """The broker's word.

    `ended` are live orders of the ledger that are not open there; None: never seen. `executions` are those of orders of
    ours that are not long over, `booked` what the ledger has of them by id: symbol, side, qty and price.
    """

    positions: Mapping[str, Decimal]
    working: Sequence[BrokerOrder]
    ended: Mapping[str, BrokerOrder | None] = field(default_factory=dict)
    executions: Sequence[Execution] = ()
    booked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def unbooked(self) -> list[Execution]:
        """The executions that the ledger does not have."""
        return [one for one in self.executions if one.fill.execution_id not in self.booked]


def book_differences(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    """Compare the ledger with the book."""
    yield from _state(ledger, book)
    yield from _limits(ledger, book)
    yield from _counters(ledger, book)
    yield from _reservations(ledger, book)
    for row in ledger.unposted:
        yield Difference(
            kind=DifferenceKind.EXECUTION_NOT_POSTED,
            subject=row["execution_id"],
            symbol=row["symbol"],
            ledger=f"{row['side']} {_plain(row['qty'])} {row['symbol']}",
            book="not told",
        )
    for order in (*ledger.unreleased, *ledger.unsettled.values()):
        yield Difference(kind=DifferenceKind.ORDER_NOT_RELEASED, subject=order, ledger="ended", book="not told")
    untold = _sums((row["symbol"], row["side"], row["qty"]) for row in ledger.unposted)
    for symbol, (held, in_book) in _apart(ledger.positions, book.positions):
        if held - untold.get(symbol, _NONE) != in_book:
            yield Difference(
                kind=DifferenceKind.POSITION, subject=symbol, symbol=symbol, ledger=_plain(held), book=_plain(in_book)
            )


def broker_differences(ledger: LedgerView, broker: BrokerView) -> Iterator[Difference]:
    """Compare the ledger with the broker."""
    yield from _executions(broker)
    for one in broker.unbooked:
        yield Difference(
            kind=DifferenceKind.EXECUTION_NOT_BOOKED,
            subject=one.fill.execution_id,
            symbol=one.fill.symbol,
            ledger="unknown",
            broker=f"{one.fill.side} {_plain(one.fill.qty)} {one.fill.symbol}",
        )
    unbooked = _sums(_to_come(ledger, broker))
    for symbol, (held, there) in _apart(ledger.positions, broker.positions):
        if held + unbooked.get(symbol, _NONE) != there:
            yield Difference(
                kind=DifferenceKind.POSITION, subject=symbol, symbol=symbol, ledger=_plain(held), broker=_plain(there)
            )
    yield from _orders(ledger, broker)


def _to_come(ledger: LedgerView, broker: BrokerView) -> Iterator[tuple[str, str, Decimal]]:
    """What booking the broker's executions would add: those of inferred shares take their place first."""
    inferred = dict(ledger.inferred)
    for one in broker.unbooked:
        known = min(inferred.get(one.client_order_id, _NONE), one.fill.qty)
        inferred[one.client_order_id] = inferred.get(one.client_order_id, _NONE) - known
        yield one.fill.symbol, one.fill.side, one.fill.qty - known


def _executions(broker: BrokerView) -> Iterator[Difference]:
    """One execution, two contents: the broker has corrected its record, or we booked another one."""
    for one in broker.executions:
        fill, row = one.fill, broker.booked.get(one.fill.execution_id)
        if row is None:
            continue
        said = [
            f"{side} {_plain(qty)} {symbol} at {price:f}"
            for side, qty, symbol, price in (
                (row["side"], row["qty"], row["symbol"], row["price"].normalize()),
                (fill.side, fill.qty, fill.symbol, fill.price.normalize()),
            )
        ]
        if said[0] != said[1]:
            yield Difference(
                kind=DifferenceKind.EXECUTION_DIFFERS,
                subject=fill.execution_id,
                symbol=fill.symbol,
                ledger=said[0],
                broker=said[1],
            )


def _state(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    record = ledger.book
    if book.epoch != record.epoch:
        yield Difference(kind=DifferenceKind.EPOCH, subject="book", ledger=str(record.epoch), book=str(book.epoch))
    if book.sequence < record.high_sequence:
        yield Difference(
            kind=DifferenceKind.SEQUENCE,
            subject="book",
            ledger=f"has seen {record.high_sequence}",
            book=str(book.sequence),
        )
    if book.kill_switch is not record.kill_switch:
        yield Difference(
            kind=DifferenceKind.KILL_SWITCH, subject="kill switch", ledger=record.kill_switch, book=book.kill_switch
        )
    if book.breaker is not record.breaker:
        yield Difference(kind=DifferenceKind.BREAKER, subject="breaker", ledger=record.breaker, book=book.breaker)
    if book.gate is not record.gate:
        yield Difference(kind=DifferenceKind.GATE, subject="gate", ledger=record.gate, book=book.gate)
    # A quarantine ends by the clock: one whose end has come is over, whether or not it is still written down.
    now = record.read_at
    shut = frozenset(name for name, until in book.quarantined.items() if until is None or until > now)
    yield from _listed(DifferenceKind.BLOCKED_SYMBOL, "blocked", ledger.blocked, book.blocked)
    yield from _listed(DifferenceKind.QUARANTINED_SYMBOL, "in quarantine", ledger.quarantined, shut)


def _listed(kind: DifferenceKind, word: str, ledger: frozenset[str], book: frozenset[str]) -> Iterator[Difference]:
    for symbol in sorted(ledger ^ book):
        said = [word if symbol in listed else "free" for listed in (ledger, book)]
        yield Difference(kind=kind, subject=symbol, symbol=symbol, ledger=said[0], book=said[1])


def _limits(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    record, wanted = ledger.book, ledger.book.limits
    there = replace(book.limits, monitor=wanted.monitor).as_text()
    for name, value in wanted.as_text().items():
        if _number(value) != _number(there[name]):
            yield Difference(kind=DifferenceKind.LIMIT, subject=name, ledger=value, book=there[name])
    own = [_own_limits(limits.in_force(record.read_at)) for limits in (record.limit_set, book.limit_set)]
    for subject in sorted(own[0].keys() | own[1].keys()):
        if own[0].get(subject) != own[1].get(subject):
            symbol, said = subject[1], [side.get(subject) for side in own]
            yield Difference(
                kind=DifferenceKind.LIMIT,
                subject=f"{subject[0]} of {symbol}",
                symbol=symbol,
                ledger=str(said[0] if said[0] is not None else "none"),
                book=str(said[1] if said[1] is not None else "none"),
            )


def _own_limits(limits: LimitSet) -> dict[tuple[str, str], Decimal]:
    """Return the limits that symbols have of their own as they bind: the newest change of each wins."""
    return {
        (one.limit, one.symbol): Decimal(one.value)
        for one in limits.changes
        if one.symbol is not None and one.value is not None
    }


def _counters(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    for session, cleared in ledger.cleared_by_session.items():
        counted = book.sessions[session].orders if session in book.sessions else 0
        if counted != cleared:
            yield Difference(
                kind=DifferenceKind.COUNTER, subject=f"orders of {session}", ledger=str(cleared), book=str(counted)
            )


def _reservations(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    untold: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in ledger.unposted:
        untold[row["holder"]] += row["qty"]
    live = {chain.holder: chain for chain in chains_of(ledger.live)}
    # Until the guard was told of an end in a chain, it may hold what it held for the larger of two orders.
    for order_id, chain in ((one, chain) for one, chain in live.items() if one not in ledger.unsettled):
        order, held = chain.newest, book.reservations.get(order_id)
        remaining = chain.held + untold[order_id]
        wanted = f"{order.intent.side} {_plain(remaining)} {order.intent.symbol}"
        if held is None:
            if remaining > 0:
                yield _reservation(DifferenceKind.RESERVATION_MISSING, order_id, order.intent.symbol, wanted, "none")
        elif _held(held) != (order.intent.symbol, order.intent.side, remaining):
            yield _reservation(
                DifferenceKind.RESERVATION_DIFFERS, order_id, order.intent.symbol, wanted, _holding(held)
            )
    yield from _reserved_for_others(ledger, book)
    untold_ends = {*ledger.unreleased, *ledger.unsettled, *untold, *ledger.external}
    for order_id, held in book.reservations.items():
        if order_id not in live and order_id not in untold_ends:
            yield _reservation(
                DifferenceKind.RESERVATION_SURPLUS, order_id, held.symbol, "not cleared, or over", _holding(held)
            )


def _reserved_for_others(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    for order_id, other in ledger.external.items():
        held = book.reservations.get(order_id)
        if held is None or _held(held) != (other.symbol, other.side, other.remaining):
            wanted, there = f"{other.side} {_plain(other.remaining)} {other.symbol}", _holding(held) if held else "none"
            kind = DifferenceKind.RESERVATION_DIFFERS if held else DifferenceKind.RESERVATION_MISSING
            yield _reservation(kind, order_id, other.symbol, wanted, there)


def _orders(ledger: LedgerView, broker: BrokerView) -> Iterator[Difference]:
    live = {order.client_order_id: order for order in ledger.live}
    for working in broker.working:
        order = live.get(working.client_order_id)
        there = f"{working.side} {_plain(working.qty)} {working.symbol} open"
        state = order.state if order is not None else ledger.known.get(working.client_order_id)
        subject = working.client_order_id or working.broker_order_id
        if state is None and working.broker_order_id not in ledger.external:
            yield _order(DifferenceKind.ORDER_UNKNOWN_TO_LEDGER, subject, working.symbol, "unknown", there)
        elif state is not None and state not in _AT_THE_BROKER:
            yield _order(DifferenceKind.ORDER_STATE, subject, working.symbol, state, there)
    for order_id, reported in broker.ended.items():
        order = live[order_id]
        if reported is not None and reported.state.terminal:
            yield _order(DifferenceKind.ORDER_STATE, order_id, order.intent.symbol, order.state, f"{reported.state}")
        elif reported is None and order.state in _AT_THE_BROKER:
            yield _order(
                DifferenceKind.ORDER_UNKNOWN_TO_BROKER, order_id, order.intent.symbol, order.state, "never seen"
            )


def _reservation(kind: DifferenceKind, order_id: str, symbol: str, ledger: str, book: str) -> Difference:
    return Difference(kind=kind, subject=order_id, symbol=symbol, ledger=ledger, book=book)


def _order(kind: DifferenceKind, order_id: str, symbol: str, ledger: str, broker: str) -> Difference:
    return Difference(kind=kind, subject=order_id, symbol=symbol, ledger=ledger, broker=broker)


def _held(held: Reservation) -> tuple[str, Side, Decimal]:
    return held.symbol, held.side, Decimal(held.remaining)


def _holding(held: Reservation) -> str:
    return f"{held.side} {_plain(Decimal(held.remaining))} {held.symbol}"


def _sums(moves: Iterable[tuple[str, str, Decimal]]) -> dict[str, Decimal]:
    total: defaultdict[str, Decimal] = defaultdict(Decimal)
    for symbol, side, qty in moves:
        total[symbol] += qty * Side(side).sign
    return total


def _apart(
    ledger: Mapping[str, Decimal], other: Mapping[str, Decimal | int]
) -> Iterator[tuple[str, tuple[Decimal, Decimal]]]:
    for symbol in sorted({*ledger, *other}):
        yield symbol, (ledger.get(symbol, _NONE), Decimal(other.get(symbol, 0)))


def _plain(qty: Decimal) -> str:
    return f"{qty.normalize():f}"


def _number(text: str) -> Decimal | str:
    return Decimal(text) if text.replace(".", "", 1).isdigit() else text
