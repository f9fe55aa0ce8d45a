"""The market data side: bars with Alpaca's paging over all symbols, its limits and its 15-minute rule."""

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from support.alpaca.server import Raw, Refusal, Route

MAX_LIMIT = 10_000
BARS_PATH = "/v2/stocks/bars"
LATEST_QUOTES, LATEST_TRADES = "/v2/stocks/quotes/latest", "/v2/stocks/trades/latest"


def bar_routes(
    bars: Mapping[str, pl.DataFrame],
    *,
    now: Callable[[], datetime],
    short_pages: int | None = None,
    recent: bool = False,
) -> dict[tuple[str, str], Route]:
    """Serve frames by timeframe (`1Day`, `1Min`): `symbol`, `timestamp` (UTC), open, high, low, close, volume, vwap.

    `short_pages` gives fewer rows than asked for; `recent` says that the subscription covers the last 15 minutes.
    """

    def stocks_bars(query: Mapping[str, str]) -> Any:
        limit = int(query.get("limit", "1000"))
        if limit > MAX_LIMIT:
            raise Refusal(400, {"message": "invalid limit: larger than the allowed maximum of 10000"})
        start, end = datetime.fromisoformat(query["start"]), datetime.fromisoformat(query["end"])
        if query.get("feed") == "sip" and not recent and end > now() - timedelta(minutes=15):
            raise Refusal(403, {"message": "subscription does not permit querying recent SIP data"})
        rows = bars[query["timeframe"]].filter(
            pl.col("symbol").is_in(query["symbols"].split(",")), pl.col("timestamp").is_between(start, end)
        )
        rows = rows.sort("symbol", "timestamp", maintain_order=True)
        offset = int(base64.b64decode(query["page_token"])) if "page_token" in query else 0
        size = min(limit, short_pages or limit)
        page, left = rows.slice(offset, size), rows.height - offset - size
        token = base64.b64encode(str(offset + size).encode()).decode() if left > 0 else None
        return {"bars": _by_symbol(page), "next_page_token": token}

    return {("GET", BARS_PATH): stocks_bars}


def _by_symbol(rows: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    answer: dict[str, list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        stamp = row["timestamp"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        prices = {"o": row["open"], "h": row["high"], "l": row["low"], "c": row["close"]}
        answer.setdefault(row["symbol"], []).append(
            {"t": stamp, **prices, "v": int(row["volume"]), "n": 7, "vw": row["vwap"]}
        )
    return answer


def quote_json(bid: str, ask: str, at: datetime, **other: str) -> Raw:
    """Return a quote; `other` are further or other fields, as JSON."""
    fields = {"bp": bid, "bs": "2", "bx": '"Q"', "ap": ask, "as": "1", "ax": '"P"', "c": '["R"]', "z": '"C"'}
    return _object(fields | {"t": f'"{_nanoseconds(at)}"'} | other)


def trade_json(price: str, at: datetime, **other: str) -> Raw:
    """Return a trade; `other` are further or other fields, as JSON."""
    return _object({"p": price, "s": "100", "x": '"Q"', "c": '["@"]', "z": '"C"', "t": f'"{_nanoseconds(at)}"'} | other)


def latest_routes(quotes: Mapping[str, Raw | None], trades: Mapping[str, Raw | None]) -> dict[tuple[str, str], Route]:
    """Serve the latest quotes and trades by symbol; None is a symbol of which nothing is known yet."""

    def serve(name: str, rows: Mapping[str, Raw | None]) -> Route:
        def latest(query: Mapping[str, str]) -> Any:
            wanted = query["symbols"].split(",")
            if wrong := [symbol for symbol in wanted if not symbol.isalnum()]:
                raise Refusal(400, {"message": f"invalid symbol: {wrong[0]}"})
            known = {symbol: rows[symbol] or "null" for symbol in wanted if symbol in rows}
            return Raw(f'{{"{name}": {_object(known)}}}')

        return latest

    return {("GET", LATEST_QUOTES): serve("quotes", quotes), ("GET", LATEST_TRADES): serve("trades", trades)}


def _object(fields: Mapping[str, str]) -> Raw:
    return Raw("{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}")


def _nanoseconds(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"
