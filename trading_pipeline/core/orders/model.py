"""What an order is: a frozen intent, its vocabulary, and the digest that tells two payloads apart."""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from trading_pipeline.core.orders.ids import client_order_id, price_text


class Side(StrEnum):
    """Direction of an order."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """How the order is priced."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"


class TimeInForce(StrEnum):
    """How long the order lives."""

    DAY = "day"
    GTC = "gtc"
    OPG = "opg"
    CLS = "cls"
    IOC = "ioc"
    FOK = "fok"


class Purpose(StrEnum):
    """Why the order exists."""

    REBALANCE = "rebalance"
    FLATTEN = "flatten"
    SLICE = "slice"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePrice:
    """The price an order was sized and judged at: dollars, where it came from, and the instant (UTC) it was true."""

    price: Decimal
    source: str
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderIntent:
    """One order we mean to have at the broker. `qty` is whole shares, prices are dollars.

    `session` is the session decided from; `trade_session` the one the order works in. A slice of a larger order names
    its parent, and `repeat` is its number there, from 1.

    Raises:
        ValueError: quantity not a positive whole number, prices that do not fit the type, or a slice without a parent.
    """

    account: str
    strategy_id: str
    session: date
    trade_session: date
    symbol: str
    side: Side
    qty: int
    reference: ReferencePrice
    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.DAY
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    purpose: Purpose = Purpose.REBALANCE
    repeat: int = 0
    parent_id: str | None = None

    def __post_init__(self) -> None:
        if type(self.qty) is not int or self.qty <= 0:
            msg = f"{self.symbol}: quantity must be a positive whole number of shares, not {self.qty!r}"
            raise ValueError(msg)
        wants_limit = self.order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        wants_stop = self.order_type in (OrderType.STOP, OrderType.STOP_LIMIT)
        if wants_limit != (self.limit_price is not None) or wants_stop != (self.stop_price is not None):
            prices = f"limit {self.limit_price} and stop {self.stop_price}"
            msg = f"{self.symbol}: a {self.order_type} order does not fit {prices}"
            raise ValueError(msg)
        is_slice = self.purpose is Purpose.SLICE
        if is_slice != (self.parent_id is not None) or (is_slice and self.repeat < 1):
            msg = f"{self.symbol}: a slice has a parent and a number from 1, and nothing else has a parent"
            raise ValueError(msg)

    @property
    def client_order_id(self) -> str:
        """The deterministic id: same intent, same id, on any machine and any retry."""
        return client_order_id(
            symbol=self.symbol,
            side=self.side,
            qty=self.qty,
            limit_price=self.limit_price,
            stop_price=self.stop_price,
            order_type=self.order_type,
            time_in_force=self.time_in_force,
            strategy_id=self.strategy_id,
            trade_date=self.trade_session,
            repeat=self.repeat,
            parent_id=self.parent_id,
        )

    @property
    def payload_digest(self) -> str:
        """SHA-256 (hex) over everything the broker or the guard would act on. The reference price is not part of it."""
        parts = (
            self.account,
            self.strategy_id,
            self.symbol,
            self.side,
            self.qty,
            self.order_type,
            self.time_in_force,
            price_text(self.limit_price),
            price_text(self.stop_price),
            self.trade_session,
            self.purpose,
            self.repeat,
            *(() if self.parent_id is None else (self.parent_id,)),
        )
        return hashlib.sha256("|".join(str(part) for part in parts).encode()).hexdigest()
