"""Orders are differences: target minus position minus pending."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trading import ACCOUNT, SESSION, intent

from trading_pipeline.core.orders.model import ReferencePrice, Side
from trading_pipeline.core.orders.planning import OrderPlan, TargetShares, plan_orders
from trading_pipeline.core.sessions import xnys

SYMBOLS = ("AAA", "BBB", "CCC")
SHARES = st.integers(min_value=-1000, max_value=1000)


def _plan(
    targets: dict[str, int],
    positions: dict[str, Decimal] | None = None,
    pending: dict[str, Decimal] | None = None,
    excluded: dict[str, str] | None = None,
    *,
    crosses_zero: bool = True,
) -> OrderPlan:
    reference = intent().reference
    return plan_orders(
        account=ACCOUNT,
        strategy_id="tested",
        session=SESSION,
        trade_session=xnys().next(SESSION),
        targets=[TargetShares(symbol=name, shares=shares, reference=reference) for name, shares in targets.items()],
        positions=positions or {},
        pending=pending or {},
        excluded=excluded or {},
        crosses_zero=crosses_zero,
    )


@given(
    targets=st.fixed_dictionaries(dict.fromkeys(SYMBOLS, SHARES)),
    positions=st.fixed_dictionaries({name: SHARES.map(Decimal) for name in SYMBOLS}),
    pending=st.fixed_dictionaries({name: SHARES.map(Decimal) for name in SYMBOLS}),
)
def test_filling_the_plan_and_what_is_pending_reaches_the_target(
    targets: dict[str, int], positions: dict[str, Decimal], pending: dict[str, Decimal]
) -> None:
    """Whatever is held and pending, the plan closes exactly the gap."""
    plan = _plan(targets, positions, pending)
    after = {name: positions[name] + pending[name] for name in SYMBOLS}
    for one in plan.intents:
        after[one.symbol] += one.side.sign * one.qty
    assert {name: Decimal(shares) for name, shares in targets.items()} == after


def test_pending_orders_make_a_second_plan_empty() -> None:
    """Planning again before the fills changes nothing."""
    assert () == _plan({"AAA": 10}, pending={"AAA": Decimal(10)}).intents


def test_a_fraction_held_is_never_overshot() -> None:
    """Whole shares only, rounded toward what is held."""
    (only,) = _plan({"AAA": 0}, positions={"AAA": Decimal("10.6")}).intents
    assert (Side.SELL, 10) == (only.side, only.qty)


def test_reducing_orders_come_first() -> None:
    """They free exposure for the others."""
    plan = _plan({"AAA": 10, "CCC": 0}, positions={"CCC": Decimal(5)})
    assert ["CCC", "AAA"] == [one.symbol for one in plan.intents]


def test_excluded_and_untargeted_symbols_are_named_and_left_alone() -> None:
    """Nothing is skipped in silence."""
    plan = _plan({"AAA": 10, "BBB": 5}, positions={"CCC": Decimal(5)}, excluded={"AAA": "its data are stale"})
    assert ["BBB"] == [one.symbol for one in plan.intents]
    assert {"AAA": "its data are stale", "CCC": "held, but no target: no price for the session"} == {
        one.symbol: one.reason for one in plan.skipped
    }


def test_where_no_order_may_cross_zero_the_closing_goes_first() -> None:
    """Long 10, short 5 wanted: sell 10 now; the other 5 are named, and ordered once the position is flat."""
    plan = _plan({"AAA": -5}, {"AAA": Decimal(10)}, crosses_zero=False)
    assert [(Side.SELL, 10)] == [(one.side, one.qty) for one in plan.intents]
    assert ["-5 shares wait until the position or the pending order is closed"] == [one.reason for one in plan.skipped]
    waiting = _plan({"AAA": -5}, {"AAA": Decimal(10)}, {"AAA": Decimal(-10)}, crosses_zero=False)
    assert ((), 1) == (waiting.intents, len(waiting.skipped))
    then = _plan({"AAA": -5}, crosses_zero=False)
    assert [(Side.SELL, 5)] == [(one.side, one.qty) for one in then.intents]


@pytest.mark.parametrize(
    ("price", "held", "goal"),
    [
        ("100", 0, 100),
        ("125", 0, 80),
        ("125", 90, 90),
        ("125", 200, 100),
        ("80", 0, 100),
        ("80", 120, 100),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_target_buys_no_more_than_its_dollars_and_keeps_what_is_held(
    price: str, held: int, goal: int, sign: int
) -> None:
    """At another price than it was sized at: fewer shares when dearer, never more when cheaper; long and short."""
    sized = ReferencePrice(price=Decimal(100), source="close", as_of=datetime(2023, 9, 1, 20, tzinfo=UTC))
    now = ReferencePrice(price=Decimal(price), source="midpoint", as_of=datetime(2023, 9, 1, 20, tzinfo=UTC))
    target = TargetShares(symbol="AAPL", shares=sign * 100, reference=sized).at(now)
    assert now == target.reference
    assert sign * goal == target.goal(Decimal(sign * held))
