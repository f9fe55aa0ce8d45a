"""The rules of the exchange and the broker that an order must keep, judged before it is sent; no rule asks anybody.

Times are those of New York: orders of an auction are taken from 19:00 of the evening before; for the opening one until
two minutes before the open, for the closing one until ten minutes before the close, which is early on half days.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from trading_pipeline.core.money import price_increment
from trading_pipeline.core.orders.model import OrderIntent, Side, TimeInForce
from trading_pipeline.core.sessions import SessionCalendar

AUCTIONS_OPEN: Final = time(19, 0)
OPENING_CUT: Final = timedelta(minutes=2)
CLOSING_CUT: Final = timedelta(minutes=10)
FARTHEST_LIMIT: Final = Decimal("0.1")
"""How far the limit of a stop limit may lie behind its stop, as a share of the stop."""
_AUCTIONS: Final = frozenset({TimeInForce.OPG, TimeInForce.CLS})
_IMMEDIATE: Final = frozenset({TimeInForce.IOC, TimeInForce.FOK})


class OrderRule(StrEnum):
    """What an order broke."""

    UNKNOWN_ASSET = "unknown_asset"
    NOT_TRADABLE = "not_tradable"
    SUB_PENNY = "sub_penny"
    LIMIT_OFF_ITS_STOP = "limit_off_its_stop"
    NO_STOPS_IN_AUCTIONS = "no_stops_in_auctions"
    CROSSES_ZERO = "crosses_zero"
    NOT_SHORTABLE = "not_shortable"
    OUTSIDE_WINDOW = "outside_window"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetFacts:
    """What the broker says may be done with a symbol."""

    tradable: bool
    shortable: bool
    easy_to_borrow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFacts:
    """What an order is judged by.

    Attributes:
        now: the instant it would be sent, aware.
        position: signed shares held at the broker.
        asset: None when the broker does not know the symbol.
        shorting_enabled: whether the account may be short at all.
    """

    now: datetime
    position: Decimal
    asset: AssetFacts | None
    shorting_enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRule:
    """One rule an order broke, in words."""

    rule: OrderRule
    message: str


def broken_rules(intent: OrderIntent, facts: OrderFacts, calendar: SessionCalendar) -> tuple[BrokenRule, ...]:
    """Return every rule the order breaks; none for an order that may be sent."""
    checks = (_asset(intent, facts), _prices(intent), _stop(intent), _zero(intent, facts), _short(intent, facts))
    return tuple(one for one in (*checks, _window(intent, facts.now, calendar)) if one is not None)


def split_at_zero(position: Decimal, change: int) -> tuple[int, int]:
    """Split a change of a position (signed shares) into what is sent now and what must wait until the position is flat.

    No order may turn a long into a short or back: the part that closes goes first. Of a fractional position only its
    whole shares can be closed.
    """
    if position * change >= 0 or abs(change) <= abs(position):
        return change, 0
    now = -int(position)
    return now, change - now


def first_leg(position: Decimal, pending: Decimal, change: int) -> int:
    """Return what of a change (signed shares) may be sent now to a broker that takes no order across zero.

    Nothing while orders of the other side are pending, and no more than closes what pending orders do not close yet.
    """
    if pending * change < 0:
        return 0
    if position * change >= 0:
        return change
    closable = int(max(abs(position) - abs(pending), Decimal(0)))
    return min(abs(change), closable) * (1 if change > 0 else -1)


def window(intent: OrderIntent, calendar: SessionCalendar) -> tuple[datetime, datetime]:
    """Return from when (included) until when (not included) an order of this kind is taken for its session, UTC."""
    session = intent.trade_session
    before = calendar.previous(session)
    opened, closed = calendar.open_at(session), calendar.close_at(session)
    evening = datetime.combine(before, AUCTIONS_OPEN, calendar.zone)
    if intent.time_in_force is TimeInForce.OPG:
        return evening, opened - OPENING_CUT
    if intent.time_in_force is TimeInForce.CLS:
        return evening, closed - CLOSING_CUT
    if intent.time_in_force in _IMMEDIATE:
        return opened, closed
    return calendar.close_at(before), closed


def _asset(intent: OrderIntent, facts: OrderFacts) -> BrokenRule | None:
    if facts.asset is None:
        return BrokenRule(rule=OrderRule.UNKNOWN_ASSET, message=f"the broker has no asset {intent.symbol}")
    if not facts.asset.tradable:
        return BrokenRule(rule=OrderRule.NOT_TRADABLE, message=f"{intent.symbol} is not tradable at the broker")
    return None


def _prices(intent: OrderIntent) -> BrokenRule | None:
    for name, price in (("limit", intent.limit_price), ("stop", intent.stop_price)):
        if price is None:
            continue
        tick = price_increment(price)
        if not price.is_finite() or price <= 0 or price % tick:
            return BrokenRule(
                rule=OrderRule.SUB_PENNY,
                message=f"the {name} price {price} is no multiple of its tick, ${tick}",
            )
    return None


def _stop(intent: OrderIntent) -> BrokenRule | None:
    """Judge a stop: none in an auction, and the limit behind it on its far side and within a tenth of it."""
    if intent.stop_price is None:
        return None
    if intent.time_in_force in _AUCTIONS:
        return BrokenRule(
            rule=OrderRule.NO_STOPS_IN_AUCTIONS,
            message=f"{intent.time_in_force} orders are market or limit orders: no auction takes stops",
        )
    if intent.limit_price is None:
        return None
    beyond = (intent.limit_price - intent.stop_price) * intent.side.sign
    if not 0 <= beyond <= intent.stop_price * FARTHEST_LIMIT:
        side = "at or above" if intent.side is Side.BUY else "at or below"
        return BrokenRule(
            rule=OrderRule.LIMIT_OFF_ITS_STOP,
            message=f"the limit {intent.limit_price} of a stop limit to {intent.side} must be {side} its stop "
            f"{intent.stop_price}, and within {FARTHEST_LIMIT:.0%} of it",
        )
    return None


def _zero(intent: OrderIntent, facts: OrderFacts) -> BrokenRule | None:
    change = intent.qty * intent.side.sign
    now, later = split_at_zero(facts.position, change)
    if not later:
        return None
    return BrokenRule(
        rule=OrderRule.CROSSES_ZERO,
        message=f"{intent.side} {intent.qty} would take the position of {facts.position} {intent.symbol} across zero: "
        f"{intent.side} {abs(now)} first, the other {abs(later)} once it is flat",
    )


def _short(intent: OrderIntent, facts: OrderFacts) -> BrokenRule | None:
    if intent.side is Side.BUY or facts.position > 0 or facts.asset is None:
        return None
    lacking = [
        *([] if facts.shorting_enabled else ["the account may not sell short"]),
        *([] if facts.asset.shortable else [f"{intent.symbol} cannot be sold short"]),
        *([] if facts.asset.easy_to_borrow else [f"{intent.symbol} is not easy to borrow"]),
    ]
    if not lacking:
        return None
    return BrokenRule(rule=OrderRule.NOT_SHORTABLE, message=" and ".join(lacking))


def _window(intent: OrderIntent, now: datetime, calendar: SessionCalendar) -> BrokenRule | None:
    since, until = window(intent, calendar)
    if since <= now < until:
        return None
    local = [at.astimezone(calendar.zone).strftime("%Y-%m-%d %H:%M") for at in (since, until, now)]
    return BrokenRule(
        rule=OrderRule.OUTSIDE_WINDOW,
        message=f"{intent.time_in_force} orders for session {intent.trade_session} are taken from {local[0]} until "
        f"{local[1]} New York time, and it is {local[2]}",
    )
