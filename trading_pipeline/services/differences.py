"""What ledger, book and broker can differ in, by name, and what of them is compared. Compares and reads nothing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution
from trading_pipeline.adapters.store.ledger import BookRecord, ClearedSession, ExternalOrder, OrderRecord
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState

_NONE = Decimal(0)


class DifferenceKind(StrEnum):
    """What differs. The runbook has an entry for each."""

    BOOK_MISSING = "book_missing"
    BOOK_UNREADABLE = "book_unreadable"
    EPOCH = "epoch"
    SEQUENCE = "sequence"
    KILL_SWITCH = "kill_switch"
    BREAKER = "breaker"
    GATE = "gate"
    HALT_REASON = "halt_reason"
    QUIET_PERIOD = "quiet_period"
    LIMIT = "limit"
    LIMIT_END = "limit_end"
    BLOCKED_SYMBOL = "blocked_symbol"
    QUARANTINED_SYMBOL = "quarantined_symbol"
    QUARANTINE_END = "quarantine_end"
    COUNTER = "counter"
    SESSION_NOTIONAL = "session_notional"
    POSITION = "position"
    PENDING = "pending"
    EXPOSURE = "exposure"
    RESERVATION_MISSING = "reservation_missing"
    RESERVATION_SURPLUS = "reservation_surplus"
    RESERVATION_DIFFERS = "reservation_differs"
    RESERVATION_TERMS = "reservation_terms"
    EXECUTION_DIFFERS = "execution_differs"
    EXECUTION_NOT_BOOKED = "execution_not_booked"
    EXECUTION_NOT_POSTED = "execution_not_posted"
    EXECUTION_FORGOTTEN = "execution_forgotten"
    ORDER_FORGOTTEN = "order_forgotten"
    ORDER_NOT_RELEASED = "order_not_released"
    ORDER_STATE = "order_state"
    ORDER_UNKNOWN_TO_LEDGER = "order_unknown_to_ledger"
    ORDER_UNKNOWN_TO_BROKER = "order_unknown_to_broker"


_REBUILD = "rebuild-risk-book"
_SETTLE = "run the job `reports` for the broker's session: it settles"
_BROKER = "engage the kill switch, then compare with the broker's own record"
_SHARES_AT_THE_BROKER = "compare with the broker's statement; reconcile books what no execution explains as others'"
_ADVICE: Mapping[DifferenceKind, str] = {
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
        if self.kind is DifferenceKind.POSITION and self.broker:
            return _SHARES_AT_THE_BROKER
        return _ADVICE.get(self.kind, _REBUILD)

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
    quarantined: Mapping[str, datetime | None] = field(default_factory=dict)
    cleared_by_session: Mapping[date, ClearedSession] = field(default_factory=dict)
    members: Mapping[str, Sequence[OrderRecord]] = field(default_factory=dict)
    """All orders of the chains of replacements that have a live one, by the id that holds the reservation."""
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


def signed_sums(moves: Iterable[tuple[str, str, Decimal]]) -> dict[str, Decimal]:
    """Add up shares by symbol, of moves that are symbol, side and shares; sells count below zero."""
    total: defaultdict[str, Decimal] = defaultdict(Decimal)
    for symbol, side, qty in moves:
        total[symbol] += qty * Side(side).sign
    return total


def apart(
    ledger: Mapping[str, Decimal], other: Mapping[str, Decimal | int]
) -> Iterator[tuple[str, tuple[Decimal, Decimal]]]:
    """Give each symbol of either with the shares that both have of it."""
    for symbol in sorted({*ledger, *other}):
        yield symbol, (ledger.get(symbol, _NONE), Decimal(other.get(symbol, 0)))


def plain(qty: Decimal) -> str:
    """Return a number as people write it: without an exponent and without zeros at its end."""
    return f"{qty.normalize():f}"
