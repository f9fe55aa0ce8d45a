"""Short ways to say what a test asks of the guard."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

from trading_pipeline.adapters.guards.book import BookSnapshot, BookState, Reservation
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ClearanceRequest, MarketFacts
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch, OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits

ACCOUNT = "paper-1"
SESSION = date(2024, 10, 17)
PRICE = 1_500_000
"""150 dollars, in 1/10,000 dollar."""

LIMITS = RiskLimits(
    max_order_adv_bps=None,
    max_position_equity_bps=None,
    max_position_shares=1_000,
    max_position_notional=Decimal(200_000),
    max_gross_notional=Decimal(400_000),
    max_order_shares=2_000,
    max_order_notional=Decimal(350_000),
    max_long_notional=Decimal(400_000),
    max_short_notional=Decimal(400_000),
    max_net_notional=Decimal(400_000),
    max_orders_per_session=100,
    max_notional_per_session=Decimal(50_000_000),
    max_orders_per_second=10_000,
    max_orders_per_minute=100_000,
    max_self_match_shares=100_000,
)
"""Those of rate, duplicates and self-match are out of the way: tests of other checks ask often and on both sides."""

ACTION = OperatorAction(operator="ada", reason="a drill, announced on the desk")


def ask(
    order: str = "order-1",
    side: Side = Side.BUY,
    qty: int = 100,
    symbol: str = "AAPL",
    *,
    price: int | None = PRICE,
    age: int | None = 0,
    adv: int | None = None,
    equity: int | None = None,
    limit: int | None = None,
    repeat: int | None = None,
    strategy: str = "tested",
    flatten: bool = False,
    session: date = SESSION,
    epoch: int = 1,
    min_sequence: int = 0,
) -> ClearanceRequest:
    """Build a request whose digest follows from its payload.

    Every order is a wanted repeat unless the test says otherwise: tests of other checks ask for the same often.
    """
    return ClearanceRequest(
        client_order_id=order,
        payload_digest=f"{symbol}|{side}|{qty}|{limit}|{session}|{flatten}",
        strategy_id=strategy,
        limit_ticks=limit,
        repeat=1 if repeat is None else repeat,
        symbol=symbol,
        side=side,
        qty=qty,
        trade_session=session,
        flatten=flatten,
        market=MarketFacts(reference_ticks=price, reference_age_seconds=age, adv_shares=adv, equity_ticks=equity),
        epoch=epoch,
        min_sequence=min_sequence,
    )


def hold(request: ClearanceRequest, *, remaining: Decimal | int | None = None, sequence: int = 1) -> Reservation:
    """Build the reservation that a request would hold."""
    return Reservation(
        client_order_id=request.client_order_id,
        payload_digest=request.payload_digest,
        symbol=request.symbol,
        side=request.side,
        qty=request.qty,
        remaining=Decimal(request.qty if remaining is None else remaining),
        sequence=sequence,
        trade_session=request.trade_session,
        price_ticks=max(request.market.reference_ticks or 0, request.limit_ticks or 0),
        limit_ticks=request.limit_ticks,
    )


EMPTY = BookState(
    epoch=1,
    sequence=0,
    limits=LIMITS,
    kill_switch=KillSwitch.DISENGAGED,
    breaker=Breaker.OPEN,
    gate=Gate.OPEN,
)


def fill(
    guard: RiskGuard,
    execution: str,
    qty: Decimal | int,
    *,
    order: str = "order-1",
    symbol: str = "AAPL",
    side: Side = Side.BUY,
    price: int = PRICE,
    epoch: int = 1,
    min_sequence: int = 0,
    counted: tuple[date, int] | None = None,
) -> int:
    """Post one fill; `counted` is the session that counts its order and what that was judged at."""
    return guard.post(
        client_order_id=order,
        execution_id=execution,
        qty=qty,
        symbol=symbol,
        side=side,
        price_ticks=price,
        epoch=epoch,
        min_sequence=min_sequence,
        trade_session=counted[0] if counted else None,
        judged_ticks=counted[1] if counted else 0,
    )


def end(guard: RiskGuard, order: str, *, epoch: int = 1, min_sequence: int = 0) -> int:
    """Void one order."""
    return guard.void(order, epoch=epoch, min_sequence=min_sequence)


def book_of(guard: RiskGuard) -> BookSnapshot:
    """Return the book, which must be there."""
    found = guard.snapshot()
    assert found is not None
    return found


def holding(limits: RiskLimits = LIMITS, **positions: Decimal | int) -> BookState:
    """Build a book with these positions, each marked at the usual price."""
    return replace(EMPTY, limits=limits, positions=positions, marks=dict.fromkeys(positions, PRICE))
