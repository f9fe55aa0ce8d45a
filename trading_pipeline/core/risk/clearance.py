"""The guard's answer to one order: a verdict, and on a yes the clearance without which no broker accepts it."""

from dataclasses import InitVar, dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any

from trading_pipeline.core.money import from_ticks, to_ticks
from trading_pipeline.core.orders.model import OrderIntent, OrderType, Purpose, Side


class VerdictCode(StrEnum):
    """What the guard decided, in the order of the checks of `clear.lua`; `docs/verdicts.md` explains each."""

    GUARD_UNAVAILABLE = "guard_unavailable"
    BOOK_MISSING = "book_missing"
    BOOK_STALE = "book_stale"
    CONFLICT = "conflict"
    ENDED = "ended"
    OVERTAKEN = "overtaken"
    NOT_REDUCING = "not_reducing"
    KILL_SWITCH_ENGAGED = "kill_switch_engaged"
    BREAKER_TRIPPED = "breaker_tripped"
    QUIET_PERIOD = "quiet_period"
    GATE_CLOSED = "gate_closed"
    LIMIT_BREACHED = "limit_breached"
    SYMBOL_BLOCKED = "symbol_blocked"
    SYMBOL_QUARANTINED = "symbol_quarantined"
    DUPLICATE_INTENT = "duplicate_intent"
    ORDERS_PER_SECOND = "orders_per_second"
    ORDERS_PER_MINUTE = "orders_per_minute"
    ORDER_SHARES = "order_shares"
    REFERENCE_MISSING = "reference_missing"
    ORDER_NOTIONAL = "order_notional"
    REFERENCE_STALE = "reference_stale"
    PRICE_COLLAR = "price_collar"
    ADV_MISSING = "adv_missing"
    ORDER_ADV = "order_adv"
    POSITION_SHARES = "position_shares"
    POSITION_NOTIONAL = "position_notional"
    EQUITY_MISSING = "equity_missing"
    POSITION_EQUITY = "position_equity"
    GROSS_NOTIONAL = "gross_notional"
    LONG_NOTIONAL = "long_notional"
    SHORT_NOTIONAL = "short_notional"
    NET_NOTIONAL = "net_notional"
    ORDERS_PER_SESSION = "orders_per_session"
    NOTIONAL_PER_SESSION = "notional_per_session"
    SELF_MATCH = "self_match"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketFacts:
    """What the caller knows of the market and the account as it asks. None is unknown, which is a no where it matters.

    Attributes:
        reference_ticks: price the order is judged at, 1/10,000 dollar a share.
        reference_age_seconds: its age in seconds in which the exchange was open.
        adv_shares: average daily volume of the last 20 sessions, whole shares.
        equity_ticks: what the account is worth, 1/10,000 dollar.
    """

    reference_ticks: int | None
    reference_age_seconds: int | None
    adv_shares: int | None = None
    equity_ticks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearanceRequest:
    """What the guard needs to judge one order.

    `limit_ticks` is the limit price in 1/10,000 dollar a share, None for an order that takes any price. `repeat` is
    the number of a wanted repeat of the same order, 0 for the first. `epoch` and `min_sequence` are what the ledger
    has seen of the book: a book of another epoch, or one whose sequence is lower, has lost writes and is refused.
    """

    client_order_id: str
    payload_digest: str
    strategy_id: str
    symbol: str
    side: Side
    qty: int
    limit_ticks: int | None
    repeat: int
    trade_session: date
    flatten: bool
    market: MarketFacts
    epoch: int
    min_sequence: int

    @classmethod
    def of(cls, intent: OrderIntent, *, market: MarketFacts, epoch: int, min_sequence: int) -> "ClearanceRequest":
        """Build the request for an intent.

        Raises:
            ValueError: a limit price that the book could not hold exactly.
        """
        if market.reference_ticks is not None and intent.stop_price is not None:
            worst = max(market.reference_ticks, _worst_stop_ticks(intent))
            market = replace(market, reference_ticks=worst)
        return cls(
            client_order_id=intent.client_order_id,
            payload_digest=intent.payload_digest,
            strategy_id=intent.strategy_id,
            symbol=intent.symbol,
            side=intent.side,
            qty=intent.qty,
            limit_ticks=limit_ticks(intent),
            repeat=intent.repeat,
            trade_session=intent.trade_session,
            flatten=intent.purpose is Purpose.FLATTEN,
            market=market,
            epoch=epoch,
            min_sequence=min_sequence,
        )


def limit_ticks(intent: OrderIntent) -> int | None:
    """Return the price beyond which an order never trades, 1/10,000 dollar; None where it takes any price.

    A stop limit counts as one that takes any price: its limit is near its stop, not near the market, so no collar
    around the market fits it. `core.orders.rules` holds it to its stop.
    """
    bounded = intent.order_type is OrderType.LIMIT and intent.limit_price is not None
    return to_ticks(intent.limit_price) if bounded and intent.limit_price is not None else None


def judged_ticks(intent: OrderIntent) -> int:
    """Return the price whose exposure an order holds: the worst of its reference, its limit and its stop."""
    prices = (intent.reference.price, intent.limit_price, intent.stop_price)
    return max(to_ticks(price) for price in prices if price is not None)


def _worst_stop_ticks(intent: OrderIntent) -> int:
    return max(to_ticks(price) for price in (intent.stop_price, intent.limit_price) if price is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacementRequest:
    """What the guard needs to judge an order that is to take the place of another one.

    Orders that replace one another are a chain, and it holds one reservation.

    Attributes:
        order: the new order, as any; its `qty` is the total of the chain, what is filled of it included.
        holder: the id the chain holds its reservation by: that of its first order.
        replaced_qty: the total of the order it replaces.
    """

    order: ClearanceRequest
    holder: str
    replaced_qty: int


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

    `observed` and `limit` are in the unit of the check, `sequence` that of the book after it. `judged_ticks` is, of a
    yes, the price at which the exposure is held, 1/10,000 dollar a share; None where only the book knows it.
    `retry_after_ms` is set where time alone changes the answer: after so many milliseconds it is worth asking again.
    """

    code: VerdictCode
    epoch: int | None
    sequence: int | None
    observed: int | None = None
    limit: int | None = None
    detail: str = ""
    clearance: Clearance | None = None
    judged_ticks: int | None = None
    retry_after_ms: int | None = None

    @property
    def cleared(self) -> bool:
        """True when the order may be sent."""
        return self.clearance is not None

    def describe(self) -> str:
        """Return the verdict as one phrase for people, figures in their units."""
        figures = ""
        if self.observed is not None and self.limit is not None:
            figures = f": {_figure(self.code, self.observed)} against a limit of {_figure(self.code, self.limit)}"
        wait = f"; ask again in {self.retry_after_ms / 1000:,.1f} s" if self.retry_after_ms is not None else ""
        return f"{self.code}{figures}" + (f" ({self.detail})" if self.detail else "") + wait

    def as_fields(self) -> dict[str, Any]:
        """Return the verdict as plain values for ledger, log and UI."""
        return {
            "code": self.code.value,
            "observed": self.observed,
            "limit": self.limit,
            "epoch": self.epoch,
            "sequence": self.sequence,
            "detail": self.detail,
            "retry_after_ms": self.retry_after_ms,
        }


_IN_TICKS = frozenset(
    {
        VerdictCode.ORDER_NOTIONAL,
        VerdictCode.PRICE_COLLAR,
        VerdictCode.POSITION_NOTIONAL,
        VerdictCode.POSITION_EQUITY,
        VerdictCode.GROSS_NOTIONAL,
        VerdictCode.LONG_NOTIONAL,
        VerdictCode.SHORT_NOTIONAL,
        VerdictCode.NET_NOTIONAL,
        VerdictCode.NOTIONAL_PER_SESSION,
    }
)
_UNITS = {
    VerdictCode.ORDER_SHARES: "shares",
    VerdictCode.ORDER_ADV: "shares",
    VerdictCode.POSITION_SHARES: "shares",
    VerdictCode.SELF_MATCH: "shares",
    VerdictCode.REFERENCE_STALE: "seconds",
    VerdictCode.DUPLICATE_INTENT: "ms",
    VerdictCode.QUIET_PERIOD: "ms",
}


def _figure(code: VerdictCode, value: int) -> str:
    if code in _IN_TICKS:
        return f"${from_ticks(value):,.2f}"
    return f"{value:,} {_UNITS.get(code, '')}".rstrip()
