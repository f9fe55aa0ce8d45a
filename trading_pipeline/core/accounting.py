"""Average-cost accounting of positions, exact in Decimal.

With q the signed position, c what was paid for it (signed dollars, a = c / q its average price), and a fill of s shares
(signed) at price p:
    add (same sign, or q = 0):   realised 0
    reduce (opposite, |s|<=|q|): realised (p - a) * |s| * sign(q); the average of the rest stays
    flip (opposite, |s|>|q|):    realise all of q at p, the rest opens at p
    always:                      c' = c + s p + realised
The last line makes the books close to the last digit: realised + unrealised = cash + market value, whatever an average
rounds to. What a division cannot give exactly is rounded in `realised`, at 20 decimals, and stays in the cost.
Worked: buy 10 at 100, buy 10 at 110 -> 20 at 105; sell 30 at 108 -> realised (108 - 105) * 20 = 60, short 10 at 108.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext

from trading_pipeline.core.orders.model import Side

ZERO = Decimal(0)
_UNSAID = Decimal("NaN")
_AVERAGE_PLACES = Decimal("1e-10")
PRICE_PLACES = Decimal("1e-20")
"""Where a price or a realised amount is rounded that a division does not give exactly."""
_DIGITS = 100
"""Enough for products and sums of any shares and prices to be exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Holding of one symbol: signed shares, average price in dollars, realised dollars before fees, fees paid.

    `cost` is what was paid for the open shares, signed dollars. Left out, it is shares times the average price,
    and that is rounded at 10 decimals.
    """

    symbol: str
    qty: Decimal = ZERO
    average_price: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    cost: Decimal = _UNSAID

    def __post_init__(self) -> None:
        if self.cost.is_nan():
            object.__setattr__(self, "cost", self.qty * self.average_price)

    def unrealised(self, price: Decimal) -> Decimal:
        """Return the profit in dollars if the position were closed at `price`."""
        with localcontext(prec=_DIGITS):
            return price * self.qty - self.cost

    def market_value(self, price: Decimal) -> Decimal:
        """Return the signed value in dollars at `price`."""
        with localcontext(prec=_DIGITS):
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
    with localcontext(prec=_DIGITS):
        realised = _realised(position, fill)
        qty = position.qty + fill.signed_qty
        cost = position.cost + fill.signed_qty * fill.price + realised
        after = Position(
            symbol=position.symbol,
            qty=qty,
            average_price=(cost / qty).quantize(_AVERAGE_PLACES) if qty else ZERO,
            realised=position.realised + realised,
            fees=position.fees + fill.fee,
            cost=cost if qty else ZERO,
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
    with localcontext(prec=_DIGITS):
        increment = cumulative_qty - previous_qty
        if increment <= 0:
            msg = f"cumulative quantity must grow: {previous_qty} to {cumulative_qty}"
            raise ValueError(msg)
        price = (cumulative_qty * cumulative_average - previous_qty * previous_average) / increment
        return at_most(price, PRICE_PLACES)


def at_most(value: Decimal, places: Decimal) -> Decimal:
    """Round to these places what has more of them; leave the rest as it is."""
    exponent, finest = value.as_tuple().exponent, places.as_tuple().exponent
    return (
        value.quantize(places) if isinstance(exponent, int) and isinstance(finest, int) and exponent < finest else value
    )


def _realised(position: Position, fill: Fill) -> Decimal:
    held, added = position.qty, fill.signed_qty
    if held * added >= 0:
        return ZERO
    if abs(added) >= abs(held):
        return held * fill.price - position.cost
    return at_most(-added * fill.price - position.cost * abs(added) / abs(held), PRICE_PLACES)
