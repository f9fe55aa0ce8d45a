"""The monitor trips the breaker for real: in the ledger, in the book, and for the next order."""

from dataclasses import replace
from decimal import Decimal

import psycopg
import pytest
import redis
from support.trading import (
    ACCOUNT,
    ACTION,
    FREE,
    RUN,
    SESSION,
    Kit,
    flat_market,
    order,
    quotes_at,
    trading_kit,
    valuation,
)

from trading_pipeline.adapters.broker.watched import WatchedBroker
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.risk.monitor import Rule
from trading_pipeline.core.risk.monitor_limits import MonitorLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import OperatorError, OrderStateUnknown, ServerUnavailable, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.monitor import MONITOR, Assessment, assess, reset_equity_peak
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.watching import watch

CAPITAL = Decimal(100_000)
NEXT = xnys().next(SESSION)


@pytest.fixture
def holding(kit: Kit) -> Kit:
    """An account of 100,000 dollars that holds 500 shares bought at 100."""
    account = _at(kit, 100)
    SubmissionService(account, RUN).submit(order(qty=500))
    settle(account, NEXT)
    return kit


def _at(kit: Kit, price: Decimal | int, capital: Decimal = CAPITAL) -> TradingAccount:
    return replace(kit.account, valuation=valuation(Decimal(price), capital=capital))


def _fell(kit: Kit, before: int, now: int) -> TradingAccount:
    """Value the account at one price through the session before, and at another one now."""
    prices = {True: quotes_at(Decimal(now)), False: quotes_at(Decimal(before))}
    current = kit.exchange.current_session
    return replace(
        kit.account,
        valuation=replace(
            valuation(capital=CAPITAL), quotes=lambda session, symbols: prices[session == current](session, symbols)
        ),
    )


def _rules(assessment: Assessment) -> set[Rule]:
    return {one.rule for one in assessment.breached}


def test_a_calm_account_trips_nothing_and_remembers_its_peak(holding: Kit) -> None:
    """The peak rises with equity and never falls."""
    assert () == watch(_at(holding, 110)).breached
    assert () == watch(_at(holding, 105)).breached
    assert Decimal(105_000) == holding.ledger.monitors.get(ACCOUNT).peak_equity
    assert Breaker.OPEN is holding.ledger.books.get(ACCOUNT).breaker


def test_a_daily_loss_trips_ledger_and_book_and_keeps_the_next_order_from_clearing(holding: Kit) -> None:
    """Growing is over, the way out stays open, and the reason names rule, value and limit."""
    assessment = watch(_fell(holding, before=100, now=89))
    assert {Rule.DAILY_LOSS_PCT} == _rules(assessment)

    record, snapshot = holding.ledger.books.get(ACCOUNT), holding.guard.snapshot()
    assert snapshot is not None
    assert (Breaker.TRIPPED, Breaker.TRIPPED) == (record.breaker, snapshot.breaker)
    for part in ("daily_loss_pct", "5.50 %", "limit of 5", str(NEXT)):
        assert part in record.breaker_reason
    refused = SubmissionService(holding.account, RUN).submit(order(qty=1, session=NEXT)).verdict
    assert refused is not None
    assert VerdictCode.BREAKER_TRIPPED is refused.code
    reducing = SubmissionService(holding.account, RUN).submit(order(side=Side.SELL, qty=500, session=NEXT))
    assert OrderState.ACCEPTED is reducing.order.state


def test_a_trip_is_told_once_whoever_looks_again(holding: Kit) -> None:
    """One audit row in the monitor's name, one alert."""
    account = _fell(holding, before=100, now=89)
    assert watch(account).tripped
    assert "" == watch(account).tripped
    by_monitor = [row for row in holding.ledger.books.history(ACCOUNT) if row["operator"] == MONITOR]
    alerts = [row for row in holding.ledger.alerts.latest() if row["kind"] == "breaker_tripped"]
    assert (1, 1) == (len(by_monitor), len(alerts))


def test_a_loss_that_lasts_trips_again_after_a_reset(holding: Kit) -> None:
    """A reset is no permission to lose more."""
    account = _fell(holding, before=100, now=89)
    watch(account)
    holding.operations.reset_circuit_breaker(ACTION)
    assert watch(account).tripped


def test_a_crash_in_prices_trips_inside_the_settlement_of_its_fills(database_url: str, redis_url: str) -> None:
    """Before the same session's orders are asked for."""
    prices = {xnys().shift(SESSION, 1): Decimal(100), xnys().shift(SESSION, 2): Decimal(60)}
    with trading_kit(
        database_url,
        redis_url,
        openings=lambda session, symbols: flat_market(prices[session])(session, symbols),
        costs=FREE,
    ) as kit:
        worth = replace(
            valuation(capital=CAPITAL),
            quotes=lambda session, symbols: quotes_at(prices.get(session, Decimal(100)))(session, symbols),
        )
        account = replace(kit.account, valuation=worth)
        SubmissionService(account, RUN).submit(order("AAPL", qty=500))
        settle(account, NEXT)
        assert Breaker.OPEN is kit.ledger.books.get(ACCOUNT).breaker

        SubmissionService(account, RUN).submit(order("MSFT", qty=1, session=NEXT))
        settle(account, xnys().shift(SESSION, 2))
        assert Breaker.TRIPPED is kit.ledger.books.get(ACCOUNT).breaker
        assert SubmissionService(account, RUN).submit(order("MSFT", qty=1, session=xnys().shift(SESSION, 2))).refused


def test_a_drawdown_counts_from_the_stored_peak_until_an_operator_sets_it_anew(holding: Kit) -> None:
    """Slow losses add up; the peak outlives whoever saw it."""
    watch(_at(holding, 200))
    assessment = watch(_at(holding, 130))
    assert {Rule.DRAWDOWN} == _rules(assessment)

    reset_equity_peak(_at(holding, 130), ACTION)
    newest = holding.ledger.books.history(ACCOUNT)[0]
    assert ("reset_equity_peak", "ada") == (newest["action"], newest["operator"])
    assert Decimal(newest["detail"]["from"]) == Decimal(150_000)
    assert () == assess(_at(holding, 130)).breached


def test_a_peak_cannot_be_set_to_an_equity_that_nobody_knows(holding: Kit) -> None:
    """The operator hears which price is missing."""
    blind = replace(holding.account, valuation=replace(valuation(), quotes=lambda *_: {}))
    with pytest.raises(OperatorError, match="AAPL"):
        reset_equity_peak(blind, ACTION)


def test_a_position_without_a_price_trips(holding: Kit) -> None:
    """Unknown is not zero."""
    blind = replace(holding.account, valuation=replace(valuation(), quotes=lambda *_: {}))
    assessment = watch(blind)
    assert {Rule.DAILY_LOSS, Rule.DAILY_LOSS_PCT, Rule.DRAWDOWN, Rule.STALE_MARKS} == _rules(assessment)
    assert "AAPL" in assessment.tripped


def test_an_old_price_trips_only_while_something_is_held(kit: Kit) -> None:
    """Minutes in which the exchange was open count, not nights."""
    old = replace(
        valuation(), quotes=lambda session, symbols: quotes_at(Decimal(100))(xnys().shift(session, -2), symbols)
    )
    account = replace(kit.account, valuation=old)
    assert () == assess(account).breached
    SubmissionService(kit.account, RUN).submit(order())
    settle(kit.account, NEXT)
    (stale,) = assess(account).breached
    assert (Rule.STALE_MARKS, Decimal(780)) == (stale.rule, stale.observed)


@pytest.mark.parametrize(("behind", "trips"), [(1, False), (2, True), (None, True)])
def test_data_that_nobody_judged_fresh_trip(kit: Kit, behind: int | None, trips: bool) -> None:
    """A session is settled before its own data are judged: one is usual."""
    fresh = replace(
        valuation(), newest_fresh=lambda session: None if behind is None else xnys().shift(session, -behind)
    )
    assessment = watch(replace(kit.account, valuation=fresh))
    assert ({Rule.STALE_DATA} if trips else set()) == _rules(assessment)


def test_a_broker_that_falls_silent_trips_after_calls_in_a_row(kit: Kit) -> None:
    """Across processes, until it answers; a refusal is an answer."""
    kit.operations.set_risk_limits(RiskLimits(monitor=MonitorLimits(max_consecutive_broker_errors=2)), ACTION)
    brokers = [WatchedBroker(kit.broker, kit.ledger.monitors, ACCOUNT) for _ in range(2)]
    for broker in (*brokers, brokers[0]):
        kit.broker.cancel_failures.append(TransientError("no route to the broker"))
        with pytest.raises(TransientError):
            broker.cancel("0" * 24)
    assert {Rule.BROKER_ERRORS} == _rules(assess(kit.account))

    kit.broker.cancel_failures.append(OrderStateUnknown("lost"))
    with pytest.raises(OrderStateUnknown):
        brokers[1].cancel("0" * 24)
    tripped = watch(kit.account).tripped
    assert all(part in tripped for part in ("broker_errors: 4", "limit of 2", "cancel: lost"))
    assert brokers[1].cancel("0" * 24) is None
    assert 0 == kit.ledger.monitors.get(ACCOUNT).broker_errors


def test_a_broker_error_that_cannot_be_counted_is_still_the_brokers_error(kit: Kit) -> None:
    """The caller must hear the broker, not the counter."""

    class Away:
        def broker_failed(self, *_: str) -> None:
            raise ServerUnavailable("no ledger")

        def broker_answered(self, *_: str) -> None:
            raise ServerUnavailable("no ledger")

    broker = WatchedBroker(kit.broker, Away(), ACCOUNT)
    kit.broker.cancel_failures.append(TransientError("429"))
    with pytest.raises(TransientError, match="429"):
        broker.cancel("0" * 24)
    assert {} == broker.positions()


def test_rejects_trip_by_their_share_and_a_reset_begins_anew(kit: Kit) -> None:
    """What an operator has judged is not held against the account again."""
    limits = MonitorLimits(reject_rate_min_orders=2)
    kit.operations.set_risk_limits(RiskLimits(monitor=limits), ACTION)
    service = SubmissionService(kit.account, RUN)
    sent = [service.submit(order(symbol)).order for symbol in ("AAPL", "MSFT", "NVDA")]
    for rejected in sent[:2]:
        kit.ledger.orders.move(rejected.client_order_id, OrderState.REJECTED, reason="test")
    (reading,) = (one for one in watch(kit.account).breached if one.rule is Rule.REJECT_RATE)
    assert "2 of 3 orders in 60 minutes" == reading.detail

    kit.operations.reset_circuit_breaker(ACTION)
    assert Rule.REJECT_RATE not in _rules(assess(kit.account))


def test_an_order_without_an_answer_trips_when_it_stays(kit: Kit) -> None:
    """By its id."""
    kit.broker.after.append(OrderStateUnknown("lost"))
    stuck = SubmissionService(kit.account, RUN).submit(order()).order
    assert Rule.STUCK_ORDER not in _rules(assess(kit.account))
    kit.clock.advance(302)
    (reading,) = (one for one in assess(kit.account).breached if one.rule is Rule.STUCK_ORDER)
    assert stuck.client_order_id == reading.detail
    assert Rule.STUCK_ORDER in _rules(watch(kit.account))
    assert Breaker.TRIPPED is kit.ledger.books.get(ACCOUNT).breaker


def test_a_broker_that_holds_other_shares_trips(holding: Kit, database_url: str) -> None:
    """Ledger and book agree with each other; what is real is at the broker."""
    assert Rule.MISMATCH not in _rules(watch(_at(holding, 100)))
    with psycopg.connect(database_url) as connection:
        connection.execute("update exchange.executions set qty = 400")
    assert Rule.MISMATCH in _rules(watch(_at(holding, 100)))
    assert Breaker.TRIPPED is holding.ledger.books.get(ACCOUNT).breaker


def test_a_mismatch_trips_in_the_ledger_though_the_book_is_gone(kit: Kit, redis_url: str) -> None:
    """A missing book is a fact; what the rebuild makes of it is tripped."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    assert {Rule.MISMATCH} == _rules(watch(kit.account))
    assert "book_missing" in kit.ledger.books.get(ACCOUNT).breaker_reason
    kit.operations.rebuild_risk_book(ACTION)
    assert SubmissionService(kit.account, RUN).submit(order()).refused


def test_a_server_that_is_away_is_named_and_trips_nothing(kit: Kit, redis_url: str) -> None:
    """Nothing clears without it anyway; the other rules are judged."""
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "PAUSE", "4500", "ALL")
        assessment = watch(kit.account)
        client.execute_command("CLIENT", "UNPAUSE")
    assert ("", ()) == (assessment.tripped, assessment.breached)
    assert "Redis" in assessment.unreachable
    assert Rule.MISMATCH not in {one.rule for one in assessment.readings}
