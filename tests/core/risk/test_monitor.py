"""Each rule reads its fact against its limit, and what nobody knows is never a zero."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.risk.monitor import Equity, MonitorFacts, Reading, Rule, judge
from trading_pipeline.core.risk.monitor_limits import MonitorLimits

CALM = MonitorFacts(
    session=date(2023, 9, 5), equity=Equity(now=Decimal(100_000), before=Decimal(100_000), peak=Decimal(100_000))
)
LIMITS = MonitorLimits()


def _reading(rule: Rule, facts: MonitorFacts, limits: MonitorLimits = LIMITS) -> Reading:
    return next(one for one in judge(facts, limits) if one.rule is rule)


def _equity(now: int, before: int = 100_000, peak: int = 100_000) -> MonitorFacts:
    return replace(CALM, equity=Equity(now=Decimal(now), before=Decimal(before), peak=Decimal(peak)))


AT_THE_LIMIT = [
    (Rule.DAILY_LOSS, _equity(950_000, before=1_000_000, peak=1_000_000), _equity(949_999, 1_000_000, 1_000_000)),
    (Rule.DAILY_LOSS_PCT, _equity(95_000), _equity(94_999)),
    (Rule.DRAWDOWN, _equity(80_000, before=80_000), _equity(79_999, before=79_999)),
    (Rule.BROKER_ERRORS, replace(CALM, broker_errors=5), replace(CALM, broker_errors=6)),
    (Rule.REJECT_RATE, replace(CALM, answered=10, rejected=5), replace(CALM, answered=10, rejected=6)),
    (Rule.STALE_MARKS, replace(CALM, mark_age_minutes=390), replace(CALM, mark_age_minutes=391)),
    (Rule.STALE_DATA, replace(CALM, sessions_without_freshness=1), replace(CALM, sessions_without_freshness=2)),
    (Rule.STUCK_ORDER, replace(CALM, unconfirmed_seconds=300), replace(CALM, unconfirmed_seconds=301)),
    (Rule.MISMATCH, CALM, replace(CALM, differences=("position AAPL",))),
]


@pytest.mark.parametrize(("rule", "met", "exceeded"), AT_THE_LIMIT, ids=[rule for rule, _, _ in AT_THE_LIMIT])
def test_a_limit_that_is_met_passes_and_one_that_is_exceeded_does_not(
    rule: Rule, met: MonitorFacts, exceeded: MonitorFacts
) -> None:
    """Rule by rule."""
    assert not _reading(rule, met).breached
    assert _reading(rule, exceeded).breached


def test_every_rule_is_tried_at_its_limit() -> None:
    """A new rule needs a row above."""
    assert list(Rule) == [rule for rule, _, _ in AT_THE_LIMIT] == [one.rule for one in judge(CALM, LIMITS)]


@pytest.mark.parametrize(
    ("facts", "rules"),
    [
        ({"equity": "no price of AAPL"}, {Rule.DAILY_LOSS, Rule.DAILY_LOSS_PCT, Rule.DRAWDOWN}),
        ({"mark_age_minutes": "no price of AAPL"}, {Rule.STALE_MARKS}),
        ({"sessions_without_freshness": "nothing was judged"}, {Rule.STALE_DATA}),
        ({"differences": "the book is damaged"}, {Rule.MISMATCH}),
    ],
)
def test_an_unknown_fact_breaches_its_rules_and_says_why(facts: dict[str, str], rules: set[Rule]) -> None:
    """The most generous limits do not help."""
    huge = {name: type(getattr(LIMITS, name))(10**9) for name in MonitorLimits.__slots__}
    breached = [one for one in judge(replace(CALM, **facts), MonitorLimits(**huge)) if one.breached]
    assert rules == {one.rule for one in breached}
    (why,) = facts.values()
    assert all(f"unknown {one.unit}" in one.describe() and why in one.describe() for one in breached)


def test_few_orders_say_nothing_about_the_rate_of_rejects() -> None:
    """One reject of one order is no pattern."""
    reading = _reading(Rule.REJECT_RATE, replace(CALM, answered=9, rejected=9))
    assert not reading.breached
    assert "9 of 9 orders in 60 minutes, fewer than 10: not judged" == reading.detail


def test_a_loss_of_an_account_without_equity_is_unknown_in_percent() -> None:
    """Nothing is no share of nothing."""
    assert _reading(Rule.DAILY_LOSS_PCT, _equity(-10, before=0)).breached
    assert not _reading(Rule.DAILY_LOSS_PCT, _equity(0, before=0)).breached


def test_a_reading_shows_headroom_and_the_share_used() -> None:
    """What an operator reads in `status` and the UI."""
    row = _reading(Rule.DAILY_LOSS_PCT, _equity(96_000)).as_row()
    assert ("4", "5", "1", "80.0", False) == tuple(
        row[name] for name in ("observed", "limit", "headroom", "used_pct", "breached")
    )


@given(
    now=st.decimals(-(10**9), 10**9, places=2),
    before=st.decimals(0, 10**9, places=2),
    peak=st.decimals(0, 10**9, places=2),
    errors=st.integers(0, 20),
    text=st.text(max_size=700),
)
def test_every_breach_is_a_reason_an_operator_action_accepts(
    now: Decimal, before: Decimal, peak: Decimal, errors: int, text: str
) -> None:
    """Whatever a broker says: the trip must not fail for its own words."""
    facts = replace(
        CALM,
        equity=Equity(now=now, before=before, peak=max(now, before, peak)),
        broker_errors=errors,
        last_broker_error=text,
        differences=(text,),
    )
    for reading in judge(facts, LIMITS):
        assert OperatorAction(operator="risk monitor", reason=reading.describe()).reason
        assert reading.breached == (reading.headroom is None or reading.headroom < 0)
        assert not reading.breached or reading.near
