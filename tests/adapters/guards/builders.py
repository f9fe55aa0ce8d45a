"""Short ways to say what a test asks of the guard."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

from trading_pipeline.adapters.guards.book import BookState, Reservation
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ClearanceRequest
from trading_pipeline.core.risk.halts import Breaker, KillSwitch, OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits

ACCOUNT = "paper-1"
SESSION = date(2024, 10, 17)
PRICE = 1_500_000
"""150 dollars, in 1/10,000 dollar."""

LIMITS = RiskLimits(
    max_position_shares=1_000,
    max_position_notional=Decimal(200_000),
    max_gross_notional=Decimal(400_000),
    max_order_shares=2_000,
    max_order_notional=Decimal(350_000),
    max_orders_per_session=100,
)
ACTION = OperatorAction(operator="ada", reason="a drill, announced on the desk")


def ask(
    order: str = "order-1",
    side: Side = Side.BUY,
    qty: int = 100,
    symbol: str = "AAPL",
    *,
    price: int = PRICE,
    flatten: bool = False,
    session: date = SESSION,
    epoch: int = 1,
    min_sequence: int = 0,
) -> ClearanceRequest:
    """Build a request whose digest follows from its payload."""
    return ClearanceRequest(
        client_order_id=order,
        payload_digest=f"{symbol}|{side}|{qty}|{session}|{flatten}",
        symbol=symbol,
        side=side,
        qty=qty,
        reference_ticks=price,
        trade_session=session,
        flatten=flatten,
        epoch=epoch,
        min_sequence=min_sequence,
    )


def hold(request: ClearanceRequest, *, remaining: int | None = None, sequence: int = 1) -> Reservation:
    """Build the reservation that a request would hold."""
    return Reservation(
        client_order_id=request.client_order_id,
        payload_digest=request.payload_digest,
        symbol=request.symbol,
        side=request.side,
        qty=request.qty,
        remaining=request.qty if remaining is None else remaining,
        sequence=sequence,
        trade_session=request.trade_session,
    )


EMPTY = BookState(epoch=1, sequence=0, limits=LIMITS, kill_switch=KillSwitch.DISENGAGED, breaker=Breaker.OPEN)


def holding(limits: RiskLimits = LIMITS, **positions: int) -> BookState:
    """Build a book with these positions, each marked at the usual price."""
    return replace(EMPTY, limits=limits, positions=positions, marks=dict.fromkeys(positions, PRICE))
