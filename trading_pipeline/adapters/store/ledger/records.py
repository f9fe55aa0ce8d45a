"""Rows of the ledger as frozen values."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from trading_pipeline.core.money import to_ticks
from trading_pipeline.core.orders.model import OrderIntent, OrderType, Purpose, ReferencePrice, Side, TimeInForce
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import judged_ticks
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch
from trading_pipeline.core.risk.limits import LimitSet, RiskLimits

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRecord:
    """What the ledger knows of the risk book of an account. Epoch 0: the book was never initialised."""

    account: str
    epoch: int = 0
    follows: int = 0
    """The epoch before the change that this record is the outcome of; `epoch` itself when nothing was changed."""
    confirmed_epoch: int = 0
    """The newest epoch the Redis book was seen in; older than `epoch` where nobody saw it take a change."""
    high_sequence: int = 0
    kill_switch: KillSwitch = KillSwitch.DISENGAGED
    breaker: Breaker = Breaker.OPEN
    kill_switch_reason: str = ""
    breaker_reason: str = ""
    quiet_until: datetime | None = None
    gate: Gate = Gate.CLOSED
    gate_reason: str = ""
    limits: RiskLimits = field(default_factory=RiskLimits)
    """The account's limits as they bound when the record was read."""
    limit_set: LimitSet = field(default_factory=lambda: LimitSet(limits=RiskLimits()))
    """What they follow from: limits that stay, symbols' own, and those that expire."""
    read_at: datetime = _NEVER
    """The ledger's clock as it was read."""
    stale: str = ""
    """Why the Redis book could not follow the last change; empty when it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """An intent about to be recorded, with what caused it."""

    intent: OrderIntent
    origin: dict[str, Any] = field(default_factory=dict)
    replaces: str | None = None
    """The client order id of the order whose place it is to take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Signed shares of one symbol: held, and still to fill at the broker."""

    position: Decimal
    pending: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """An order as the ledger holds it. Quantities are shares, money is dollars.

    Orders that replace one another are a chain. The quantity of each is the total of the chain: `carried_qty` shares of
    it were filled by the orders before it.
    """

    intent: OrderIntent
    client_order_id: str
    payload_digest: str
    state: OrderState
    reason: str
    broker_order_id: str | None
    filled_qty: Decimal
    filled_notional: Decimal
    guard_sequence: int | None
    fence: int
    cancel_requested_at: datetime | None
    origin: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    replaces: str | None = None
    chain: str | None = None
    place: int = 0
    carried_qty: Decimal = Decimal(0)
    judged_price: Decimal | None = None
    """Dollars a share the guard judged it at; None: never cleared, or by a release that did not record it."""

    @property
    def remaining(self) -> Decimal:
        """Shares not yet filled."""
        return Decimal(self.intent.qty) - self.carried_qty - self.filled_qty

    @property
    def judged_ticks(self) -> int:
        """The price whose exposure it holds, 1/10,000 dollar a share; where none was recorded, what it came with."""
        return judged_ticks(self.intent) if self.judged_price is None else to_ticks(self.judged_price)

    @property
    def holder(self) -> str:
        """The id under which the guard holds its reservation: that of the first order of its chain."""
        return self.chain or self.client_order_id

    @property
    def average_fill_price(self) -> Decimal | None:
        """Dollars a share over all fills; None before the first."""
        return self.filled_notional / self.filled_qty if self.filled_qty else None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "OrderRecord":
        """Build the record from a row of `ledger.orders`."""
        intent = OrderIntent(
            account=row["account"],
            strategy_id=row["strategy_id"],
            session=_date(row["session"]),
            trade_session=_date(row["trade_session"]),
            symbol=row["symbol"],
            side=Side(row["side"]),
            qty=int(row["qty"]),
            reference=ReferencePrice(
                price=row["reference_price"],
                source=row["reference_source"],
                as_of=row["reference_as_of"],
            ),
            order_type=OrderType(row["order_type"]),
            time_in_force=TimeInForce(row["time_in_force"]),
            limit_price=row["limit_price"],
            stop_price=row["stop_price"],
            purpose=Purpose(row["purpose"]),
            repeat=row["repeat"],
            parent_id=row["parent_id"],
        )
        return cls(
            intent=intent,
            client_order_id=row["client_order_id"],
            payload_digest=row["payload_digest"],
            state=OrderState(row["state"]),
            reason=row["reason"],
            broker_order_id=row["broker_order_id"],
            filled_qty=row["filled_qty"],
            filled_notional=row["filled_notional"],
            guard_sequence=row["guard_sequence"],
            fence=row["fence"],
            cancel_requested_at=row["cancel_requested_at"],
            origin=row["origin"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            replaces=row["replaces"],
            chain=row["chain"],
            place=row["place"],
            carried_qty=row["carried_qty"],
            judged_price=row["judged_price"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an order stood when it was read: what was filled, shares and dollars, and what tells that it changed."""

    filled_qty: Decimal
    filled_notional: Decimal
    state: OrderState
    fence: int
    cancel_requested_at: datetime | None
    updated_at: datetime

    def is_still(self, order: OrderRecord) -> bool:
        """Tell whether the order was neither sent, nor moved, nor filled, nor asked to be cancelled since."""
        return self == Standing(
            filled_qty=order.filled_qty,
            filled_notional=order.filled_notional,
            state=order.state,
            fence=order.fence,
            cancel_requested_at=order.cancel_requested_at,
            updated_at=order.updated_at,
        )


def _date(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value
