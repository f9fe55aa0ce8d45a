"""Alpaca's JSON and our words for it: exact decimals both ways, unknown statuses never an end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import structlog

from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution
from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.orders.model import OrderIntent, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import DataQualityError

_ENDS: Final = {
    "filled": OrderState.FILLED,
    "canceled": OrderState.CANCELED,
    "replaced": OrderState.REPLACED,
    "expired": OrderState.EXPIRED,
    "rejected": OrderState.REJECTED,
}
_WORKING: Final = frozenset(
    {
        "new",
        "accepted",
        "pending_new",
        "partially_filled",
        "accepted_for_bidding",
        "pending_cancel",
        "pending_replace",
        "done_for_day",
        "stopped",
        "suspended",
        "calculated",
        "held",
    }
)
_SIDES: Final = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}
_EXECUTION: Final = "::"

log = structlog.get_logger(__name__)


def order_body(intent: OrderIntent) -> dict[str, str | bool]:
    """Write an intent as the body of an order: every quantity and price as its exact decimal text."""
    body: dict[str, str | bool] = {
        "client_order_id": intent.client_order_id,
        "symbol": intent.symbol,
        "side": intent.side.value,
        "qty": str(intent.qty),
        "type": intent.order_type.value,
        "time_in_force": intent.time_in_force.value,
        "extended_hours": False,
    }
    for name, price in (("limit_price", intent.limit_price), ("stop_price", intent.stop_price)):
        if price is not None:
            body[name] = f"{price:f}"
    return body


def replacement_body(intent: OrderIntent) -> dict[str, str | bool]:
    """Write what a replacement asks for: all that may be changed, its quantity the total with what is filled."""
    kept = ("client_order_id", "qty", "time_in_force", "limit_price", "stop_price")
    return {name: value for name, value in order_body(intent).items() if name in kept}


def broker_order(document: Mapping[str, Any]) -> BrokerOrder:
    """Read an order.

    A status that is not known counts as working, for only a known end may free what an order holds.

    Raises:
        DataQualityError: a field is missing or is not what it should be.
    """
    with readable("an order"):
        status, filled = str(document["status"]), decimal_of(document["filled_qty"] or "0")
        order = BrokerOrder(
            client_order_id=str(document["client_order_id"]),
            broker_order_id=str(document["id"]),
            symbol=str(document["symbol"]),
            side=_SIDES[document["side"]],
            qty=decimal_of(document["qty"] if document.get("qty") is not None else document["filled_qty"]),
            state=_state(status, filled),
            filled_qty=filled,
            average_price=decimal_of(document["filled_avg_price"]) if document.get("filled_avg_price") else None,
            reason=_reason(document, status),
            replaced_by=str(document["replaced_by"]) if document.get("replaced_by") else None,
        )
    if status not in _WORKING and status not in _ENDS:
        log.warning("an order status that is not known", status=status, client_order_id=order.client_order_id)
    return order


def execution(activity: Mapping[str, Any], client_order_id: str, calendar: SessionCalendar) -> Execution:
    """Read a FILL activity. Its own id is the part behind the time; Alpaca charges no commission.

    Raises:
        DataQualityError: a field is missing or is not what it should be.
    """
    with readable("an execution"):
        at = instant_of(activity["transaction_time"])
        return Execution(
            client_order_id=client_order_id,
            executed_at=at,
            filled_after=decimal_of(activity["cum_qty"]),
            fill=Fill(
                execution_id=str(activity["id"]).rpartition(_EXECUTION)[2],
                symbol=str(activity["symbol"]),
                side=_SIDES[activity["side"]],
                qty=decimal_of(activity["qty"]),
                price=decimal_of(activity["price"]),
                fee=Decimal(0),
                session=session_of(at, calendar),
            ),
        )


def executed_at(activity: Mapping[str, Any]) -> datetime:
    """Return the instant (UTC) of a FILL activity; raises DataQualityError when it does not say."""
    with readable("an execution"):
        return instant_of(activity["transaction_time"])


def shares_of(activity: Mapping[str, Any]) -> Decimal:
    """Return the shares of a FILL activity; raises DataQualityError when it does not say."""
    with readable("an execution"):
        return decimal_of(activity["qty"])


def submitted_at(document: Mapping[str, Any]) -> datetime:
    """Return when Alpaca got an order (UTC); raises DataQualityError when it does not say."""
    with readable("an order"):
        return instant_of(document["submitted_at"] or document["created_at"])


def signed_shares(document: Mapping[str, Any]) -> tuple[str, Decimal]:
    """Return symbol and signed shares of a position; raises DataQualityError when it cannot be read."""
    with readable("a position"):
        qty = abs(decimal_of(document["qty"]))
        return str(document["symbol"]), {"long": qty, "short": -qty}[document["side"]]


def decimal_of(text: object) -> Decimal:
    """Read a decimal that Alpaca writes as text.

    Raises:
        TypeError: it is not text: a JSON number has been a float already.
        InvalidOperation: it is no decimal.
        ValueError: it is not finite.
    """
    if not isinstance(text, str):
        msg = f"a decimal must be text, not {type(text).__name__} {text!r}"
        raise TypeError(msg)
    value = Decimal(text)
    if not value.is_finite():
        msg = f"{text} is not finite"
        raise ValueError(msg)
    return value


def instant_of(text: object) -> datetime:
    """Read an instant (UTC). Digits beyond the microsecond are cut.

    Raises:
        ValueError: it is no instant, or has no time zone.
    """
    at = datetime.fromisoformat(str(text))
    if at.utcoffset() is None:
        msg = f"{text} has no time zone"
        raise ValueError(msg)
    return at.astimezone(UTC)


def session_of(at: datetime, calendar: SessionCalendar) -> date:
    """Return the session an execution belongs to: the one of its day in New York, on other days the next one."""
    day = at.astimezone(calendar.zone).date()
    while not calendar.is_session(day) and day <= calendar.last_day:
        day += timedelta(days=1)
    return calendar.require(day)


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what reading a document raises into DataQualityError that names what could not be read."""
    try:
        yield
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise DataQualityError(f"{what} of Alpaca cannot be read: {type(error).__name__}: {error}") from error


def _state(status: str, filled: Decimal) -> OrderState:
    return _ENDS.get(status) or (OrderState.PARTIALLY_FILLED if filled else OrderState.ACCEPTED)


def _reason(document: Mapping[str, Any], status: str) -> str:
    if status == "replaced":
        return f"replaced by {document.get('replaced_by') or 'another order'}"
    return status
