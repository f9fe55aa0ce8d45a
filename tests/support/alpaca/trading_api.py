"""The trading side over HTTP: account, orders, positions, activities, clock, calendar, assets."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import dropwhile, islice
from typing import Any, Final

from support.alpaca.documents import account_json, activity_json, asset_json, fill_json, order_json, positions_json
from support.alpaca.exchange import PaperExchange, PaperFill, PaperOrder
from support.alpaca.order_entry import decimal, enter, invalid, require_tick
from support.alpaca.server import Refusal, Request

Reply = tuple[int, Any]
_OPEN_LIMIT: Final = 50
_MOST_ACTIVITIES: Final = 100
_REPLACEABLE = frozenset({"new", "partially_filled"})


class TradingApi:
    """Answers requests about one account."""

    def __init__(self, exchange: PaperExchange) -> None:
        self.exchange = exchange

    def handle(self, request: Request) -> Reply | None:
        """Answer under the account's lock: one request is one step."""
        parts = request.path.split("/")[1:]
        if parts[0] != "v2" or len(parts) < 2:
            return None
        handler = getattr(self, f"_{request.method.lower()}_{parts[1].split(':')[0]}", None)
        if handler is None:
            return None
        with self.exchange.lock:
            reply: Reply | None = handler(request, parts[2:])
            return reply

    def _get_account(self, request: Request, rest: Sequence[str]) -> Reply | None:
        if not rest:
            return 200, account_json(self.exchange)
        if rest[0] != "activities":
            return None
        return 200, self._activities(request.query) if rest[1:] == ["FILL"] else self._moved_cash(request.query)

    def _activities(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        size = int(query.get("page_size", "100"))
        if size > _MOST_ACTIVITIES:
            raise invalid("page_size must be between 1 and 100")
        shown = list(self.exchange.view("activities").fills)
        fills: Iterator[PaperFill] = reversed(shown) if query.get("direction", "desc") == "desc" else iter(shown)
        if "page_token" in query:
            last = query["page_token"].rpartition("::")[2]
            fills = dropwhile(lambda fill: fill.id != last, fills)
            next(fills, None)
        if "after" in query:
            after = _instant(query["after"])
            fills = (fill for fill in fills if fill.at > after)
        if "until" in query:
            until = _instant(query["until"])
            fills = (fill for fill in fills if fill.at < until)
        return [fill_json(self.exchange, fill) for fill in islice(fills, size)]

    def _moved_cash(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        if query.get("category") != "non_trade_activity":
            raise invalid("only category non_trade_activity is served here")
        shown = self.exchange.view("activities").activities
        day = _instant(query["after"]).date() if "after" in query else date.min
        rows = [activity_json(one) for one in shown if one.day >= day]
        if query.get("direction", "desc") == "desc":
            rows.reverse()
        size = min(int(query.get("page_size", "100")), self.exchange.largest_page)
        return _page(rows, query, size, repeated=self.exchange.repeats_rows)

    def _get_orders(self, request: Request, rest: Sequence[str]) -> Reply:
        orders = list(self.exchange.view().orders.values())
        if request.path.endswith(":by_client_order_id"):
            wanted = request.query.get("client_order_id", "")
            found = [one for one in orders if one.client_order_id == wanted]
            return 200, order_json(_only(found, wanted))
        if rest:
            return 200, order_json(_only([one for one in orders if one.id == rest[0]], rest[0]))
        return 200, [order_json(one) for one in self._filtered(orders, request.query)]

    def _filtered(self, orders: list[PaperOrder], query: Mapping[str, str]) -> list[PaperOrder]:
        status, limit = query.get("status", "open"), int(query.get("limit", str(_OPEN_LIMIT)))
        if limit > 500:
            raise invalid("limit must be no more than 500")
        if status != "all":
            orders = [one for one in orders if one.working == (status == "open")]
        if "symbols" in query:
            orders = [one for one in orders if one.symbol in query["symbols"].split(",")]
        if "side" in query:
            orders = [one for one in orders if one.side == query["side"]]
        if "after" in query:
            after = _instant(query["after"])
            orders = [one for one in orders if one.submitted_at > after]
        if "until" in query:
            until = _instant(query["until"])
            orders = [one for one in orders if one.submitted_at < until]
        newest_first = query.get("direction", "desc") == "desc"
        return sorted(orders, key=lambda one: one.submitted_at, reverse=newest_first)[
            : min(limit, self.exchange.largest_page)
        ]

    def _post_orders(self, request: Request, rest: Sequence[str]) -> Reply:
        del rest
        order = enter(self.exchange, request.body)
        shown = order_json(order)
        return 200, shown | {"status": "pending_new"} if order.status == "new" else shown

    def _patch_orders(self, request: Request, rest: Sequence[str]) -> Reply:
        old = _only([one for one in self.exchange.books.orders.values() if one.id == rest[0]], rest[0])
        asked = json.loads(request.body)
        if not old.working:
            raise invalid(f'order is already in "{old.status}" state', 42210000)
        if old.status not in _REPLACEABLE:
            raise invalid(f"cannot replace order in {old.status} status", 42210000)
        qty, limit = decimal(asked, "qty") or old.qty, decimal(asked, "limit_price") or old.limit_price
        stop = decimal(asked, "stop_price") or old.stop_price
        if (qty, limit, stop) == (old.qty, old.limit_price, old.stop_price):
            raise invalid("order parameters are not changed", 42210000)
        if qty <= old.filled_qty:
            raise invalid("qty must be > filled_qty", 42210000)
        for name, price in (("limit_price", limit), ("stop_price", stop)):
            require_tick(name, price)
        new = self.exchange.new_order(
            symbol=old.symbol,
            side=old.side,
            qty=qty,
            client_order_id=asked.get("client_order_id") or f"{old.client_order_id}-replaced",
            type=old.type,
            time_in_force=asked.get("time_in_force") or old.time_in_force,
            limit_price=limit,
            stop_price=stop,
            replaces=old.id,
        )
        if any(one.client_order_id == new.client_order_id for one in self.exchange.books.orders.values()):
            raise invalid("client_order_id must be unique")
        old.replaced_by = new.id
        new.status = "pending_new"
        self.exchange.accept(new)
        if self.exchange.replaces_at_once:
            self.exchange.replace_now(old.client_order_id)
        return 200, order_json(new)

    def _delete_orders(self, request: Request, rest: Sequence[str]) -> Reply:
        del request
        orders = self.exchange.books.orders.values()
        if not rest:
            working = [one for one in orders if one.working]
            for one in working:
                self.exchange.finish(one, "canceled")
            return 207, [{"id": one.id, "status": 200} for one in working]
        order = _only([one for one in orders if one.id == rest[0]], rest[0])
        if order.working:
            self.exchange.finish(order, "canceled")
        elif order.status != "canceled":
            raise invalid(f'order is already in "{order.status}" state', 42210000)
        return 204, None

    def _get_positions(self, request: Request, rest: Sequence[str]) -> Reply:
        del request
        held = positions_json(self.exchange, self.exchange.view("positions"))
        if not rest:
            return 200, list(held.values())
        if rest[0] not in held:
            raise Refusal(404, {"code": 40410000, "message": "position does not exist"})
        return 200, held[rest[0]]

    def _delete_positions(self, request: Request, rest: Sequence[str]) -> Reply:
        held = self.exchange.positions()
        symbol = rest[0] if rest else ""
        if symbol not in held:
            raise Refusal(404, {"code": 40410000, "message": "position does not exist"})
        qty = decimal(request.query, "qty") or abs(held[symbol])
        side = "sell" if held[symbol] > 0 else "buy"
        body = {"symbol": symbol, "qty": str(qty), "side": side, "type": "market", "time_in_force": "day"}
        return 200, order_json(enter(self.exchange, json.dumps(body)))

    def _get_clock(self, request: Request, rest: Sequence[str]) -> Reply:
        del request, rest
        exchange, calendar = self.exchange, self.exchange.calendar
        now = exchange.now()
        today = now.astimezone(calendar.zone).date()
        days = [day for day in calendar.between(today, today + timedelta(days=10)) if not self._shut(day, today)]
        shown = now + exchange.clock_offset
        return 200, {
            "timestamp": _local(exchange, shown),
            "is_open": exchange.is_open(),
            "next_open": _local(exchange, next(at for day in days if (at := calendar.open_at(day)) > now)),
            "next_close": _local(exchange, next(at for day in days if (at := calendar.close_at(day)) > now)),
        }

    def _shut(self, day: date, today: date) -> bool:
        return self.exchange.closed_all_day and day == today

    def _get_calendar(self, request: Request, rest: Sequence[str]) -> Reply:
        del rest
        calendar = self.exchange.calendar
        start, end = date.fromisoformat(request.query["start"]), date.fromisoformat(request.query["end"])
        return 200, [
            {
                "date": day.isoformat(),
                "open": f"{calendar.open_at(day).astimezone(calendar.zone):%H:%M}",
                "close": f"{calendar.close_at(day).astimezone(calendar.zone):%H:%M}",
                "session_open": "0400",
                "session_close": "2000",
                "settlement_date": calendar.next(day).isoformat(),
            }
            for day in calendar.between(start, end)
        ]

    def _get_assets(self, request: Request, rest: Sequence[str]) -> Reply:
        assets = self.exchange.assets
        if rest:
            if rest[0] not in assets:
                raise Refusal(404, {"code": 40410000, "message": f"asset not found for {rest[0]}"})
            return 200, asset_json(rest[0], assets[rest[0]])
        shown = [asset_json(symbol, asset) for symbol, asset in sorted(assets.items())]
        return 200, [one for one in shown if one["status"] == request.query.get("status", one["status"])]


def _page(
    rows: list[dict[str, Any]], query: Mapping[str, str], size: int, *, repeated: int = 0
) -> list[dict[str, Any]]:
    if "page_token" not in query:
        return rows[:size]
    ids = [row["id"] for row in rows]
    if query["page_token"] not in ids:
        return []
    start = ids.index(query["page_token"]) + 1
    return rows[max(start - repeated, 0) : start + size]


def _only(found: Sequence[PaperOrder], wanted: str) -> PaperOrder:
    if not found:
        raise Refusal(404, {"code": 40410000, "message": f"order not found for {wanted}"})
    return found[-1]


def _instant(given: str) -> datetime:
    return datetime.fromisoformat(given).astimezone(UTC)


def _local(exchange: PaperExchange, at: datetime) -> str:
    return at.astimezone(exchange.calendar.zone).isoformat()
