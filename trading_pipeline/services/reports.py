"""What services did and found, as flat rows for terminals and asset pages."""

from collections.abc import Iterable
from typing import Any

from trading_pipeline.adapters.store.ledger import BookRecord, OrderRecord
from trading_pipeline.services.single_orders import Cancellation, Flattening
from trading_pipeline.services.submission import Submission

TOLD = "told"
"""The Redis book knows what the ledger knows."""


def book_row(book: BookRecord) -> dict[str, Any]:
    """Return epoch, halts and limits of an account."""
    return {
        "account": book.account,
        "book": book.stale or TOLD,
        "epoch": book.epoch,
        "highest_sequence": book.high_sequence,
        "kill_switch": book.kill_switch.value,
        "kill_switch_reason": book.kill_switch_reason,
        "breaker": book.breaker.value,
        "breaker_reason": book.breaker_reason,
        "gate": book.gate.value,
        "gate_reason": book.gate_reason,
        **book.limits.as_text(),
    }


def order_row(order: OrderRecord) -> dict[str, Any]:
    """Return one order for a list."""
    average = order.average_fill_price
    return {
        "client_order_id": order.client_order_id,
        "session": order.intent.session.isoformat(),
        "symbol": order.intent.symbol,
        "side": order.intent.side.value,
        "qty": order.intent.qty,
        "kind": _kind(order),
        "state": order.state.value,
        "filled": str(order.filled_qty.normalize()) if order.filled_qty else "0",
        "average_price": f"{average:.4f}" if average is not None else "",
        "reason": order.reason,
    }


def _kind(order: OrderRecord) -> str:
    """Return type, prices and time in force, and the order whose place it takes."""
    intent = order.intent
    prices = [
        f"{name} {price:f}" for name, price in (("limit", intent.limit_price), ("stop", intent.stop_price)) if price
    ]
    replaces = [f"replaces {order.replaces}"] if order.replaces else []
    return " ".join([intent.order_type, *prices, intent.time_in_force, *replaces])


def submission_rows(submissions: Iterable[Submission]) -> list[dict[str, Any]]:
    """Return one row an order with the guard's verdict."""
    return [
        order_row(one.order) | {"guard": one.verdict.describe() if one.verdict else "decided before"}
        for one in submissions
    ]


def cancellation_rows(result: Cancellation) -> list[dict[str, Any]]:
    """Return one row an order that was, or could not be, cancelled."""
    return [order_row(order) for order in result.canceled] + [
        order_row(order) | {"reason": f"still live: {why}"} for order, why in result.still_live
    ]


def flattening_rows(result: Flattening) -> list[dict[str, Any]]:
    """Return cancelled orders, closing orders, and symbols that stay open for want of a price."""
    return [
        *cancellation_rows(result.cancellation),
        *submission_rows(result.submissions),
        *({"symbol": symbol, "reason": f"still open: {why}"} for symbol, why in result.still_open),
    ]
