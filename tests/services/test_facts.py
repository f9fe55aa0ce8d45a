"""What the guard is told: what is unknown stays unknown, and is a no."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, intent, order, trading_kit, valuation

from trading_pipeline.core.clock import FixedClock
from trading_pipeline.core.orders.model import ReferencePrice, Side
from trading_pipeline.core.risk.clearance import MarketFacts, VerdictCode
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.facts import Facts
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService

CLOSE = xnys().close_at(SESSION)


class RealTime:
    """A broker whose time is ours."""

    real_time = True

    def __init__(self, broker: object) -> None:
        self._broker = broker

    def __getattr__(self, name: str) -> object:
        return getattr(self._broker, name)


def _facts(account: TradingAccount, **reference: object) -> MarketFacts:
    asked = intent()
    if reference:
        asked = replace(asked, reference=replace(asked.reference, **reference))
    return Facts(account, [asked]).of(asked)


def _code(account: TradingAccount, qty: int = 10, **changes: object) -> VerdictCode:
    verdict = SubmissionService(account, RUN).submit(order(qty=qty, **changes)).verdict
    assert verdict is not None
    return verdict.code


def test_equity_and_average_volume_are_given_as_they_are(kit: Kit) -> None:
    """Equity in 1/10,000 dollar, rounded down, of what the ledger holds; the volume of the decided session."""
    account = replace(kit.account, valuation=valuation(Decimal("90.5"), capital=Decimal(10_000)))
    assert (100_000_000, 100_000_000) == (_facts(account).equity_ticks, _facts(account).adv_shares)

    SubmissionService(kit.account, RUN).submit(order(qty=10))
    settle(kit.account, xnys().next(SESSION))
    assert 99_050_000 == _facts(account).equity_ticks


def test_what_cannot_be_valued_is_unknown(kit: Kit) -> None:
    """A held symbol without a price, bars that contradict an action, an account nobody values: no figure."""
    SubmissionService(kit.account, RUN).submit(order(qty=10))
    settle(kit.account, xnys().next(SESSION))

    def broken(*_: object) -> dict[str, int]:
        raise DataQualityError("an action does not fit the bars")

    unpriced = replace(valuation(), quotes=lambda *_: {}, volumes=broken)
    for valued in (None, unpriced):
        facts = _facts(replace(kit.account, valuation=valued))
        assert (None, None) == (facts.equity_ticks, facts.adv_shares)


def test_both_limits_bind_by_default(database_url: str, redis_url: str) -> None:
    """Five percent of the average volume and half of the equity: a little more is refused, and so is the unknown."""
    limits = RiskLimits(max_order_notional=Decimal(10**9), max_position_notional=Decimal(10**9))
    with trading_kit(database_url, redis_url, limits=limits) as kit:
        thin = replace(valuation(capital=Decimal(10_000)), volumes=lambda _, symbols: dict.fromkeys(symbols, 1_000))
        account = replace(kit.account, valuation=thin)
        assert VerdictCode.ORDER_ADV is _code(account, 51)
        assert VerdictCode.CLEARED is _code(account, 50)
        assert VerdictCode.POSITION_EQUITY is _code(account, 1)
        unknown = replace(kit.account, valuation=replace(valuation(), volumes=lambda *_: {}))
        assert VerdictCode.ADV_MISSING is _code(unknown, symbol="MSFT")
        unvalued = replace(valuation(), quotes=lambda *_: {})
        settle(kit.account, xnys().next(SESSION))
        later = {"symbol": "MSFT", "session": xnys().next(SESSION)}
        assert VerdictCode.EQUITY_MISSING is _code(replace(kit.account, valuation=unvalued), **later)


def test_a_price_of_the_future_is_no_reference(kit: Kit) -> None:
    """It is not fresh, it is wrong: its age is unknown and the order refused."""
    assert 0 == _facts(kit.account, as_of=CLOSE).reference_age_seconds
    assert None is _facts(kit.account, as_of=CLOSE + timedelta(seconds=1)).reference_age_seconds

    new = order()
    future = ReferencePrice(price=Decimal(100), source="test", as_of=CLOSE + timedelta(days=4))
    verdict = (
        SubmissionService(kit.account, RUN).submit(replace(new, intent=replace(new.intent, reference=future))).verdict
    )
    assert verdict is not None
    assert VerdictCode.REFERENCE_STALE is verdict.code


@pytest.mark.parametrize(("minute", "age"), [(30, 0), (31, 60), (45, 900)])
def test_a_broker_in_real_time_ages_prices_by_our_clock(kit: Kit, minute: int, age: int) -> None:
    """Friday's close is fresh until Tuesday's open, and then by the minute; the holiday in between does not count."""
    now = datetime(2023, 9, 5, 13, minute, tzinfo=UTC)
    account = replace(kit.account, broker=RealTime(kit.broker), clock=FixedClock(now))
    assert age == _facts(account, as_of=CLOSE).reference_age_seconds


def test_a_flatten_needs_neither_volume_nor_equity(kit: Kit) -> None:
    """Nothing unknown keeps a person from getting out."""
    SubmissionService(kit.account, RUN).submit(order(side=Side.BUY, qty=10))
    settle(kit.account, xnys().next(SESSION))
    account = replace(kit.account, valuation=None)
    operations = type(kit.operations)(account)
    result = operations.flatten_positions(ACTION, valuation().quotes)
    assert [False] == [one.refused for one in result.submissions]
    assert {ACCOUNT} == {one.order.intent.account for one in result.submissions}
