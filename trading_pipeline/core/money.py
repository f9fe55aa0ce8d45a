"""Money and share arithmetic: Decimal outside, whole numbers of 1/10,000 dollar inside the book."""

import math
from decimal import ROUND_HALF_UP, Decimal

TICKS_PER_DOLLAR = 10_000
LARGEST_EXACT_INTEGER = 2**53
"""Lua numbers are doubles: beyond this whole numbers are no longer exact."""

_CENT = Decimal("0.01")
_TICK = Decimal("0.0001")


def price_increment(price: Decimal) -> Decimal:
    """Return the tick of a US equity price: one cent from $1, a hundredth of a cent below (Reg NMS rule 612)."""
    return _CENT if price >= 1 else _TICK


def round_price(price: Decimal) -> Decimal:
    """Round a price half-up to its tick.

    Raises:
        ValueError: the price is not finite or not positive.
    """
    if not price.is_finite() or price <= 0:
        msg = f"price must be finite and positive, not {price}"
        raise ValueError(msg)
    return price.quantize(price_increment(price), rounding=ROUND_HALF_UP)


def price_from_float(price: float) -> Decimal:
    """Turn a market-data price (float64 dollars) into a Decimal with four decimals, half-up.

    Raises:
        ValueError: NaN, infinite, zero or negative.
    """
    if not math.isfinite(price) or price <= 0:
        msg = f"price must be finite and positive, not {price}"
        raise ValueError(msg)
    return Decimal(repr(price)).quantize(_TICK, rounding=ROUND_HALF_UP)


def to_ticks(amount: Decimal) -> int:
    """Turn dollars into whole 1/10,000 dollars, half-up.

    Raises:
        ValueError: not finite, or beyond 2**53 ticks.
    """
    if not amount.is_finite():
        msg = f"amount must be finite, not {amount}"
        raise ValueError(msg)
    ticks = int((amount * TICKS_PER_DOLLAR).to_integral_value(rounding=ROUND_HALF_UP))
    if abs(ticks) > LARGEST_EXACT_INTEGER:
        msg = f"amount {amount} is beyond what the book can hold exactly"
        raise ValueError(msg)
    return ticks


def from_ticks(ticks: int) -> Decimal:
    """Turn whole 1/10,000 dollars into dollars."""
    return (Decimal(ticks) / TICKS_PER_DOLLAR).quantize(_TICK)


def whole_shares(qty: Decimal) -> int:
    """Turn a quantity into whole shares.

    Raises:
        ValueError: a fraction, which no book of whole shares can hold without losing it.
    """
    if qty != qty.to_integral_value():
        msg = f"{qty} is no whole number of shares"
        raise ValueError(msg)
    return int(qty)


def cents(amount: Decimal) -> Decimal:
    """Round dollars half-up to the cent, for people to read."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)
