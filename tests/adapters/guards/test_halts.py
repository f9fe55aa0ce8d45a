"""Kill switch, breaker, quiet period and blocked symbols: what still clears, and who may change them."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.adapters.guards.builders import ACTION, EMPTY, LIMITS, PRICE, ask, holding
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker, KillSwitch, TradingState
from trading_pipeline.errors import OperatorError

REDUCING = ask("reducing", Side.SELL, 50)
GROWING = ask("growing", Side.BUY, 50)
FLATTEN = ask("flatten", Side.SELL, 50, flatten=True)
LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def long_guard(guard: RiskGuard) -> RiskGuard:
    """A guard whose account holds 100 AAPL."""
    guard.rebuild(holding(AAPL=100))
    return guard


def codes(guard: RiskGuard) -> tuple[VerdictCode, VerdictCode, VerdictCode]:
    """Return the verdicts on a growing, a reducing and a flattening order."""
    return guard.clear(GROWING).code, guard.clear(REDUCING).code, guard.clear(FLATTEN).code


def state(guard: RiskGuard) -> TradingState:
    """Return what the account may do."""
    book = guard.snapshot()
    assert book is not None
    return book.state


def test_kill_switch_lets_only_a_flatten_through(long_guard: RiskGuard) -> None:
    """Engaged: even a reducing order is refused, but for an operator's flatten."""
    long_guard.engage_kill_switch(ACTION)

    verdict = long_guard.clear(GROWING)

    assert "ada: a drill, announced on the desk" == verdict.detail
    no = VerdictCode.KILL_SWITCH_ENGAGED
    assert (no, no, VerdictCode.CLEARED) == codes(long_guard)
    assert TradingState.HALTED == state(long_guard)


def test_disengaged_kill_switch_trades_again(long_guard: RiskGuard) -> None:
    """Disengaging undoes the halt and nothing else."""
    long_guard.engage_kill_switch(ACTION)
    long_guard.disengage_kill_switch(ACTION)

    assert long_guard.clear(GROWING).cleared
    assert TradingState.ACTIVE == state(long_guard)


def test_kill_switch_does_not_move_twice(guard: RiskGuard) -> None:
    """An operator who changes nothing is told so."""
    with pytest.raises(OperatorError, match="not engaged"):
        guard.disengage_kill_switch(ACTION)
    guard.engage_kill_switch(ACTION)
    with pytest.raises(OperatorError, match="engaged already"):
        guard.engage_kill_switch(ACTION)


def test_tripped_breaker_lets_reducing_orders_through(long_guard: RiskGuard) -> None:
    """Tripped: what brings a position nearer to zero clears, the rest does not."""
    long_guard.trip("daily loss of 2.1 %")

    assert "daily loss of 2.1 %" == long_guard.clear(GROWING).detail
    assert (VerdictCode.BREAKER_TRIPPED, VerdictCode.CLEARED, VerdictCode.CLEARED) == codes(long_guard)
    assert TradingState.REDUCING == state(long_guard)


def test_tripped_breaker_lets_nothing_cross_zero(long_guard: RiskGuard) -> None:
    """Pending orders count: together the sells may take the position to zero, not past it."""
    long_guard.trip("drawdown")

    assert long_guard.clear(ask("one", Side.SELL, 60)).cleared
    assert VerdictCode.BREAKER_TRIPPED == long_guard.clear(ask("two", Side.SELL, 41)).code
    assert long_guard.clear(ask("three", Side.SELL, 40)).cleared


def test_tripping_twice_keeps_the_first_reason(guard: RiskGuard) -> None:
    """The rule that tripped first is the one to look at, and the second trip changes nothing."""
    first = guard.trip("drawdown")

    assert first == guard.trip("error rate")
    assert "drawdown" == guard.clear(GROWING).detail


def test_reset_starts_the_quiet_period(long_guard: RiskGuard) -> None:
    """After a reset only reducing orders clear for a while, and the refusal says until when."""
    long_guard.trip("drawdown")
    long_guard.reset(ACTION)

    verdict = long_guard.clear(GROWING)

    assert VerdictCode.QUIET_PERIOD == verdict.code
    assert verdict.retry_after_ms is not None
    assert 290_000 < verdict.retry_after_ms <= 300_000
    assert (VerdictCode.QUIET_PERIOD, VerdictCode.CLEARED, VerdictCode.CLEARED) == codes(long_guard)
    assert TradingState.REDUCING == state(long_guard)


def test_quiet_period_ends_by_itself(guard: RiskGuard) -> None:
    """When its time is over the breaker is open without anybody's doing."""
    guard.set_limits(replace(LIMITS, quiet_period_seconds=1))
    guard.trip("drawdown")
    guard.reset(ACTION)

    assert VerdictCode.QUIET_PERIOD == guard.clear(GROWING).code
    time.sleep(1.01)
    assert guard.clear(GROWING).cleared
    book = guard.snapshot()
    assert book is not None
    assert (Breaker.OPEN, None, TradingState.ACTIVE) == (book.breaker, book.quiet_until, book.state)


def test_quiet_period_can_trip_again(guard: RiskGuard) -> None:
    """A rule that fires in the quiet period trips the breaker anew, with its own reason."""
    guard.trip("drawdown")
    guard.reset(ACTION)
    guard.trip("error rate")

    assert (VerdictCode.BREAKER_TRIPPED, "error rate") == (guard.clear(GROWING).code, guard.clear(GROWING).detail)


def test_only_a_tripped_breaker_is_reset(guard: RiskGuard) -> None:
    """Neither an open breaker nor one in its quiet period can be reset."""
    with pytest.raises(OperatorError, match="not tripped"):
        guard.reset(ACTION)
    guard.trip("drawdown")
    guard.reset(ACTION)
    with pytest.raises(OperatorError, match="not tripped"):
        guard.reset(ACTION)


def test_kill_switch_and_breaker_are_independent(long_guard: RiskGuard) -> None:
    """Disengaging the one does not reset the other."""
    long_guard.trip("drawdown")
    long_guard.engage_kill_switch(ACTION)

    assert VerdictCode.KILL_SWITCH_ENGAGED == long_guard.clear(REDUCING).code
    long_guard.disengage_kill_switch(ACTION)
    assert VerdictCode.BREAKER_TRIPPED == long_guard.clear(GROWING).code


def test_blocked_symbol_clears_nothing_but_a_flatten(long_guard: RiskGuard) -> None:
    """A block holds for one symbol, for reducing orders as well, until it is lifted."""
    long_guard.block("AAPL")

    no = VerdictCode.SYMBOL_BLOCKED
    assert (no, no, VerdictCode.CLEARED) == codes(long_guard)
    assert long_guard.clear(ask("other", symbol="MSFT")).cleared
    long_guard.unblock("AAPL")
    assert long_guard.clear(GROWING).cleared


def test_blocking_twice_changes_nothing(guard: RiskGuard) -> None:
    """Block and unblock count as changes only when they change something."""
    assert [1, 1, 2, 2] == [
        guard.block("AAPL"),
        guard.block("AAPL"),
        guard.unblock("AAPL"),
        guard.unblock("AAPL"),
    ]


@pytest.mark.parametrize(("side", "qty"), [(Side.BUY, 1), (Side.SELL, 101)], ids=["away from zero", "across zero"])
@pytest.mark.parametrize("halted", [False, True])
def test_flatten_must_reduce_in_any_state(long_guard: RiskGuard, side: Side, qty: int, *, halted: bool) -> None:
    """The flag that passes the kill switch is worth nothing on an order that does not flatten."""
    if halted:
        long_guard.engage_kill_switch(ACTION)

    assert VerdictCode.NOT_REDUCING == long_guard.clear(ask("f", side, qty, flatten=True)).code


def test_flat_account_has_nothing_to_flatten(guard: RiskGuard) -> None:
    """No position, no reducing order."""
    assert VerdictCode.NOT_REDUCING == guard.clear(FLATTEN).code


def test_short_position_is_flattened_by_a_buy(guard: RiskGuard) -> None:
    """The rule is the same on the other side of zero."""
    guard.rebuild(holding(AAPL=-100))
    guard.engage_kill_switch(ACTION)

    assert VerdictCode.NOT_REDUCING == guard.clear(ask("over", Side.BUY, 101, flatten=True)).code
    assert guard.clear(ask("all", Side.BUY, 100, flatten=True)).cleared


@pytest.mark.parametrize(
    ("halts", "code"),
    [
        ({"kill_switch": KillSwitch.ENGAGED}, VerdictCode.KILL_SWITCH_ENGAGED),
        ({"breaker": Breaker.TRIPPED}, VerdictCode.BREAKER_TRIPPED),
        ({"breaker": Breaker.QUIET_PERIOD, "quiet_until": LATER}, VerdictCode.QUIET_PERIOD),
        ({"blocked": frozenset({"AAPL"})}, VerdictCode.SYMBOL_BLOCKED),
    ],
)
def test_halts_survive_a_rebuild(guard: RiskGuard, halts: dict[str, object], code: VerdictCode) -> None:
    """A rebuilt book is as halted as the ledger says."""
    guard.rebuild(replace(EMPTY, **halts))

    assert code == guard.clear(GROWING).code


def test_quiet_period_that_ended_before_the_rebuild_is_over(guard: RiskGuard) -> None:
    """The end of the quiet period is an instant, not a new period."""
    past = datetime(2024, 1, 1, tzinfo=UTC)
    guard.rebuild(replace(EMPTY, breaker=Breaker.QUIET_PERIOD, quiet_until=past))

    assert guard.clear(GROWING).cleared


def test_quiet_until_is_shown_as_given(guard: RiskGuard) -> None:
    """The instant survives the way through Redis, to the millisecond."""
    until = LATER + timedelta(milliseconds=123)
    guard.rebuild(replace(EMPTY, breaker=Breaker.QUIET_PERIOD, quiet_until=until, marks={"AAPL": PRICE}))

    book = guard.snapshot()
    assert book is not None
    assert until == book.quiet_until
