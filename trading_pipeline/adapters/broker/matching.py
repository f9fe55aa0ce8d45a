"""How the simulated exchange fills one order against one session's bar.

Pure: no I/O and no chance but the order's id.
"""

import hashlib
from dataclasses import dataclass
from decimal import Decimal

from trading_pipeline.core.money import cents, round_price
from trading_pipeline.core.orders.model import OrderType, Side
from trading_pipeline.core.orders.states import OrderState

_BASIS_POINT = Decimal("0.0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeCosts:
    """Costs and frictions of the simulated exchange.

    Attributes:
        slippage_bps: how much worse than the open a market order fills, basis points.
        commission_per_share: dollars.
        minimum_commission: dollars an execution.
        participation: largest share of the session's volume one order may take; the rest of the order expires.
        partial_rate: share of orders (0 to 1) that fill by half only, drawn from the order's id.
        reject_rate: share of orders (0 to 1) that are rejected, drawn from the order's id.
        rejected_symbols: symbols the exchange does not trade.
    """

    slippage_bps: Decimal = Decimal(2)
    commission_per_share: Decimal = Decimal("0.005")
    minimum_commission: Decimal = Decimal(1)
    participation: Decimal = Decimal("0.01")
    partial_rate: Decimal = Decimal(0)
    reject_rate: Decimal = Decimal(0)
    rejected_symbols: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningBar:
    """What the exchange knows of a symbol's session: dollars a share and shares traded."""

    open: Decimal
    high: Decimal
    low: Decimal
    volume: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What became of an order: its final state, and the execution if there was one."""

    state: OrderState
    reason: str = ""
    qty: int = 0
    price: Decimal | None = None
    fee: Decimal = Decimal(0)


def reject_reason(client_order_id: str, symbol: str, order_type: OrderType, costs: ExchangeCosts) -> str | None:
    """Return why the exchange refuses an order on arrival, None when it takes it."""
    if symbol in costs.rejected_symbols:
        return f"{symbol} is not traded on this exchange"
    if order_type not in (OrderType.MARKET, OrderType.LIMIT):
        return f"{order_type} orders are not supported by this exchange"
    if _draw(client_order_id, "reject") < costs.reject_rate:
        return "rejected at random, as configured"
    return None


def match(
    *,
    client_order_id: str,
    side: Side,
    qty: int,
    limit_price: Decimal | None,
    bar: OpeningBar | None,
    costs: ExchangeCosts,
) -> Match:
    """Fill a day order at the open of its session.

    Market orders fill at the open plus slippage against them. Limit orders fill at the open when it is at or better
    than the limit, else at the limit when the session traded through it. What does not fill expires.
    """
    if bar is None:
        return Match(state=OrderState.EXPIRED, reason="no bar in the session: nothing traded")
    price = _price(side, limit_price, bar, costs)
    if price is None:
        return Match(state=OrderState.EXPIRED, reason=f"limit {limit_price} was not reached")
    available = int(bar.volume * costs.participation)
    wanted = (qty + 1) // 2 if _draw(client_order_id, "partial") < costs.partial_rate else qty
    filled = min(wanted, available)
    if filled == 0:
        return Match(state=OrderState.EXPIRED, reason="the session's volume was too thin")
    fee = max(cents(filled * costs.commission_per_share), costs.minimum_commission)
    if filled == qty:
        return Match(state=OrderState.FILLED, qty=filled, price=price, fee=fee)
    return Match(
        state=OrderState.EXPIRED, reason=f"{filled} of {qty} filled, the rest expired", qty=filled, price=price, fee=fee
    )


def _price(side: Side, limit_price: Decimal | None, bar: OpeningBar, costs: ExchangeCosts) -> Decimal | None:
    if limit_price is None:
        return round_price(bar.open * (1 + side.sign * costs.slippage_bps * _BASIS_POINT))
    better = bar.open <= limit_price if side is Side.BUY else bar.open >= limit_price
    if better:
        return round_price(bar.open)
    reached = bar.low <= limit_price if side is Side.BUY else bar.high >= limit_price
    return limit_price if reached else None


def _draw(client_order_id: str, salt: str) -> Decimal:
    digest = hashlib.sha256(f"{salt}|{client_order_id}".encode()).digest()
    return Decimal(int.from_bytes(digest[:6])) / Decimal(2**48)
