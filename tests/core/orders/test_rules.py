"""The rules an order must keep before it is sent, each with the words an operator reads."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trading import intent

from trading_pipeline.core.orders.model import OrderIntent, OrderType, Side, TimeInForce
from trading_pipeline.core.orders.rules import (
    AssetFacts,
    OrderFacts,
    OrderRule,
    broken_rules,
    first_leg,
    split_at_zero,
    window,
)
from trading_pipeline.core.sessions import xnys

NOON = datetime(2023, 9, 5, 16, 0, tzinfo=UTC)
ASSET = AssetFacts(tradable=True, shortable=True, easy_to_borrow=True)
FREE = OrderFacts(now=NOON, position=Decimal(0), asset=ASSET, shorting_enabled=True)
HALF_DAY = date(2023, 11, 24)
NORMAL_DAY = date(2023, 9, 5)


def rules(order: OrderIntent, facts: OrderFacts = FREE) -> list[OrderRule]:
    """Name the rules an order breaks."""
    return [one.rule for one in broken_rules(order, facts, xnys())]


def timed(tif: TimeInForce, session: date = NORMAL_DAY) -> OrderIntent:
    """Build an order of this time in force for a session."""
    return replace(intent(session=xnys().previous(session)), time_in_force=tif)


def test_a_plain_order_breaks_nothing() -> None:
    """A market order for the day in the middle of its session may be sent."""
    assert [] == rules(intent())


@pytest.mark.parametrize(
    ("price", "broken"),
    [("100.10", False), ("100.105", True), ("0.9501", False), ("0.95015", True), ("1.0001", True), ("0.9999", False)],
)
def test_prices_are_multiples_of_their_tick(price: str, broken: bool) -> None:
    """One cent from a dollar on, a hundredth of a cent below."""
    assert ([OrderRule.SUB_PENNY] if broken else []) == rules(intent(limit_price=Decimal(price)))


def test_a_stop_price_is_judged_like_a_limit_price() -> None:
    """The message names which of the two it is."""
    order = replace(intent(), order_type=OrderType.STOP, stop_price=Decimal("99.995"))
    (broken,) = broken_rules(order, FREE, xnys())
    assert "the stop price 99.995 is no multiple of its tick, $0.01" == broken.message


@pytest.mark.parametrize(
    ("tif", "day", "first", "last"),
    [
        (TimeInForce.DAY, NORMAL_DAY, "2023-09-01 16:00", "2023-09-05 15:59"),
        (TimeInForce.GTC, NORMAL_DAY, "2023-09-01 16:00", "2023-09-05 15:59"),
        (TimeInForce.OPG, NORMAL_DAY, "2023-09-01 19:00", "2023-09-05 09:27"),
        (TimeInForce.CLS, NORMAL_DAY, "2023-09-01 19:00", "2023-09-05 15:49"),
        (TimeInForce.IOC, NORMAL_DAY, "2023-09-05 09:30", "2023-09-05 15:59"),
        (TimeInForce.FOK, NORMAL_DAY, "2023-09-05 09:30", "2023-09-05 15:59"),
        (TimeInForce.DAY, HALF_DAY, "2023-11-22 16:00", "2023-11-24 12:59"),
        (TimeInForce.OPG, HALF_DAY, "2023-11-22 19:00", "2023-11-24 09:27"),
        (TimeInForce.CLS, HALF_DAY, "2023-11-22 19:00", "2023-11-24 12:49"),
    ],
)
def test_each_time_in_force_has_its_window(tif: TimeInForce, day: date, first: str, last: str) -> None:
    """Windows follow the exchange's hours: half days close early, weekends and holidays are spanned."""
    order, minute = timed(tif, day), timedelta(minutes=1)
    begin, end = (datetime.fromisoformat(one).replace(tzinfo=xnys().zone) for one in (first, last))
    outside = [OrderRule.OUTSIDE_WINDOW]
    assert [] == rules(order, replace(FREE, now=begin))
    assert [] == rules(order, replace(FREE, now=end))
    assert outside == rules(order, replace(FREE, now=begin - minute))
    assert outside == rules(order, replace(FREE, now=end + minute))
    assert (begin, end + minute) == window(order, xnys())


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (replace(FREE, shorting_enabled=False), "the account may not sell short"),
        (replace(FREE, asset=replace(ASSET, shortable=False)), "AAPL cannot be sold short"),
        (replace(FREE, asset=replace(ASSET, easy_to_borrow=False)), "AAPL is not easy to borrow"),
    ],
)
def test_a_short_needs_shares_to_borrow_and_an_account_that_may(facts: OrderFacts, message: str) -> None:
    """Each lack is named; none of them matters for a sale of shares that are held, or for a buy."""
    (broken,) = broken_rules(intent(side=Side.SELL), facts, xnys())
    assert (OrderRule.NOT_SHORTABLE, message) == (broken.rule, broken.message)
    assert [] == rules(intent(side=Side.SELL), replace(facts, position=Decimal(10)))
    assert [] == rules(intent(side=Side.BUY), facts)


def test_an_asset_must_be_known_and_tradable() -> None:
    """A symbol the broker does not know, or has halted for good, is refused by name."""
    assert [OrderRule.UNKNOWN_ASSET] == rules(intent(), replace(FREE, asset=None))
    assert [OrderRule.NOT_TRADABLE] == rules(intent(), replace(FREE, asset=replace(ASSET, tradable=False)))


@given(st.decimals(-50, 50, places=2), st.integers(-100, 100))
def test_a_split_never_crosses_zero_and_loses_nothing(position: Decimal, change: int) -> None:
    """What is sent now keeps the side of the position; now and later make the whole change."""
    now, later = split_at_zero(position, change)
    assert change == now + later
    assert (position + now) * position >= 0
    if later:
        assert abs(position + now) < 1


@given(st.integers(-50, 50), st.integers(1, 100), st.sampled_from(Side))
def test_exactly_the_orders_across_zero_break_the_rule(position: int, qty: int, side: Side) -> None:
    """The rule agrees with arithmetic on both sides of the position."""
    after = position + qty * side.sign
    broken = rules(intent(side=side, qty=qty), replace(FREE, position=Decimal(position)))
    assert (position * after < 0) == (OrderRule.CROSSES_ZERO in broken)


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-100, 100))
def test_a_first_leg_and_what_is_pending_never_cross_zero(position: int, pending: int, change: int) -> None:
    """Whatever is pending, what is sent now goes the wanted way, is no more than wanted, and keeps the side."""
    now = first_leg(Decimal(position), Decimal(pending), change)
    assert now * change >= 0
    assert abs(now) <= abs(change)
    assert pending * now >= 0
    if position * now < 0:
        assert abs(now) + abs(pending) <= abs(position)


@pytest.mark.parametrize(
    ("side", "stop", "limit", "broken"),
    [
        (Side.BUY, "110.00", "110.00", False),
        (Side.BUY, "110.00", "121.00", False),
        (Side.BUY, "110.00", "121.01", True),
        (Side.BUY, "110.00", "109.99", True),
        (Side.SELL, "90.00", "81.00", False),
        (Side.SELL, "90.00", "80.99", True),
        (Side.SELL, "90.00", "90.01", True),
    ],
)
def test_the_limit_of_a_stop_limit_is_near_its_stop(side: Side, stop: str, limit: str, broken: bool) -> None:
    """On its far side, where it can trade once it is triggered, and within a tenth of it."""
    order = replace(
        intent(side=side), order_type=OrderType.STOP_LIMIT, stop_price=Decimal(stop), limit_price=Decimal(limit)
    )
    assert ([OrderRule.LIMIT_OFF_ITS_STOP] if broken else []) == rules(order)


@pytest.mark.parametrize("tif", [TimeInForce.OPG, TimeInForce.CLS])
def test_auctions_take_no_stops(tif: TimeInForce) -> None:
    """They are named before anything is sent."""
    order = replace(intent(), order_type=OrderType.STOP, stop_price=Decimal(110), time_in_force=tif)
    assert OrderRule.NO_STOPS_IN_AUCTIONS in rules(order)
