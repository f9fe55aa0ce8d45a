"""A broker in memory that behaves as badly as real ones: it is outside the machine, so it is made up.

It keeps the truth the checks are made against: what arrived, what was accepted, what was executed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution, require_cover
from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.cash import CashActivity, CashBalance
from trading_pipeline.core.orders.model import OrderIntent, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.restating import Restatement
from trading_pipeline.core.risk.clearance import Clearance
from trading_pipeline.errors import OrderRejected, SessionNotTradable

PRICE = Decimal(100)
MOVE = Decimal(8)


@dataclass
class VenueOrder:
    """One order as the venue holds it."""

    client_order_id: str
    symbol: str
    side: Side
    qty: int
    ours: bool = True
    state: OrderState = OrderState.ACCEPTED
    filled: int = 0
    paid: Decimal = Decimal(0)
    hidden_looks: int = 0
    irregular: bool = False
    """It arrived late or was overfilled: its exposure is not what was cleared."""
    parent_id: str | None = None
    number: int = 0
    """Whose slice it is, and which."""

    @property
    def working(self) -> bool:
        """True while more of it may fill."""
        return not self.state.terminal

    def reported(self) -> BrokerOrder:
        """Return it as the broker reports it."""
        return BrokerOrder(
            client_order_id=self.client_order_id,
            broker_order_id=f"v-{self.client_order_id}",
            symbol=self.symbol,
            side=self.side,
            qty=Decimal(self.qty),
            state=self.state,
            filled_qty=Decimal(self.filled),
            average_price=round(self.paid / self.filled, 6) if self.filled else None,
        )


@dataclass
class Venue:
    """Implements `Broker`. Events may be hidden for some looks, repeated and out of order."""

    session: date
    traded: date
    """The session its executions are of: orders decided from `session` work in it."""
    name: str = "venue"
    real_time: bool = True
    crosses_zero: bool = True
    price: Decimal = PRICE
    lowest: Decimal = PRICE
    """No order was judged at less."""
    orders: dict[str, VenueOrder] = field(default_factory=dict)
    executed: list[Execution] = field(default_factory=list)
    in_transit: list[OrderIntent] = field(default_factory=list)
    """Orders whose sender has given up on the answer; they may arrive yet."""
    hidden: dict[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    """Executions nobody is ever told of: they show in the figures of their orders alone."""
    scramble: bool = False
    resent: list[str] = field(default_factory=list)
    """Orders that were sent again though the venue had them: nobody who looked would have."""
    may_repeat: set[str] = field(default_factory=set)
    on_the_way: set[str] = field(default_factory=set)
    """Orders that passed the last check and have not arrived; their rows are locked."""
    in_doubt: set[str] = field(default_factory=set)
    """Orders that were on their way when PostgreSQL died, and the lock on their rows too: others may send them."""

    @property
    def current_session(self) -> date | None:
        """The session orders are taken for."""
        return self.session

    def advance(self, session: date) -> None:
        """Do nothing: its time is real."""

    def require_tradable(self, session: date) -> None:
        """Take orders of one session only."""
        if session != self.session:
            raise SessionNotTradable(f"the venue trades {self.session}, not {session}")

    def submit(self, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Take an order; a known id is answered with its order."""
        require_cover(intent, clearance)
        if intent.session != self.session:
            raise OrderRejected("the session is over")
        return self.arrive(intent).reported()

    def arrive(self, intent: OrderIntent, *, late: bool = False) -> VenueOrder:
        """Accept what reaches the venue."""
        order_id = intent.client_order_id
        late = late or order_id in self.in_doubt
        known = self.orders.get(order_id)
        if known is not None:
            if not late and order_id not in self.may_repeat:
                self.resent.append(order_id)
            return known
        taken = VenueOrder(order_id, intent.symbol, intent.side, intent.qty, irregular=late)
        taken.parent_id, taken.number = intent.parent_id, intent.repeat
        self.orders[order_id] = taken
        return taken

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """Show an order, unless it takes its time to become visible."""
        known = self.orders.get(client_order_id)
        if known is None:
            return None
        if known.hidden_looks:
            known.hidden_looks -= 1
            return None
        return known.reported()

    def open_orders(self) -> list[BrokerOrder]:
        """Return what works here."""
        return [order.reported() for order in self.orders.values() if order.working and not order.hidden_looks]

    def cancel(self, client_order_id: str) -> BrokerOrder | None:
        """Cancel what works."""
        known = self.orders.get(client_order_id)
        if known is None or known.hidden_looks:
            return self.find(client_order_id)
        if known.working:
            known.state = OrderState.CANCELED
        return known.reported()

    def executions(self, client_order_ids: Sequence[str]) -> list[Execution]:
        """Return executions: some not yet, some twice, some out of order."""
        wanted = set(client_order_ids)
        shown = []
        for one in self.executed:
            if one.client_order_id not in wanted or one.fill.execution_id in self.lost:
                continue
            if self.hidden.get(one.fill.execution_id, 0):
                self.hidden[one.fill.execution_id] -= 1
            else:
                shown.append(one)
        return [*reversed(shown), *shown] if self.scramble else shown

    def positions(self) -> dict[str, Decimal]:
        """Return what our executions add up to."""
        held: dict[str, Decimal] = {}
        for one in self.executed:
            held[one.fill.symbol] = held.get(one.fill.symbol, Decimal(0)) + one.fill.qty * one.fill.side.sign
        return {symbol: qty for symbol, qty in held.items() if qty}

    def cash(self) -> CashBalance:
        """Return what our executions cost and brought."""
        moved = (one.fill.signed_qty * one.fill.price for one in self.executed)
        return CashBalance(cash=-sum(moved, Decimal(0)))

    def restate(self, action: Restatement) -> None:
        """Do nothing: no action is told here."""

    def cash_activities(self, since: date) -> list[CashActivity]:
        """Return none: nothing else moves cash here."""
        del since
        return []

    def fill(self, order: VenueOrder, qty: int, *, hidden_looks: int = 0, lost: bool = False) -> None:
        """Execute part of an order, whatever its state."""
        execution_id = f"{self.name}-{len(self.executed)}"
        price = self.price + len(self.executed) % 3
        order.filled += qty
        order.paid += qty * price
        if not order.state.terminal:
            order.state = OrderState.FILLED if order.filled >= order.qty else OrderState.PARTIALLY_FILLED
        if hidden_looks:
            self.hidden[execution_id] = hidden_looks
        if lost:
            self.lost.add(execution_id)
        fill = Fill(
            execution_id=execution_id,
            symbol=order.symbol,
            side=order.side,
            qty=Decimal(qty),
            price=price,
            fee=Decimal(0),
            session=self.traded,
        )
        at = datetime(2023, 9, 5, 14, tzinfo=UTC)
        self.executed.append(Execution(client_order_id=order.client_order_id, fill=fill, executed_at=at))

    def move(self, by: Decimal) -> None:
        """Let the market move."""
        self.price += by
        self.lowest = min(self.lowest, self.price)

    def irregular(self) -> set[str]:
        """Return the symbols of which something came late or too much, which no clearance could foresee."""
        return {order.symbol for order in self.orders.values() if order.irregular}

    def is_irregular(self, client_order_id: str) -> bool:
        """Tell whether an order came late or was filled too much."""
        return client_order_id in self.orders and self.orders[client_order_id].irregular

    def exposure(self, *, without: str = "") -> dict[str, tuple[int, int, int]]:
        """Return position, working buys and working sells of our orders by symbol, in whole shares, without one."""
        positions = self.positions()
        symbols = {order.symbol for order in self.orders.values()} | set(positions)
        mine = [one for one in self.orders.values() if one.ours and one.working and one.client_order_id != without]

        def working(symbol: str, side: Side) -> int:
            return sum(max(one.qty - one.filled, 0) for one in mine if (one.symbol, one.side) == (symbol, side))

        return {
            symbol: (int(positions.get(symbol, 0)), working(symbol, Side.BUY), working(symbol, Side.SELL))
            for symbol in symbols
        }

    def close(self, following: date) -> None:
        """End the session: what still works expires, nothing is hidden any more, nothing arrives any more."""
        for order in self.orders.values():
            order.hidden_looks = 0
            if order.working:
                order.state = OrderState.EXPIRED
        self.hidden.clear()
        self.in_transit.clear()
        self.session = following
