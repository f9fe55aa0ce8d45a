"""Average-cost accounting of positions, exact in Decimal.

Formulas, with q the signed position, a its average price, and a fill of s shares (signed) at price p:
    add (same sign, or q = 0):   a' = (|q| a + |s| p) / (|q| + |s|),          realised 0
    reduce (opposite, |s|<=|q|): a' = a (0 when flat),                        realised (p - a) * |s| * sign(q)
    flip (opposite, |s|>|q|):    realise all of q at p, the rest opens at p.
Worked: buy 10 at 100, buy 10 at 110 -> 20 at 105; sell 30 at 108 -> realised (108 - 105) * 20 = 60, short 10 at 108.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from trading_pipeline.core.orders.model import Side

ZERO = Decimal(0)
_AVERAGE_PLACES = Decimal("0.0000000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Holding of one symbol: signed shares, average price in dollars, realised dollars before fees, fees paid."""

    symbol: str
    qty: Decimal = ZERO
    average_price: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO

    def unrealised(self, price: Decimal) -> Decimal:
        """Return the profit in dollars if the position were closed at `price`."""
        return (price - self.average_price) * self.qty

    def market_value(self, price: Decimal) -> Decimal:
        """Return the signed value in dollars at `price`."""
        return price * self.qty


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution: shares, dollars a share, fee in dollars, and the exchange session it happened in."""

    execution_id: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    session: date

    @property
    def signed_qty(self) -> Decimal:
        """Shares added to the position."""
        return self.qty * self.side.sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """A fill applied: the position after it and the dollars it realised."""

    position: Position
    realised: Decimal


def apply_fill(position: Position, fill: Fill) -> Booking:
    """Book one fill on a position of the same symbol.

    Raises:
        ValueError: another symbol, or a quantity or price that is not finite and positive.
    """
    if fill.symbol != position.symbol:
        msg = f"fill of {fill.symbol} offered to the position of {position.symbol}"
        raise ValueError(msg)
    if not (fill.qty.is_finite() and fill.price.is_finite() and fill.qty > 0 and fill.price > 0):
        msg = f"fill {fill.execution_id}: quantity {fill.qty} and price {fill.price} must be finite and positive"
        raise ValueError(msg)
    held, added = position.qty, fill.signed_qty
    if held * added >= 0:
        realised = ZERO
        average = (abs(held) * position.average_price + abs(added) * fill.price) / (abs(held) + abs(added))
    else:
        closed = min(abs(held), abs(added))
        direction = 1 if held > 0 else -1
        realised = (fill.price - position.average_price) * closed * direction
        average = _average_after_reduction(position, fill)
    after = Position(
        symbol=position.symbol,
        qty=held + added,
        average_price=average.quantize(_AVERAGE_PLACES),
        realised=position.realised + realised,
        fees=position.fees + fill.fee,
    )
    return Booking(position=after, realised=realised)


def replay(fills: Iterable[Fill]) -> dict[str, Position]:
    """Fold fills in their order of booking into positions, each execution id once."""
    positions: dict[str, Position] = {}
    seen: set[str] = set()
    for fill in fills:
        if fill.execution_id in seen:
            continue
        seen.add(fill.execution_id)
        held = positions.get(fill.symbol, Position(symbol=fill.symbol))
        positions[fill.symbol] = apply_fill(held, fill).position
    return positions


def missed_fill_price(
    *, previous_qty: Decimal, previous_average: Decimal, cumulative_qty: Decimal, cumulative_average: Decimal
) -> Decimal:
    """Return the price of the shares between two cumulative states of an order, when the events between were missed.

    (cumulative_qty * cumulative_average - previous_qty * previous_average) / (cumulative_qty - previous_qty)

    Raises:
        ValueError: the cumulative quantity did not grow.
    """
    increment = cumulative_qty - previous_qty
    if increment <= 0:
        msg = f"cumulative quantity must grow: {previous_qty} to {cumulative_qty}"
        raise ValueError(msg)
    return (cumulative_qty * cumulative_average - previous_qty * previous_average) / increment


def _average_after_reduction(position: Position, fill: Fill) -> Decimal:
    left = abs(position.qty) - fill.qty
    if left == 0:
        return ZERO
    return position.average_price if left > 0 else fill.price
