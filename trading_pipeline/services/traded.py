"""What an account ordered from a session, and what became of it, symbol by symbol."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any, Final

import polars as pl

from trading_pipeline.adapters.store.ledger import Ledger, OrderRecord
from trading_pipeline.core.orders.model import Purpose

TRADED_SCHEMA: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "held": pl.Decimal(20, 6),
        "order_shares": pl.Int64(),
        "order_notional": pl.Decimal(20, 4),
        "filled_shares": pl.Decimal(20, 6),
        "filled_notional": pl.Decimal(20, 4),
    }
)
"""One row a symbol that was held or ordered.

Shares and dollars are signed, negative where it was sold. `held` is the position at the session's close, before the
orders; an order is valued at the price it was decided at, also one that the guard or the broker refused.
"""


def traded_from(ledger: Ledger, account: str, strategy_id: str, session: date) -> pl.DataFrame:
    """Return the rebalancing orders that a strategy decided from a session, as `TRADED_SCHEMA`."""
    held = {symbol: one.qty for symbol, one in ledger.fills.positions_at(account, session).items() if one.qty}
    orders = [
        order
        for order in ledger.orders.of_session(account, session)
        if order.intent.purpose is Purpose.REBALANCE and order.intent.strategy_id == strategy_id
    ]
    symbols = sorted({*held, *(order.intent.symbol for order in orders)})
    rows = [
        {"symbol": symbol, "held": held.get(symbol, Decimal(0))}
        | _summed(order for order in orders if order.intent.symbol == symbol)
        for symbol in symbols
    ]
    return pl.DataFrame(rows, schema=TRADED_SCHEMA)


def _summed(orders: Iterable[OrderRecord]) -> dict[str, Any]:
    shares, notional, filled, paid = 0, Decimal(0), Decimal(0), Decimal(0)
    for order in orders:
        sign = order.intent.side.sign
        shares += sign * order.intent.qty
        notional += sign * order.intent.qty * order.intent.reference.price
        filled += sign * order.filled_qty
        paid += sign * order.filled_notional
    return {"order_shares": shares, "order_notional": notional, "filled_shares": filled, "filled_notional": paid}
