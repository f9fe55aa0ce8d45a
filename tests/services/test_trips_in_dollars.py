"""Money that is lost trips the breaker, to the cent: realised or not, in a session or since the peak."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from support.trading import (
    ACCOUNT,
    ACTION,
    RUN,
    SESSION,
    Kit,
    flat_market,
    order,
    quotes_at,
    trading_kit,
    valuation,
)

from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.risk.monitor import Rule
from trading_pipeline.core.risk.monitor_limits import MonitorLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.watching import watch

FIRST, SECOND, THIRD = (xnys().shift(SESSION, count) for count in (1, 2, 3))
FAR = MonitorLimits(
    max_daily_loss_dollars=Decimal(10**9), max_daily_loss_pct=Decimal(100), max_drawdown_pct=Decimal(100)
)
CENT = Decimal("0.01")


@pytest.fixture
def falling(database_url: str, redis_url: str) -> Iterator[Kit]:
    """An account of 100,000 dollars that bought 500 shares at 100, on a market that opens at 97 the day after."""
    prices = {FIRST: Decimal(100), SECOND: Decimal(97), THIRD: Decimal(97)}
    with trading_kit(
        database_url,
        redis_url,
        limits=RiskLimits(monitor=FAR),
        openings=lambda session, symbols: flat_market(prices[session])(session, symbols),
    ) as kit:
        account = _valued(kit, prices)
        SubmissionService(account, RUN).submit(order(qty=500))
        settle(account, FIRST)
        yield replace(kit, account=account)


def _valued(kit: Kit, closes: dict[object, Decimal]) -> TradingAccount:
    """Value the account at the close of each session."""
    return replace(
        kit.account,
        valuation=replace(
            valuation(capital=Decimal(100_000)),
            quotes=lambda session, symbols: quotes_at(closes.get(session, Decimal(100)))(session, symbols),
        ),
    )


def _limit(kit: Kit, **limits: Decimal) -> None:
    kit.operations.set_risk_limits(RiskLimits(monitor=replace(FAR, **limits)), ACTION)


def _require_tripped(kit: Kit, *, session: object, flat: bool) -> None:
    """Ledger and book have tripped: nothing that grows clears, and what reduces does."""
    snapshot = kit.guard.snapshot()
    assert snapshot is not None
    assert (Breaker.TRIPPED, Breaker.TRIPPED) == (kit.ledger.books.get(ACCOUNT).breaker, snapshot.breaker)
    service = SubmissionService(kit.account, RUN)
    refused = service.submit(order("MSFT", qty=1, session=session)).verdict
    assert refused is not None
    assert VerdictCode.BREAKER_TRIPPED is refused.code
    if not flat:
        assert OrderState.ACCEPTED is service.submit(order(side=Side.SELL, qty=1, session=session)).order.state


@pytest.mark.parametrize("sold", [0, 200, 500], ids=["unrealised", "both", "realised"])
def test_a_loss_of_the_session_trips_above_its_dollars(falling: Kit, sold: int) -> None:
    """500 shares that lose 3 dollars each, sold at the open or held at the close: 1,500 whichever it is."""
    if sold:
        SubmissionService(falling.account, RUN).submit(order(side=Side.SELL, qty=sold, session=FIRST))
    settle(falling.account, SECOND)
    held = Decimal(500 - sold)
    assert ({"AAPL": held} if held else {}) == falling.positions()

    _limit(falling, max_daily_loss_dollars=Decimal(1_500))
    assert "" == watch(falling.account).tripped
    _limit(falling, max_daily_loss_dollars=Decimal(1_500) - CENT)
    assessment = watch(falling.account)

    (breached,) = assessment.breached
    assert (Rule.DAILY_LOSS, Decimal(1_500)) == (breached.rule, breached.observed)
    assert f"daily_loss: 1,500 dollars against a limit of 1,499.99 (session {SECOND})" == assessment.tripped
    _require_tripped(falling, session=SECOND, flat=not held)


def test_a_loss_that_was_realised_yesterday_is_none_of_today(falling: Kit) -> None:
    """The session's own loss counts for the session, the peak remembers the rest."""
    SubmissionService(falling.account, RUN).submit(order(side=Side.SELL, qty=500, session=FIRST))
    settle(falling.account, SECOND)
    settle(falling.account, THIRD)
    _limit(falling, max_daily_loss_dollars=Decimal(0))
    assert "" == watch(falling.account).tripped

    _limit(falling, max_drawdown_pct=Decimal("1.5"))
    assert "" == watch(falling.account).tripped
    _limit(falling, max_drawdown_pct=Decimal("1.49"))
    assert watch(falling.account).tripped.startswith("drawdown: 1.50 % below the equity peak")
    _require_tripped(falling, session=THIRD, flat=True)


def test_a_drawdown_adds_up_over_sessions_from_the_stored_peak(falling: Kit) -> None:
    """No session loses more than it may: 110,000 at the first close, 105,000 then, 99,500 at the third."""
    closes = {FIRST: Decimal(120), SECOND: Decimal(110), THIRD: Decimal(99)}
    account = _valued(falling, closes)
    _limit(falling, max_daily_loss_dollars=Decimal(5_500), max_drawdown_pct=Decimal(9))
    told = [watch(account).tripped]
    for session in (SECOND, THIRD):
        settle(account, session)
        told.append(watch(account).tripped)

    assert ["", "", "drawdown: 9.55 % below the equity peak against a limit of 9 (peak 110,000.00)"] == told
    assert (Decimal(110_000), FIRST) == (
        falling.ledger.monitors.get(ACCOUNT).peak_equity,
        falling.ledger.monitors.get(ACCOUNT).peak_session,
    )
    _require_tripped(falling, session=THIRD, flat=False)
