"""The JSON of Alpaca's trading API: every decimal a string, instants with nine digits, null where nothing is."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from support.alpaca.exchange import Asset, Books, PaperActivity, PaperExchange, PaperFill, PaperOrder


def instant(at: datetime | None) -> str | None:
    """Write an instant as the API does."""
    return None if at is None else at.replace(tzinfo=None).isoformat(timespec="microseconds") + "000Z"


def text(value: Decimal | None) -> str | None:
    """Write a decimal as the API does: no exponent, no zeros behind."""
    if value is None:
        return None
    written = f"{value:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def order_json(order: PaperOrder) -> dict[str, Any]:
    """Write an order."""
    average = text((order.paid / order.filled_qty).quantize(Decimal("1e-6"))) if order.filled_qty else None
    ended = dict.fromkeys(("filled", "expired", "canceled", "failed", "replaced"))
    if order.ended_at is not None:
        ended[{"rejected": "failed"}.get(order.status, order.status)] = instant(order.ended_at)
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": instant(order.submitted_at),
        "updated_at": instant(order.updated_at or order.submitted_at),
        "submitted_at": instant(order.submitted_at),
        **{f"{name}_at": ended[name] for name in ("filled", "expired", "canceled", "failed", "replaced")},
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
        "symbol": order.symbol,
        "asset_class": "us_equity",
        "notional": None,
        "qty": text(order.qty),
        "filled_qty": text(order.filled_qty),
        "filled_avg_price": average,
        "order_class": "",
        "order_type": order.type,
        "type": order.type,
        "side": order.side,
        "position_intent": f"{order.side}_to_open",
        "time_in_force": order.time_in_force,
        "limit_price": text(order.limit_price),
        "stop_price": text(order.stop_price),
        "status": order.status,
        "extended_hours": order.extended_hours,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    }


def fill_json(exchange: PaperExchange, fill: PaperFill) -> dict[str, Any]:
    """Write a FILL activity; its id begins with the local time of New York."""
    local = fill.at.astimezone(exchange.calendar.zone)
    return {
        "id": f"{local:%Y%m%d%H%M%S}{local.microsecond // 1000:03d}::{fill.id}",
        "activity_type": "FILL",
        "transaction_time": instant(fill.at),
        "type": "fill" if not fill.leaves_qty else "partial_fill",
        "price": text(fill.price),
        "qty": text(fill.qty),
        "side": fill.side,
        "symbol": fill.symbol,
        "leaves_qty": text(fill.leaves_qty),
        "order_id": fill.order_id,
        "cum_qty": text(fill.cum_qty),
        "order_status": "filled" if not fill.leaves_qty else "partially_filled",
    }


def activity_json(activity: PaperActivity) -> dict[str, Any]:
    """Write an activity beside fills."""
    written: dict[str, Any] = {
        "id": activity.id,
        "activity_type": activity.type,
        "date": activity.day.isoformat(),
        "description": f"{activity.type} of {activity.day}",
        "status": activity.status,
        "created_at": instant(activity.posted_at),
    }
    if activity.amount is not None:
        written["net_amount"] = text(activity.amount)
    if activity.symbol is not None:
        written["symbol"] = activity.symbol
    return written


def positions_json(exchange: PaperExchange, books: Books) -> dict[str, dict[str, Any]]:
    """Write all positions, by symbol."""
    held = exchange.positions(books)
    orders: defaultdict[str, list[PaperOrder]] = defaultdict(list)
    for one in books.orders.values():
        orders[one.symbol].append(one)
    paid: defaultdict[str, Decimal] = defaultdict(Decimal)
    for fill in books.fills:
        paid[fill.symbol] += fill.qty * fill.price * (1 if fill.side == "buy" else -1)
    return {symbol: _position(exchange, symbol, qty, orders[symbol], paid[symbol]) for symbol, qty in held.items()}


def _position(
    exchange: PaperExchange, symbol: str, qty: Decimal, orders: Iterable[PaperOrder], paid: Decimal
) -> dict[str, Any]:
    held_for_orders = sum((one.remaining for one in orders if one.working and one.sign * qty < 0), Decimal(0))
    price = exchange.prices[symbol]
    return {
        "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
        "symbol": symbol,
        "exchange": "NASDAQ",
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": text(qty),
        "avg_entry_price": text((paid / qty).quantize(Decimal("1e-6"))),
        "side": "long" if qty > 0 else "short",
        "market_value": text(qty * price),
        "cost_basis": text(paid),
        "unrealized_pl": text(qty * price - paid),
        "current_price": text(price),
        "lastday_price": text(price),
        "change_today": "0",
        "qty_available": text(abs(qty) - held_for_orders),
    }


def account_json(exchange: PaperExchange) -> dict[str, Any]:
    """Write the account."""
    value = sum((qty * exchange.prices[symbol] for symbol, qty in exchange.positions().items()), Decimal(0))
    cents = Decimal("0.01")
    return {
        "id": exchange.account_id,
        "account_number": exchange.account_number,
        "status": exchange.account_status,
        "crypto_status": "ACTIVE",
        "currency": "USD",
        "cash": str(exchange.view("account").cash.quantize(cents)),
        "accrued_fees": str(exchange.view("account").accrued_fees),
        "equity": str((exchange.cash + value).quantize(cents)),
        "last_equity": str((exchange.cash + value).quantize(cents)),
        "buying_power": str(buying_power(exchange).quantize(cents)),
        "multiplier": "4",
        "long_market_value": text(max(value, Decimal(0))),
        "trading_blocked": exchange.flags.get("trading_blocked", False),
        "transfers_blocked": False,
        "account_blocked": exchange.flags.get("account_blocked", False),
        "trade_suspended_by_user": exchange.flags.get("trade_suspended_by_user", False),
        "shorting_enabled": exchange.flags.get("shorting_enabled", True),
        "created_at": "2024-01-02T15:04:05.123456Z",
    }


def asset_json(symbol: str, asset: Asset) -> dict[str, Any]:
    """Write an asset."""
    return {
        "id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
        "class": asset.asset_class,
        "exchange": "NASDAQ",
        "symbol": symbol,
        "name": f"{symbol} Common Stock",
        "status": "active" if asset.tradable else "inactive",
        "tradable": asset.tradable,
        "marginable": True,
        "shortable": asset.shortable,
        "easy_to_borrow": asset.easy_to_borrow,
        "fractionable": asset.fractionable,
        "attributes": [],
    }


def buying_power(exchange: PaperExchange) -> Decimal:
    """Return what may still be bought: cash less what open orders hold."""
    held = Decimal(0)
    for order in exchange.books.orders.values():
        if order.working and order.side == "buy":
            held += order.remaining * (order.limit_price or exchange.prices[order.symbol])
    return exchange.cash - held
