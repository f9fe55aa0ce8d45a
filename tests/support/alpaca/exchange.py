"""An Alpaca account in memory: orders, executions, positions and money, filled only when the test says so."""

import copy
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from trading_pipeline.core.sessions import SessionCalendar, xnys

ACCOUNT_ID = "e6fe16f3-64a4-4921-8928-cadf02f92f98"
ZERO = Decimal(0)
WORKING = frozenset({"new", "accepted", "pending_new", "partially_filled", "pending_cancel", "pending_replace", "held"})
SURFACES = ("orders", "activities", "positions", "account")
"""What is read apart, and may be out of step."""
Payload = tuple[str | None, ...]


@dataclass(kw_only=True)
class PaperOrder:
    """One order as the account holds it: dollars and shares are exact, instants aware."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    qty: Decimal
    type: str
    time_in_force: str
    submitted_at: datetime
    status: str
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    extended_hours: bool = False
    filled_qty: Decimal = ZERO
    paid: Decimal = ZERO
    ended_at: datetime | None = None
    updated_at: datetime | None = None
    replaced_by: str | None = None
    replaces: str | None = None

    @property
    def working(self) -> bool:
        """True while it can still be filled, whatever strange name its status has."""
        return self.ended_at is None

    @property
    def remaining(self) -> Decimal:
        """Shares not filled."""
        return self.qty - self.filled_qty

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side == "buy" else -1


@dataclass(kw_only=True)
class PaperFill:
    """One execution."""

    id: str
    order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    at: datetime


@dataclass(kw_only=True)
class PaperActivity:
    """One movement of cash beside fills: `amount` as Alpaca writes it, None of one that moves no money."""

    id: str
    type: str
    amount: Decimal | None
    day: date
    posted_at: datetime
    symbol: str | None = None
    status: str = "executed"


@dataclass(kw_only=True)
class Books:
    """What reads show; copied when reads lag behind."""

    orders: dict[str, PaperOrder] = field(default_factory=dict)
    fills: list[PaperFill] = field(default_factory=list)
    activities: list[PaperActivity] = field(default_factory=list)
    cash: Decimal = ZERO
    accrued_fees: Decimal = ZERO
    restated: dict[str, Decimal] = field(default_factory=dict)


@dataclass(kw_only=True)
class Asset:
    """What may be done with a symbol."""

    tradable: bool = True
    shortable: bool = True
    easy_to_borrow: bool = True
    fractionable: bool = True
    asset_class: str = "us_equity"


class PaperExchange:
    """The account's state with a lock around it; tests fill, cancel, hide and break things through its methods.

    Args:
        now: the server's time; `clock_offset` is added to what it tells others.
        prices: what one share of each symbol costs; a symbol without a price is no asset.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        prices: dict[str, Decimal] | None = None,
        cash: Decimal = Decimal(1_000_000),
        calendar: SessionCalendar | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.now = now
        self.calendar = calendar or xnys()
        self.prices = prices or {}
        self.assets = {symbol: Asset() for symbol in self.prices}
        self.account_id = ACCOUNT_ID
        self.account_number = "PA3XYZTEST01"
        self.account_status = "ACTIVE"
        self.flags: dict[str, bool] = {}
        self.clock_offset = timedelta(0)
        self.closed_all_day = False
        self.unique_ids = True
        self.largest_page = 500
        self.replaces_at_once = True
        self.counts_what_is_filled = True
        self.books = Books(cash=cash)
        self.repeats_rows = 0
        """How many rows of the page before each page of activities begins with."""
        self.accepted: list[PaperOrder] = []
        self._lagging: dict[str, tuple[Books, datetime | None]] = {}
        self.listeners: list[Callable[[str, PaperOrder, PaperFill | None], None]] = []

    @property
    def cash(self) -> Decimal:
        """What the account has, exactly: reads show whole cents."""
        return self.books.cash

    @cash.setter
    def cash(self, dollars: Decimal) -> None:
        self.books.cash = dollars

    def post(
        self,
        activity_type: str,
        amount: Decimal | None,
        *,
        day: date | None = None,
        symbol: str | None = None,
        moves_cash: bool = True,
    ) -> PaperActivity:
        """Post an activity of a day, today unless told otherwise; fees and deposits move the cash with it."""
        with self.lock:
            at = self.now()
            local = at.astimezone(self.calendar.zone)
            posted = PaperActivity(
                id=f"{local:%Y%m%d%H%M%S}{len(self.books.activities):03d}::{uuid.uuid4()}",
                type=activity_type,
                amount=amount,
                day=day or local.date(),
                posted_at=at,
                symbol=symbol,
            )
            self.books.activities.append(posted)
            if moves_cash and amount is not None:
                self.books.cash += amount
            return posted

    def accrue(self, fees: Decimal) -> None:
        """Take fees from the cash before their activity is posted."""
        with self.lock:
            self.books.accrued_fees += fees
            self.books.cash -= fees

    def charge(self, *, day: date) -> PaperActivity:
        """Post the activity of all accrued fees."""
        with self.lock:
            accrued, self.books.accrued_fees = self.books.accrued_fees, ZERO
            return self.post("FEE", -accrued, day=day, moves_cash=False)

    def view(self, surface: str = "orders") -> Books:
        """Return what one kind of read shows now: the present, or the past while it lags."""
        books, until = self._lagging.get(surface, (self.books, None))
        return books if until is None or self.now() < until else self.books

    def lag(self, *surfaces: str, until: datetime | None = None) -> None:
        """Let reads show what is there now, from now on or until an instant: all of them, or `SURFACES` by name.

        Named alone, they are out of step with the others.
        """
        with self.lock:
            past = copy.deepcopy(self.books)
            self._lagging |= dict.fromkeys(surfaces or SURFACES, (past, until))

    def catch_up(self) -> None:
        """Let reads show the present again."""
        self._lagging = {}

    def accept(self, order: PaperOrder) -> None:
        """Take an order on."""
        self.books.orders[order.id] = order
        self.accepted.append(order)
        for event in ("pending_new", order.status):
            self.tell(event, order)

    def tell(self, event: str, order: PaperOrder, fill: PaperFill | None = None) -> None:
        """Tell whoever streams the account what happened."""
        for listener in self.listeners:
            listener(event, order, fill)

    def accepted_per_intent(self) -> Counter[Payload]:
        """Count accepted orders by what they ask for, whatever id they carry: the journal's answer to "ever twice?"."""
        return Counter(
            (order.symbol, order.side, str(order.qty), order.type, str(order.limit_price), str(order.stop_price))
            for order in self.accepted
            if order.replaces is None
        )

    def order(self, client_order_id: str) -> PaperOrder:
        """Return the newest order with this client order id."""
        return [one for one in self.books.orders.values() if one.client_order_id == client_order_id][-1]

    def positions(self, books: Books | None = None) -> dict[str, Decimal]:
        """Return signed shares by symbol, flat ones left out."""
        books = books or self.books
        held = dict(books.restated)
        for fill in books.fills:
            held[fill.symbol] = held.get(fill.symbol, ZERO) + (fill.qty if fill.side == "buy" else -fill.qty)
        return {symbol: qty for symbol, qty in held.items() if qty}

    def fill(self, client_order_id: str, qty: Decimal | int | None = None, price: Decimal | None = None) -> PaperFill:
        """Execute some of an order, all that is left unless told otherwise, at its symbol's price unless told."""
        with self.lock:
            order = self.order(client_order_id)
            return self.execute(
                order, order.remaining if qty is None else Decimal(qty), price or self.prices[order.symbol]
            )

    def fill_all(self) -> list[PaperFill]:
        """Execute whatever the prices allow: market orders, limits that are met, stops that are reached."""
        with self.lock:
            ready = [order for order in self.books.orders.values() if order.working and self._marketable(order)]
            return [self.execute(order, order.remaining, self.prices[order.symbol]) for order in ready]

    def buy_elsewhere(self, symbol: str, qty: Decimal) -> None:
        """Let a position appear that no order of this client explains; negative shares are sold."""
        with self.lock:
            side = "buy" if qty > 0 else "sell"
            order = self.new_order(symbol=symbol, side=side, qty=abs(qty), client_order_id=str(uuid.uuid4()))
            self.books.orders[order.id] = order
            self.execute(order, order.qty, self.prices[symbol])

    def restate(self, symbol: str, qty: Decimal | str, *, new_symbol: str = "") -> None:
        """Let a corporate action leave so many shares of a symbol, or of the new one; no order and no fill shows it."""
        with self.lock:
            present, to = self.positions(), new_symbol or symbol
            restated = self.books.restated
            if to != symbol:
                restated[symbol] = restated.get(symbol, ZERO) - present.get(symbol, ZERO)
            restated[to] = restated.get(to, ZERO) + Decimal(qty) - present.get(to, ZERO)

    def new_order(self, *, symbol: str, side: str, qty: Decimal, client_order_id: str, **more: Any) -> PaperOrder:
        """Make an order object of the present instant; `accept` takes it on."""
        opened = self.is_open()
        made = {"type": "market", "time_in_force": "day", "status": "new" if opened else "accepted"} | more
        return PaperOrder(
            id=str(uuid.uuid4()),
            client_order_id=client_order_id,
            symbol=symbol,
            side=side,
            qty=qty,
            submitted_at=self.now(),
            **made,
        )

    def end(self, client_order_id: str, status: str) -> None:
        """End an order: canceled, expired, rejected."""
        with self.lock:
            self.finish(self.order(client_order_id), status)

    def finish(self, order: PaperOrder, status: str) -> None:
        """End this order."""
        order.status, order.ended_at = status, self.now()
        order.updated_at = order.ended_at
        if status != "filled":
            self.tell(status, order)

    def replace_now(self, client_order_id: str) -> None:
        """Let an accepted replacement reach the venue: the old order is over, the new one works for the rest."""
        with self.lock:
            old = self.order(client_order_id)
            new = self.books.orders[old.replaced_by or ""]
            if self.counts_what_is_filled:
                new.qty -= old.filled_qty
            self.finish(old, "replaced")
            new.status = "new"
            self.tell("new", new)

    def close_session(self) -> None:
        """Expire what lives for the day."""
        with self.lock:
            for order in self.books.orders.values():
                if order.working and order.time_in_force != "gtc":
                    self.finish(order, "expired")

    def is_open(self) -> bool:
        """Tell whether the exchange is open, by the server's own calendar."""
        now = self.now()
        day = now.astimezone(self.calendar.zone).date()
        if self.closed_all_day or not self.calendar.is_session(day):
            return False
        return self.calendar.open_at(day) <= now < self.calendar.close_at(day)

    def _marketable(self, order: PaperOrder) -> bool:
        price = self.prices[order.symbol]
        if order.stop_price is not None and (price - order.stop_price) * order.sign < 0:
            return False
        return order.limit_price is None or (order.limit_price - price) * order.sign >= 0

    def execute(self, order: PaperOrder, qty: Decimal, price: Decimal) -> PaperFill:
        """Execute some of an order that is at hand; the caller holds the lock, or is alone."""
        order.filled_qty += qty
        order.paid += qty * price
        order.updated_at = self.now()
        self.books.cash -= qty * price * order.sign
        whole = order.filled_qty >= order.qty
        if whole:
            self.finish(order, "filled")
        elif order.working:
            order.status = "partially_filled"
        fill = PaperFill(
            id=str(uuid.uuid4()),
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            qty=qty,
            price=price,
            cum_qty=order.filled_qty,
            leaves_qty=max(order.remaining, ZERO),
            at=self.now().astimezone(UTC),
        )
        self.books.fills.append(fill)
        self.tell("fill" if whole else "partial_fill", order, fill)
        return fill
