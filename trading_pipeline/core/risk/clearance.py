"""The guard's answer to one order: a verdict, and on a yes the clearance without which no broker accepts it."""

from dataclasses import InitVar, dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from trading_pipeline.core.money import from_ticks
from trading_pipeline.core.orders.model import OrderIntent, Purpose, Side


class VerdictCode(StrEnum):
    """What the guard decided; the order of its checks is that of `clear.lua`."""

    BOOK_MISSING = "book_missing"
    BOOK_STALE = "book_stale"
    CONFLICT = "conflict"
    KILL_SWITCH_ENGAGED = "kill_switch_engaged"
    BREAKER_TRIPPED = "breaker_tripped"
    QUIET_PERIOD = "quiet_period"
    SYMBOL_BLOCKED = "symbol_blocked"
    ENDED = "ended"
    OVERTAKEN = "overtaken"
    NOT_REDUCING = "not_reducing"
    ORDER_SHARES = "order_shares"
    ORDER_NOTIONAL = "order_notional"
    POSITION_SHARES = "position_shares"
    POSITION_NOTIONAL = "position_notional"
    GROSS_NOTIONAL = "gross_notional"
    ORDERS_PER_SESSION = "orders_per_session"
    GUARD_UNAVAILABLE = "guard_unavailable"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearanceRequest:
    """What the guard needs to judge one order. `reference_ticks` is 1/10,000 dollar a share.

    `epoch` and `min_sequence` are what the ledger has seen of the book: a book of another epoch, or one whose
    sequence is lower, has lost writes and is refused.
    """

    client_order_id: str
    payload_digest: str
    symbol: str
    side: Side
    qty: int
    reference_ticks: int
    trade_session: date
    flatten: bool
    epoch: int
    min_sequence: int

    @classmethod
    def of(cls, intent: OrderIntent, *, reference_ticks: int, epoch: int, min_sequence: int) -> "ClearanceRequest":
        """Build the request for an intent."""
        return cls(
            client_order_id=intent.client_order_id,
            payload_digest=intent.payload_digest,
            symbol=intent.symbol,
            side=intent.side,
            qty=intent.qty,
            reference_ticks=reference_ticks,
            trade_session=intent.trade_session,
            flatten=intent.purpose is Purpose.FLATTEN,
            epoch=epoch,
            min_sequence=min_sequence,
        )


SEAL = object()
"""What proves that a clearance was issued; `core.risk.issuing` alone uses it."""


@dataclass(frozen=True, slots=True)
class Clearance:
    """The guard's yes to one payload. Only the guard can make one: the broker's door opens to nothing else."""

    client_order_id: str
    payload_digest: str
    epoch: int
    sequence: int
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not SEAL:
            msg = "a Clearance is made by the risk guard only"
            raise TypeError(msg)

    def covers(self, intent: OrderIntent) -> bool:
        """Tell whether this clearance was given for exactly this order."""
        return (self.client_order_id, self.payload_digest) == (intent.client_order_id, intent.payload_digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The guard's decision.

    `observed` and `limit` are in the unit of the check, `sequence` that of the book after it.
    """

    code: VerdictCode
    epoch: int | None
    sequence: int | None
    observed: int | None = None
    limit: int | None = None
    detail: str = ""
    clearance: Clearance | None = None

    @property
    def cleared(self) -> bool:
        """True when the order may be sent."""
        return self.clearance is not None

    def describe(self) -> str:
        """Return the verdict as one phrase for people, figures in their units."""
        figures = ""
        if self.observed is not None and self.limit is not None:
            figures = f": {_figure(self.code, self.observed)} against a limit of {_figure(self.code, self.limit)}"
        return f"{self.code}{figures}" + (f" ({self.detail})" if self.detail else "")

    def as_fields(self) -> dict[str, Any]:
        """Return the verdict as plain values for ledger, log and UI."""
        return {
            "code": self.code.value,
            "observed": self.observed,
            "limit": self.limit,
            "epoch": self.epoch,
            "sequence": self.sequence,
            "detail": self.detail,
        }


_IN_TICKS = frozenset({VerdictCode.ORDER_NOTIONAL, VerdictCode.POSITION_NOTIONAL, VerdictCode.GROSS_NOTIONAL})
_IN_SHARES = frozenset({VerdictCode.ORDER_SHARES, VerdictCode.POSITION_SHARES})


def _figure(code: VerdictCode, value: int) -> str:
    if code in _IN_TICKS:
        return f"${from_ticks(value):,.2f}"
    return f"{value:,} shares" if code in _IN_SHARES else f"{value:,}"
