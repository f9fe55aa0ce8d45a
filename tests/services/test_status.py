"""What an operator reads first: may the account trade, how near is it to a halt, and what does not agree."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import redis
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, order, quotes_at, valuation

from trading_pipeline.core.risk.halts import TradingState
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.risk.monitor import Rule
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.monitor import assess
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.status import Status, read_status, trading_state
from trading_pipeline.services.submission import SubmissionService

NEXT = xnys().next(SESSION)


def _trading(status: Status) -> dict[str, str]:
    return {row["what"]: row["value"] for row in status.trading}


def _losing(kit: Kit) -> Status:
    """Hold 500 shares that fell from 100 to 91: 4.5 of 5 percent of 100,000 dollars."""
    capital = valuation(capital=Decimal(100_000))
    account = replace(kit.account, valuation=capital)
    SubmissionService(account, RUN).submit(order(qty=500))
    settle(account, NEXT)
    prices = {NEXT: quotes_at(Decimal(91))}
    fell = replace(
        capital,
        quotes=lambda session, symbols: prices.get(session, quotes_at(Decimal(100)))(session, symbols),
    )
    return read_status(replace(kit.account, valuation=fell))


def test_the_distance_to_every_limit_is_shown(kit: Kit) -> None:
    """Observed, limit, headroom and the share used, one row a rule, in the table and in the JSON."""
    status = _losing(kit)
    rows = {row["rule"]: row for row in status.distances}
    assert [rule.value for rule in Rule] == list(rows)
    shown = rows["daily_loss_pct"]
    assert ("4.50", "5", "0.50", "90.0") == tuple(shown[name] for name in ("observed", "limit", "headroom", "used_pct"))
    assert status.distances == status.as_dict()["distances"]
    assert status.healthy


def test_reading_the_status_changes_nothing(kit: Kit) -> None:
    """It neither raises the peak nor trips: it may be read by anyone at any time."""
    before = kit.ledger.monitors.get(kit.account.account)
    blind = replace(kit.account, valuation=replace(valuation(), quotes=lambda *_: {}, newest_fresh=lambda _: None))
    assert not read_status(blind).healthy
    assert (before, TradingState.ACTIVE) == (
        kit.ledger.monitors.get(kit.account.account),
        trading_state(kit.account)[0],
    )


def test_a_breached_rule_makes_the_account_unhealthy_and_says_why(kit: Kit) -> None:
    """Before the monitor has come round to trip."""
    stale = replace(kit.account, valuation=replace(valuation(), newest_fresh=lambda _: None))
    status = read_status(stale)
    assert not status.healthy
    assert "stale_data: unknown" in _trading(status)["why"]


def test_halts_are_explained_by_their_own_reason(kit: Kit) -> None:
    """State and cause as the guard derives them, with what the operator or the rule wrote."""
    kit.operations.trip_circuit_breaker(ACTION)
    state, why = trading_state(kit.account)
    assert TradingState.REDUCING is state
    assert f"breaker_tripped: {ACTION.reason}" == why
    kit.operations.engage_kill_switch(ACTION)
    state, why = trading_state(kit.account)
    assert (TradingState.HALTED, True) == (state, why.startswith("kill_switch_engaged: ada"))


def _lost(kit: Kit, client: redis.Redis) -> None:
    client.flushall()


def _not_told(kit: Kit, client: redis.Redis) -> None:
    kit.ledger.books.block(ACCOUNT, "F", ACTION)


def _missed_a_clearance(kit: Kit, client: redis.Redis) -> None:
    book = kit.ledger.books.get(ACCOUNT)
    kit.ledger.books.saw_book(ACCOUNT, book.epoch, book.high_sequence + 1)


def _engaged(kit: Kit, client: redis.Redis) -> None:
    kit.operations.trip_circuit_breaker(ACTION)
    kit.operations.engage_kill_switch(ACTION)


def _tripped(kit: Kit, client: redis.Redis) -> None:
    kit.operations.trip_circuit_breaker(ACTION)


def _quiet(kit: Kit, client: redis.Redis) -> None:
    kit.operations.trip_circuit_breaker(ACTION)
    kit.operations.reset_circuit_breaker(ACTION)


def _gate_closed(kit: Kit, client: redis.Redis) -> None:
    kit.operations.close_gate(ACTION)


def _over_a_limit(kit: Kit, client: redis.Redis) -> None:
    SubmissionService(kit.account, RUN).submit(order(qty=10))
    settle(kit.account, NEXT)
    kit.operations.set_risk_limits(RiskLimits(max_position_shares=9), ACTION)


def _a_symbol_blocked(kit: Kit, client: redis.Redis) -> None:
    kit.operations.block_symbol("F", ACTION)


@pytest.mark.parametrize(
    ("happens", "state", "cause"),
    [
        (_lost, TradingState.HALTED, "the risk book is missing"),
        (_not_told, TradingState.HALTED, "book_stale"),
        (_missed_a_clearance, TradingState.HALTED, "book_stale"),
        (_engaged, TradingState.HALTED, "kill_switch_engaged"),
        (_tripped, TradingState.REDUCING, "breaker_tripped"),
        (_quiet, TradingState.REDUCING, "quiet_period"),
        (_gate_closed, TradingState.REDUCING, "gate_closed"),
        (_over_a_limit, TradingState.REDUCING, "limit_breached"),
        (_a_symbol_blocked, TradingState.ACTIVE, ""),
    ],
)
def test_what_an_account_may_do_and_why(
    kit: Kit, redis_url: str, happens: Callable[[Kit, redis.Redis], None], state: TradingState, cause: str
) -> None:
    """Three states: one place derives them, so that `status` and whoever asks for the state alone say the same.

    And what then clears is that: nothing, what reduces, or all.
    """
    with redis.Redis.from_url(redis_url) as client:
        happens(kit, client)
    found, why = trading_state(kit.account)
    shown = _trading(read_status(kit.account))
    assert (state, state.value) == (found, shown["state"])
    assert why.startswith(cause)
    assert shown.get("why", "").startswith(why)

    session = kit.exchange.current_session
    assert session is not None
    grows = SubmissionService(kit.account, RUN).submit(order("MSFT", session=session))
    assert grows.refused == (state is not TradingState.ACTIVE)
    if state is not TradingState.ACTIVE:
        assert grows.verdict is not None
        assert grows.verdict.code.value in {cause, "book_missing"}


def test_differences_are_listed_with_what_to_do(kit: Kit, redis_url: str) -> None:
    """The same rows as `verify-book`."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    status = read_status(kit.account)
    (row,) = status.differences
    assert ("book_missing", True) == (row["difference"], "rebuild-risk-book" in row["what_to_do"])
    assert not status.healthy


def test_an_account_that_never_traded_has_nothing_to_judge(kit: Kit) -> None:
    """No session, no readings, no breach."""

    class Unopened:
        current_session = None

        def __getattr__(self, name: str) -> object:
            return getattr(kit.broker, name)

    assert () == assess(replace(kit.account, broker=Unopened())).readings
