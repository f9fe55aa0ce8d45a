"""What Alpaca knows of our orders: pages of orders and executions, and who is who by both kinds of id."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from trading_pipeline.adapters.alpaca.transport import AlpacaReader
from trading_pipeline.adapters.broker.alpaca.documents import (
    broker_order,
    executed_at,
    execution,
    shares_of,
    submitted_at,
)
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
READ_SECONDS: Final = 600.0
"""How long executions that were read stand, and only what came after them is asked for. What Alpaca corrects in the
meantime is found by the first reading after it: the tie-out of a session comes with a process of its own."""
_NOT_FOUND: Final = 404
_NO_ORDER: Final = 40410000
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What never changes about an order: the broker's id and when it got it."""

    broker_order_id: str
    submitted_at: datetime


@dataclass(slots=True, kw_only=True)
class Read:
    """FILL activities that were read: all from an instant on, by id, in the order of the answers."""

    since: datetime
    at: float
    newest: datetime
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    last_id: str = ""


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
        self._filled: dict[str, Decimal] = {}
        self._listed: dict[str, BrokerOrder] = {}
        self._listed_at = float("-inf")
        self._listing_took = 1
        self._read: Read | None = None

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
        return [self._learn(document) for page in self._pages("open", None) for document in page][::-1]

    def find_many(self, client_order_ids: Collection[str]) -> dict[str, BrokerOrder]:
        """Return these orders as they are now, those that Alpaca has none of left out.

        The pages of orders answer for most at 500 a request; who is not on them is looked up, for only that proves an
        absence. Fewer orders than pages were read last are looked up at once.
        """
        wanted = set(client_order_ids)
        found: dict[str, BrokerOrder] = {}
        if len(wanted) > self._listing_took:
            self._list(wanted)
            found = {one: self._listed[one] for one in wanted & self._listed.keys()}
        for order_id in sorted(wanted - found.keys()):
            if (order := self.look_up(order_id)) is not None:
                found[order_id] = order
        return found

    def executions(self, client_order_ids: Collection[str]) -> list[Execution]:
        """Return the executions of these orders in the order they happened.

        Within a millisecond Alpaca does not keep that order: what an order had got in all tells it.
        """
        known = self._resolve(client_order_ids)
        if not known:
            return []
        by_broker_id = {one.broker_order_id: order_id for order_id, one in known.items()}
        since = min(one.submitted_at for one in known.values()) - timedelta(seconds=1)
        rows = self._fills(since, by_broker_id)
        found = [execution(row, by_broker_id[row["order_id"]], self._calendar) for row in rows]
        return sorted(found, key=lambda one: (one.executed_at, one.filled_after or 0))

    def forget(self) -> None:
        """Let nothing that was listed before stand for a look-up: something was changed."""
        self._listed_at = float("-inf")

    def _resolve(self, client_order_ids: Collection[str]) -> dict[str, Known]:
        """Find out who is who; what is known of it never changes."""
        if unknown := set(client_order_ids) - self._known.keys():
            self.find_many(unknown)
        return {one: self._known[one] for one in client_order_ids if one in self._known}

    def _list(self, wanted: Collection[str]) -> None:
        """List the orders of the last days, newest first, until all that are wanted were seen."""
        asked, missing = self._monotonic(), set(wanted)
        self._listed, self._listed_at, self._listing_took = {}, asked, 0
        for page in self._pages("all", self._clock.now() - LOOK_BACK):
            self._listing_took += 1
            for one in map(self._learn, page):
                # The newest of an id comes first, and is the one that a look-up gives.
                self._listed.setdefault(one.client_order_id, one)
            missing -= self._listed.keys()
            if not missing:
                return

    def _learn(self, document: Mapping[str, Any]) -> BrokerOrder:
        order = broker_order(document)
        if order.client_order_id not in self._known:
            self._known[order.client_order_id] = Known(
                broker_order_id=order.broker_order_id, submitted_at=submitted_at(document)
            )
        self._filled[order.broker_order_id] = order.filled_qty
        return order

    def _pages(self, status: str, after: datetime | None) -> Iterator[list[dict[str, Any]]]:
        """Read orders newest first, page by page. Pages overlap by one instant, for many orders may share it."""
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
            yield new
            if not page:
                return
            if not new:
                if until is not None and len(page) >= PAGE:
                    raise TransientError(f"more than {PAGE} orders share the instant {until.isoformat()}")
                return
            seen |= {str(one.get("id")) for one in new}
            until = min(map(submitted_at, page)) + _MICROSECOND

    def _fills(self, since: datetime, orders: Collection[str]) -> list[dict[str, Any]]:
        """Return the activities of these orders of Alpaca's, as few pages as it takes.

        What was read a moment ago stands, and only what follows is asked for. That may leave out an activity that
        appeared late, before others of its time: so what is there must add up to the shares that the orders were last
        reported to have filled, or all from `since` on is read anew.
        """
        read, now = self._read, self._monotonic()
        if read is None or not read.since <= since <= read.newest or now - read.at > READ_SECONDS:
            self._read = read = Read(since=since, at=now, newest=since)
        whole = not read.rows
        self._read_on(read, read.since, read.last_id)
        rows = _of(read, orders)
        if not whole and self._short(rows, orders):
            self._read_on(read, since, "")
            rows = _of(read, orders)
        return rows

    def _read_on(self, read: Read, since: datetime, token: str) -> None:
        asked: dict[str, str | int] = {
            "after": since.astimezone(UTC).isoformat(),
            "direction": "asc",
            "page_size": FILLS_PAGE,
        }
        while True:
            page = self._reader.get_list("/account/activities/FILL", asked | ({"page_token": token} if token else {}))
            read.rows |= {str(row.get("id")): row for row in page}
            following = str(page[-1].get("id")) if page else ""
            if not page or following == token:
                break
            read.newest, token = max(read.newest, executed_at(page[-1])), following
        read.last_id = token or read.last_id

    def _short(self, rows: Collection[Mapping[str, Any]], orders: Collection[str]) -> bool:
        shown: defaultdict[str, Decimal] = defaultdict(Decimal)
        for row in rows:
            shown[row["order_id"]] += shares_of(row)
        return any(shown[one] < self._filled.get(one, 0) for one in orders)


def _of(read: Read, orders: Collection[str]) -> list[dict[str, Any]]:
    return [row for row in read.rows.values() if row.get("order_id") in orders]


def _says_absent(refused: DataQualityError) -> bool:
    fields = refused.fields
    return (fields.get("status"), fields.get("code")) == (_NOT_FOUND, _NO_ORDER) and "order not found" in str(
        refused
    ).lower()
