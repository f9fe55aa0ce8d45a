"""What the guard is told of fills and ends: many in one message, each a step of its own that fails for itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import cast

from trading_pipeline.adapters.guards.checks import quantity, whole, word
from trading_pipeline.adapters.guards.records import SIDES
from trading_pipeline.adapters.guards.scripts import Reply
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.errors import OrderConflict, ServerUnavailable, TradingHalted

_REMEDIES = {
    VerdictCode.BOOK_STALE: "is not the one the ledger knows: reconcile, and if it stays so run rebuild_risk_book",
    VerdictCode.BOOK_MISSING: "is missing: run initialize_risk_book or rebuild_risk_book",
}
_STEPS = {"ok": 1, "known": 0}
"""By how much what was done now, or had been done before, moved the sequence that comes with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One fill, as the guard is told of it.

    Attributes:
        client_order_id: the order, or the broker's name for an order that is not ours.
        execution_id: the broker's id of this fill.
        qty: shares, exact to a billionth.
        symbol: as in the order.
        side: as in the order.
        price_ticks: fill price in 1/10,000 dollar; the symbol is judged at it if the book has no price yet.
        trade_session: the session that counts the order; None for a fill that is of no order that was cleared.
        judged_ticks: what the order was judged at, 1/10,000 dollar a share: what a share counts for in its session.

    Raises:
        ValueError: an id or symbol that is not one word, or a number that is not positive and exact.
    """

    client_order_id: str
    execution_id: str
    qty: Decimal | int
    symbol: str
    side: Side
    price_ticks: int
    trade_session: date | None = None
    judged_ticks: int = 0

    def __post_init__(self) -> None:
        for name in ("client_order_id", "execution_id", "symbol"):
            word(name, getattr(self, name))
        whole("price_ticks", self.price_ticks, at_least=1)
        whole("judged_ticks", self.judged_ticks)
        if quantity("qty", self.qty) <= (0, 0):
            msg = f"qty must be more than nothing, not {self.qty}"
            raise ValueError(msg)

    def words(self) -> tuple[str | int, ...]:
        """Return it as `post.lua` takes it."""
        fill = (*quantity("qty", self.qty), self.price_ticks)
        counted = ("-" if self.trade_session is None else self.trade_session.isoformat(), self.judged_ticks)
        return self.client_order_id, self.execution_id, self.symbol, SIDES.index(self.side), *fill, *counted

    def conflict(self) -> OrderConflict:
        """Return the error of a fill that is not of its order's symbol and side."""
        return OrderConflict(
            f"execution {self.execution_id} is a {self.side} of {self.symbol}, its order {self.client_order_id} is not:"
            " ask the broker",
            client_order_id=self.client_order_id,
            execution_id=self.execution_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """One end of an order in a chain of replacements that goes on, as the guard is told of it.

    Attributes:
        client_order_id: the order that is over.
        holder: the id the chain holds its reservation by.
        remaining: shares that the live orders of the chain can still fill, exact to a billionth.

    Raises:
        ValueError: an id that is not one word, or shares that are negative or not exact.
    """

    client_order_id: str
    holder: str
    remaining: Decimal | int

    def __post_init__(self) -> None:
        word("client_order_id", self.client_order_id)
        word("holder", self.holder)
        if quantity("remaining", self.remaining) < (0, 0):
            msg = f"remaining must not be negative, not {self.remaining}"
            raise ValueError(msg)

    def words(self) -> tuple[str | int, ...]:
        """Return it as `lower.lua` takes it."""
        return self.holder, self.client_order_id, *quantity("remaining", self.remaining)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of fills or ends that the guard was told of.

    Attributes:
        sequence: the highest the book was seen at, for the ledger to remember.
        done: the ids of those the book holds now.
        conflicts: fills that are not of their order's symbol and side, by execution; the book is as it was before them.
        failure: what kept the others from being done; None when nothing did. They are to be told again.
    """

    sequence: int
    done: tuple[str, ...] = ()
    conflicts: Mapping[str, OrderConflict] = field(default_factory=dict)
    failure: ServerUnavailable | TradingHalted | None = None

    def require(self) -> int:
        """Return the sequence when all were done.

        Raises:
            OrderConflict: a fill is not of its order's symbol and side.
            TradingHalted: the book is missing, damaged, or not the one the ledger knows.
            ServerUnavailable: Redis refused to do it.
        """
        for error in (*self.conflicts.values(), self.failure):
            if error is not None:
                raise error
        return self.sequence


def told(account: str, replies: Mapping[str, Reply], min_sequence: int, postings: Sequence[Posting] = ()) -> Told:
    """Read the replies to several steps, by id and in their order.

    A book that is not the ledger's, or that became an older one between two steps, may have lost all it was told:
    nothing counts as done then.
    """
    by_id = {one.execution_id: one for one in postings}
    done: list[str] = []
    conflicts: dict[str, OrderConflict] = {}
    failure: ServerUnavailable | TradingHalted | None = None
    sequence = min_sequence
    for name, reply in replies.items():
        if isinstance(reply, (ServerUnavailable, TradingHalted)):
            failure = failure or reply
            continue
        code, *figures = cast("list[str | int]", reply)
        if code == "conflict":
            conflicts[name] = by_id[name].conflict()
            continue
        if code not in _STEPS:
            return Told(sequence=min_sequence, failure=halted(account, VerdictCode(str(code))))
        if int(figures[0]) - _STEPS[code] < sequence:
            return Told(sequence=min_sequence, failure=halted(account, VerdictCode.BOOK_STALE))
        sequence = int(figures[0])
        done.append(name)
    return Told(sequence=sequence, done=tuple(done), conflicts=conflicts, failure=failure)


def halted(account: str, code: VerdictCode) -> TradingHalted:
    """Return the error of a book that is missing or not the one the ledger knows."""
    return TradingHalted(f"the risk book of {account} {_REMEDIES[code]}", account=account, code=code.value)
