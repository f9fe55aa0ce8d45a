"""Reads frames of Alpaca's trade_updates stream: text or binary, exact decimals, nothing guessed."""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from trading_pipeline.adapters.broker.alpaca.documents import (
    broker_order,
    decimal_of,
    instant_of,
    readable,
    session_of,
)
from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution, TradeUpdate
from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import DataQualityError

STREAM: Final = "trade_updates"
_FILLS: Final = frozenset({"fill", "partial_fill"})
_EVENTS: Final = _FILLS | {
    "accepted",
    "pending_new",
    "new",
    "canceled",
    "expired",
    "done_for_day",
    "replaced",
    "rejected",
    "pending_cancel",
    "pending_replace",
    "stopped",
    "suspended",
    "calculated",
    "held",
    "restated",
    "order_replace_rejected",
    "order_cancel_rejected",
}


def message_of(raw: bytes) -> dict[str, Any]:
    """Read a frame as JSON whose numbers stay the text they were: no decimal passes through a float.

    Raises:
        DataQualityError: it is no JSON object.
    """
    try:
        message = json.loads(raw, parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as error:
        raise DataQualityError(f"a frame of {len(raw)} bytes is no JSON: {error}") from error
    if not isinstance(message, dict):
        raise DataQualityError(f"a frame is no JSON object but {type(message).__name__}")
    return cast("dict[str, Any]", message)


def trade_update(raw: bytes, calendar: SessionCalendar) -> TradeUpdate:
    """Read one event of the stream.

    Raises:
        DataQualityError: it is no event that is known, or a field is missing or is not what it should be.
    """
    message = message_of(raw)
    if message.get("stream") != STREAM:
        raise DataQualityError(f"a frame of the stream {message.get('stream')!r}, not of {STREAM}")
    with readable("a trade update"):
        data = _object(message["data"])
        event, document = str(data["event"]), _object(data["order"])
        order = broker_order(document)
        at = instant_of(data.get("timestamp") or document["updated_at"])
    if event not in _EVENTS:
        raise DataQualityError(f"the event {event!r} of order {order.client_order_id} is not known")
    filled = _execution(data, order, calendar) if event in _FILLS else None
    return TradeUpdate(event=event, at=at, order=order, execution=filled)


def _execution(data: Mapping[str, Any], order: BrokerOrder, calendar: SessionCalendar) -> Execution:
    with readable("an execution"):
        at = instant_of(data["timestamp"])
        if not data["execution_id"]:
            raise ValueError("it has no execution_id")
        return Execution(
            client_order_id=order.client_order_id,
            executed_at=at,
            filled_after=order.filled_qty,
            fill=Fill(
                execution_id=str(data["execution_id"]),
                symbol=order.symbol,
                side=order.side,
                qty=decimal_of(data["qty"]),
                price=decimal_of(data["price"]),
                fee=decimal_of("0"),
                session=session_of(at, calendar),
            ),
        )


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, not {type(value).__name__}")
    return value
