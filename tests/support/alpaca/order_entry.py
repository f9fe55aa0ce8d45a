"""Which orders Alpaca takes and in which words it refuses the others."""

import json
import uuid
from collections.abc import Mapping
from datetime import time
from decimal import Decimal, InvalidOperation
from typing import Any

from support.alpaca.documents import buying_power, text
from support.alpaca.exchange import PaperExchange, PaperOrder
from support.alpaca.server import Refusal

_TYPES = {"market": (False, False), "limit": (True, False), "stop": (False, True), "stop_limit": (True, True)}
_TIMES = frozenset({"day", "gtc", "opg", "cls", "ioc", "fok"})
_LONGEST_ID = 128
_SHUT = {"opg": (time(9, 28), time(19, 0)), "cls": (time(15, 50), time(19, 0))}


def invalid(message: str, code: int = 40010001) -> Refusal:
    """Make a 422."""
    return Refusal(422, {"code": code, "message": message})


def forbidden(message: str, **more: Any) -> Refusal:
    """Make a 403."""
    return Refusal(403, {"code": 40310000, "message": message, **more})


def enter(exchange: PaperExchange, body: str) -> PaperOrder:
    """Take an order or refuse it."""
    try:
        asked = json.loads(body)
    except json.JSONDecodeError:
        asked = None
    if not isinstance(asked, dict):
        raise Refusal(400, {"code": 40010000, "message": "request body format is invalid"})
    order = _form(exchange, asked)
    _account(exchange)
    _asset(exchange, order)
    _times(exchange, order)
    _wash_trade(exchange, order)
    _shares(exchange, order)
    _money(exchange, order)
    exchange.accept(order)
    return order


def _form(exchange: PaperExchange, asked: Mapping[str, Any]) -> PaperOrder:
    own_id = _own_id(exchange, asked)
    for name, known in (("side", {"buy", "sell"}), ("type", _TYPES), ("time_in_force", _TIMES)):
        if asked.get(name) not in known:
            raise invalid(f"invalid {name.replace('type', 'order type')}")
    qty = decimal(asked, "qty")
    if qty is None or qty <= 0:
        raise invalid("qty or notional is required" if qty is None else "qty must be > 0")
    limit, stop = decimal(asked, "limit_price"), decimal(asked, "stop_price")
    if _TYPES[asked["type"]] != (limit is not None, stop is not None):
        raise invalid(f"{asked['type']} orders require other prices")
    for name, price in (("limit_price", limit), ("stop_price", stop)):
        require_tick(name, price)
    extended = bool(asked.get("extended_hours", False))
    if extended and (asked["type"] != "limit" or asked["time_in_force"] not in {"day", "gtc"}):
        raise invalid("extended hours order must be DAY or GTC limit orders", 42210000)
    return exchange.new_order(
        symbol=str(asked.get("symbol")),
        side=asked["side"],
        qty=qty,
        client_order_id=own_id,
        type=asked["type"],
        time_in_force=asked["time_in_force"],
        limit_price=limit,
        stop_price=stop,
        extended_hours=extended,
    )


def _own_id(exchange: PaperExchange, asked: Mapping[str, Any]) -> str:
    own_id = str(asked.get("client_order_id") or uuid.uuid4())
    if len(own_id) > _LONGEST_ID:
        raise invalid("client_order_id must be no more than 128 characters")
    if exchange.unique_ids and any(one.client_order_id == own_id for one in exchange.books.orders.values()):
        raise invalid("client_order_id must be unique")
    return own_id


def decimal(asked: Mapping[str, Any], name: str) -> Decimal | None:
    """Read a decimal of a request."""
    value = asked.get(name)
    if value is None:
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise Refusal(400, {"code": 40010000, "message": "request body format is invalid"}) from None


def require_tick(name: str, price: Decimal | None) -> None:
    """Refuse a price between two ticks."""
    if price is not None and price != price.quantize(Decimal("0.01" if price >= 1 else "0.0001")):
        message = f"invalid {name} {price}. sub-penny increment does not fulfill minimum pricing criteria"
        raise invalid(message, 42210000)


def _account(exchange: PaperExchange) -> None:
    if exchange.flags.get("trade_suspended_by_user"):
        raise forbidden("new orders are rejected by user request")
    if exchange.flags.get("trading_blocked") or exchange.flags.get("account_blocked"):
        raise forbidden("account is not authorized to trade")


def _asset(exchange: PaperExchange, order: PaperOrder) -> None:
    asset = exchange.assets.get(order.symbol)
    if asset is None:
        raise invalid(f'asset "{order.symbol}" not found', 42210000)
    if not asset.tradable:
        raise invalid(f'asset "{order.symbol}" is not tradable', 42210000)
    if order.qty != int(order.qty):
        if not asset.fractionable:
            raise forbidden(f'asset "{order.symbol}" is not fractionable')
        if order.time_in_force != "day":
            raise invalid("fractional orders must be DAY orders", 42210000)


def _times(exchange: PaperExchange, order: PaperOrder) -> None:
    if order.time_in_force not in _SHUT:
        return
    since, until = _SHUT[order.time_in_force]
    if since <= exchange.now().astimezone(exchange.calendar.zone).time() < until:
        raise forbidden(
            f"{order.time_in_force} orders must be submitted after 7:00pm and before {since.hour}:{since.minute}"
        )


def _wash_trade(exchange: PaperExchange, order: PaperOrder) -> None:
    for other in exchange.books.orders.values():
        if not other.working or other.symbol != order.symbol or other.side == order.side:
            continue
        if other.limit_price is None:
            kind = "market" if other.stop_price is None else "stop"
        elif order.limit_price is None or (order.limit_price - other.limit_price) * order.sign >= 0:
            kind = "limit"
        else:
            continue
        raise forbidden(
            "potential wash trade detected. use complex orders",
            existing_order_id=other.id,
            reject_reason=f"opposite side {kind} order exists",
        )


def _shares(exchange: PaperExchange, order: PaperOrder) -> None:
    held = exchange.positions().get(order.symbol, Decimal(0))
    working = [one for one in exchange.books.orders.values() if one.working and one.symbol == order.symbol]
    if held * order.sign < 0:
        reserved = sum((one.remaining for one in working if one.side == order.side), Decimal(0))
        available = abs(held) - reserved
        if order.qty > available:
            raise forbidden(
                f"insufficient qty available for order (requested: {text(order.qty)}, available: {text(available)})",
                symbol=order.symbol,
                existing_qty=text(abs(held)),
                held_for_orders=text(reserved),
                available=text(available),
            )
    elif order.side == "sell":
        _short(exchange, order, working)


def _short(exchange: PaperExchange, order: PaperOrder, working: list[PaperOrder]) -> None:
    asset = exchange.assets[order.symbol]
    if order.qty != int(order.qty):
        raise invalid("fractional orders cannot be sold short", 42210000)
    if not exchange.flags.get("shorting_enabled", True):
        raise forbidden("account is not allowed to short")
    if not (asset.shortable and asset.easy_to_borrow):
        raise invalid(f'asset "{order.symbol}" cannot be sold short', 42210000)
    if any(one.side == "buy" for one in working):
        raise forbidden("cannot open a short sell while a long buy order is open")


def _money(exchange: PaperExchange, order: PaperOrder) -> None:
    if order.side != "buy":
        return
    cost = order.qty * (order.limit_price or exchange.prices[order.symbol])
    power = buying_power(exchange)
    if cost > power:
        raise forbidden("insufficient buying power", buying_power=text(power), cost_basis=text(cost))
