"""What a broker is to this system. `submit` needs a clearance: there is no second door."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.cash import CashActivity, CashBalance
from trading_pipeline.core.executions import Executed
from trading_pipeline.core.orders.model import OrderIntent, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.restating import Restatement
from trading_pipeline.core.risk.clearance import Clearance


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOrder:
    """An order as the broker reports it. Shares; `reason` is the broker's own word.

    An order that is not ours (placed by hand, by another program) has the client order id the broker gave it.
    `average_price` is dollars a share over all that is filled: executions that are missing are inferred with it. None
    before the first fill, and where the broker does not tell.
    """

    client_order_id: str
    broker_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    state: OrderState
    filled_qty: Decimal
    average_price: Decimal | None = None
    reason: str = ""
    replaced_by: str | None = None
    """The broker's id of the order that took its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One fill as the broker reports it.

    `filled_after` is the shares of the order filled with it, it included; None where the broker does not tell. The ids
    of two sources may differ for one fill: this tells that it is one.
    """

    client_order_id: str
    fill: Fill
    executed_at: datetime
    filled_after: Decimal | None = None

    @property
    def executed(self) -> Executed:
        """The same in the words of the ledger."""
        return Executed(
            client_order_id=self.client_order_id,
            fill=self.fill,
            executed_at=self.executed_at,
            filled_after=self.filled_after,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeUpdate:
    """One event of a broker's stream: what happened, the order as it stood then, and the execution if it was one."""

    event: str
    at: datetime
    order: BrokerOrder
    execution: Execution | None = None


class Broker(Protocol):
    """A broker account."""

    @property
    def name(self) -> str:
        """What kind of broker this is, for people."""
        ...

    @property
    def real_time(self) -> bool:
        """True where the broker's time is the time of day; False where it stands at the close of a session."""
        ...

    @property
    def crosses_zero(self) -> bool:
        """True where one order may turn a long position into a short one or back."""
        ...

    @property
    def current_session(self) -> date | None:
        """The session orders may be decided from now; None when the broker has not traded yet."""
        ...

    def advance(self, session: date) -> None:
        """Bring the broker's own time to the close of a session. A no-op where the broker's time is real time."""
        ...

    def require_tradable(self, session: date) -> None:
        """Check that orders decided from this session may be sent now.

        Raises:
            SessionNotTradable: they may not; the message says why.
        """
        ...

    def await_turn(self, intent: OrderIntent, *, replaced_id: str | None = None, at_once: bool = False) -> None:
        """Wait until an order, or replacement of one, can leave without waiting for anything.

        What may take its time is done here: a place in a request limit, a look at the account. The last check of an
        order comes after it, so that nothing is waited for between that check and the order's departure.

        Raises:
            NotYet: its turn does not come soon, or, `at_once`, not now.
            TransientError: the broker did not answer.
            ConfigError, ClockUnreliable: the account takes no orders.
        """
        ...

    def submit(self, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Send one order; an id the broker has seen before is answered with the order it belongs to.

        Raises:
            PermissionError: the clearance is for another order.
            OrderRejected: refused for good.
            OrderStateUnknown: the answer was lost; the order may exist.
            TransientError: certainly not accepted; try later.
        """
        ...

    def require_replaceable(self, client_order_id: str) -> None:
        """Check that a working order may be replaced by another one now.

        Raises:
            OperatorError: it may not; the message says why, and when it is worth asking again.
            TransientError: the broker did not answer.
        """
        ...

    def replace(self, replaced_id: str, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Ask once that an order takes the place of a working one; return the new order.

        `intent.qty` is the total: what is filled of the old order counts toward it. An answer does not prove that the
        old order is over.

        Raises:
            PermissionError: the clearance is for another order.
            OrderRejected: refused for good; the old order is as it was.
            OrderStateUnknown: the answer was lost; the old order may have been replaced.
            TransientError: certainly not accepted; try later.
        """
        ...

    def find_replacement(self, replaced_id: str, client_order_id: str) -> BrokerOrder | None:
        """Return the order of this id that was to replace another one: by its id, or by what the old one says.

        Raises:
            TransientError: the old order was replaced, and the broker does not show by what yet.
        """
        ...

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """Return the broker's view of an order, None when it has never seen it."""
        ...

    def find_many(self, client_order_ids: Collection[str]) -> dict[str, BrokerOrder]:
        """Return the broker's view of these orders, asked for now; those it has never seen are left out."""
        ...

    def open_orders(self) -> list[BrokerOrder]:
        """Return every working order of the account at the broker, those that are not ours included."""
        ...

    def cancel(self, client_order_id: str) -> BrokerOrder | None:
        """Ask for the rest of an order to be cancelled and return what the broker then reports."""
        ...

    def executions(self, client_order_ids: Sequence[str]) -> list[Execution]:
        """Return every execution of these orders in the order they happened."""
        ...

    def positions(self) -> dict[str, Decimal]:
        """Return signed shares by symbol, flat ones left out."""
        ...

    def cash(self) -> CashBalance:
        """Return the cash of the account now, as it moves on the trade date."""
        ...

    def restate(self, action: Restatement) -> None:
        """Book a corporate action where nobody else does: at an exchange of simulated time. Once for each action."""
        ...

    def cash_activities(self, since: date) -> list[CashActivity]:
        """Return what moved cash beside fills from a day on, each once, in the order of the broker's answer.

        Raises:
            DataQualityError: one cannot be read; none is left out.
            TransientError: the broker did not answer.
        """
        ...


def require_cover(intent: OrderIntent, clearance: Clearance) -> None:
    """Check that a clearance was given for exactly this order; every broker calls this first.

    Raises:
        PermissionError: it was not.
    """
    if not clearance.covers(intent):
        msg = f"order {intent.client_order_id} was offered with a clearance for {clearance.client_order_id}"
        raise PermissionError(msg)
