"""What Alpaca knows of our orders: pages of orders and executions, and who is who by both kinds of id."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from trading_pipeline.adapters.alpaca.transport import AlpacaReader
from trading_pipeline.adapters.broker.alpaca.documents import broker_order, execution, sequence_of, submitted_at
from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import DataQualityError, TransientError

PAGE: Final = 500
FILLS_PAGE: Final = 100
LOOK_BACK: Final = timedelta(days=10)
"""How far back orders are listed; an older one is looked up by its id."""
FRESH_SECONDS: Final = 3.0
"""How long a listed order stands for a look-up of it. Alpaca's own reads lag behind by more."""
ENDED_SECONDS: Final = 120.0
"""The same for an order that was listed as over: nothing more becomes of it, and many look-ups take minutes."""
_NOT_FOUND: Final = 404
_NO_ORDER: Final = 40410000
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What never changes about an order: the broker's id and when it got it."""

    broker_order_id: str
    submitted_at: datetime


class AlpacaOrders:
    """Reads orders and their executions, as few requests as it takes.

    Args:
        reader: reads of the trading API.
        calendar: for the sessions of executions.
        clock: our time, for how far to look back.
        monotonic: seconds that only grow, for the age of what was listed.
    """

    def __init__(
        self,
        reader: AlpacaReader,
        *,
        calendar: SessionCalendar,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader, self._calendar, self._clock, self._monotonic = reader, calendar, clock, monotonic
        self._known: dict[str, Known] = {}
        self._listed: dict[str, BrokerOrder] = {}
        self._listed_at = float("-inf")

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """Return an order, None when Alpaca says that it has none of this id.

        Only Alpaca's own word for it is an absence: a wrong URL, or a page of somebody in between, is an error.
        """
        listed = self._listed.get(client_order_id)
        if listed is not None:
            lasts = ENDED_SECONDS if listed.state.terminal else FRESH_SECONDS
            if self._monotonic() - self._listed_at < lasts:
                return listed
        return self.look_up(client_order_id)

    def look_up(self, client_order_id: str) -> BrokerOrder | None:
        """Ask for one order, whatever was listed before."""
        try:
            document = self._reader.get("/orders:by_client_order_id", {"client_order_id": client_order_id})
        except DataQualityError as refused:
            if _says_absent(refused):
                return None
            raise
        return self._learn(document)

    def of_id(self, broker_order_id: str) -> BrokerOrder | None:
        """Ask for one order by the id that Alpaca gave it, None when Alpaca says that it has none."""
        try:
            document = self._reader.get(f"/orders/{broker_order_id}", {})
        except DataQualityError as refused:
            if _says_absent(refused):
                return None
            raise
        return self._learn(document)

    def open(self) -> list[BrokerOrder]:
        """Return all working orders, oldest first."""
        return [broker_order(document) for document in self._pages("open", None)][::-1]

    def executions(self, client_order_ids: Collection[str]) -> list[Execution]:
        """Return the executions of these orders in the order they happened."""
        known = self._resolve(client_order_ids)
        if not known:
            return []
        by_broker_id = {one.broker_order_id: order_id for order_id, one in known.items()}
        since = min(one.submitted_at for one in known.values()) - timedelta(seconds=1)
        rows = [row for row in self._fills(since) if row.get("order_id") in by_broker_id]
        return [execution(row, by_broker_id[row["order_id"]], self._calendar) for row in sorted(rows, key=sequence_of)]

    def forget(self) -> None:
        """Let nothing that was listed before stand for a look-up: something was changed."""
        self._listed_at = float("-inf")

    def _resolve(self, client_order_ids: Collection[str]) -> dict[str, Known]:
        wanted = set(client_order_ids)
        if len(wanted) > 1:
            self._list()
        for order_id in sorted(wanted - set(self._known)):
            self.look_up(order_id)
        return {order_id: self._known[order_id] for order_id in wanted if order_id in self._known}

    def _list(self) -> None:
        """List all orders of the last days: one request for 500 instead of one each."""
        asked = self._monotonic()
        documents = list(self._pages("all", self._clock.now() - LOOK_BACK))
        self._listed = {one.client_order_id: one for one in map(self._learn, documents)}
        self._listed_at = asked

    def _learn(self, document: Mapping[str, Any]) -> BrokerOrder:
        order = broker_order(document)
        self._known[order.client_order_id] = Known(
            broker_order_id=order.broker_order_id, submitted_at=submitted_at(document)
        )
        return order

    def _pages(self, status: str, after: datetime | None) -> Iterator[dict[str, Any]]:
        """Read orders newest first. Pages overlap by one instant, for many orders may share it."""
        seen: set[str] = set()
        until: datetime | None = None
        while True:
            asked: dict[str, str | int] = {"status": status, "limit": PAGE, "direction": "desc"}
            if after is not None:
                asked["after"] = after.isoformat()
            if until is not None:
                asked["until"] = until.isoformat()
            page = self._reader.get_list("/orders", asked)
            new = [one for one in page if one.get("id") not in seen]
            yield from new
            if not page:
                return
            if not new:
                if until is not None and len(page) >= PAGE:
                    raise TransientError(f"more than {PAGE} orders share the instant {until.isoformat()}")
                return
            seen |= {str(one.get("id")) for one in new}
            until = min(map(submitted_at, page)) + _MICROSECOND

    def _fills(self, since: datetime) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            asked: dict[str, str | int] = {
                "after": since.astimezone(UTC).isoformat(),
                "direction": "asc",
                "page_size": FILLS_PAGE,
            }
            page = self._reader.get_list("/account/activities/FILL", asked | ({"page_token": token} if token else {}))
            yield from page
            following = str(page[-1].get("id")) if page else ""
            if not page or following == token:
                return
            token = following


def _says_absent(refused: DataQualityError) -> bool:
    fields = refused.fields
    return (fields.get("status"), fields.get("code")) == (_NOT_FOUND, _NO_ORDER) and "order not found" in str(
        refused
    ).lower()
