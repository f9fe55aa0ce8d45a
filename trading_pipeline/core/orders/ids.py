"""Deterministic client order ids."""

import hashlib
from datetime import date
from decimal import Decimal

from trading_pipeline.core.money import round_price

ID_LENGTH = 24


def client_order_id(
    *,
    symbol: str,
    side: str,
    qty: int,
    limit_price: Decimal | None,
    stop_price: Decimal | None,
    order_type: str,
    time_in_force: str,
    strategy_id: str,
    trade_date: date,
    repeat: int = 0,
    parent_id: str | None = None,
) -> str:
    """Return the first 24 hex characters of SHA-256 over the order's fields joined by `|`.

    Missing prices are written `None`, prices half-up to their tick (2 decimals from $1, 4 below).
    A wanted repeat of the same order on one trade date appends its number, so that the two do not collide. A slice of a
    larger order appends its number and `slice of` its parent, by which no other order's fields can end.
    """
    fields = [
        symbol,
        side,
        str(qty),
        price_text(limit_price),
        price_text(stop_price),
        order_type,
        time_in_force,
        strategy_id,
        trade_date.isoformat(),
    ]
    if repeat:
        fields.append(str(repeat))
    if parent_id is not None:
        fields.append(f"slice of {parent_id}")
    return hashlib.sha256("|".join(fields).encode()).hexdigest()[:ID_LENGTH]


def price_text(price: Decimal | None) -> str:
    """Write a price as the id has it: rounded half-up to its tick, `None` when there is none."""
    return "None" if price is None else str(round_price(price))
