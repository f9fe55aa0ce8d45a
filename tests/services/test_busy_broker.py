"""A broker that takes no orders for a while: the run waits for it, with the lane free, and fails by name if in vain."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.alpaca.bench import Bench
from support.alpaca.server import Fault
from support.session_lake import session_lake
from support.trading import ACCOUNT, ACTION, RUN, SESSION, order
from support.window import IN_TIME

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.errors import OrdersUnsent
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.busy_broker import PATIENCE, UNTOLD, require_sent, send_rest
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebalance import Rebalance, rebalance
from trading_pipeline.services.session_story import stories
from trading_pipeline.services.submission import SubmissionService

pytestmark = pytest.mark.usefixtures("early")

ORDERS = "/v2/orders"
ENDS = datetime(2023, 9, 5, 13, 25, tzinfo=UTC)
SYMBOLS = ("AAPL", "MSFT", "NVDA")
Halt = Callable[[RiskOperations], object]
HALTS: list[tuple[Halt, VerdictCode]] = [
    (lambda operations: operations.engage_kill_switch(ACTION), VerdictCode.KILL_SWITCH_ENGAGED),
    (lambda operations: operations.trip_circuit_breaker(ACTION), VerdictCode.BREAKER_TRIPPED),
]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake that wants one order, ten shares of AAPL."""
    return session_lake(tmp_path)


def test_a_run_waits_for_the_reset_of_the_limit_and_sends_the_rest(
    bound: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """The server says when it takes requests again: not before, and within the same run."""
    bench.server.plan_for("POST", ORDERS, _busy_until(IN_TIME + timedelta(seconds=40)))
    result = _run(bound, lake)
    assert (1, []) == (result.sent_count, result.unsent)
    assert [40.0] == bench.waits.waited
    assert "1 of 1 order(s) at the broker, 0 refused" == result.summary
    require_sent(bound, SESSION, result.unsent, result.why_unsent)


def test_what_is_left_is_sent_once_without_asking_for_what_the_broker_cannot_have(
    bound: TradingAccount, bench: Bench
) -> None:
    """Those behind the busy answer do not knock in vain, and none is looked up: the broker took none."""
    bench.server.plan_for("POST", ORDERS, None, Fault(status=429))
    service = SubmissionService(bound, RUN)
    first = service.submit_all([order(symbol) for symbol in SYMBOLS])
    assert [OrderState.ACCEPTED, OrderState.CLEARED, OrderState.CLEARED] == [one.order.state for one in first]
    assert [one.order.client_order_id for one in first[1:]] == list(service.left)
    assert 2 == bench.server.count("POST", ORDERS)
    with bound.ledger.lane(ACCOUNT):
        rest = service.go_on()
    assert [OrderState.ACCEPTED] * 2 == [one.order.state for one in rest]
    assert {} == service.left
    assert {1} == set(bench.exchange.accepted_per_intent().values())
    assert 0 == bench.server.count("GET", "/v2/orders:by_client_order_id")


def test_later_batches_are_cleared_and_not_offered_to_a_busy_broker(bound: TradingAccount, bench: Bench) -> None:
    """One answer is enough to know, however many batches follow."""
    bench.server.plan_for("POST", ORDERS, Fault(status=429))
    service = SubmissionService(bound, RUN)
    news = [order(symbol, qty=1 + at) for at in range(50) for symbol in SYMBOLS]
    sent = service.submit_all(news)
    assert {OrderState.CLEARED} == {one.order.state for one in sent if not one.refused}
    assert 1 == bench.server.count("POST", ORDERS)
    assert [one.order.client_order_id for one in sent if not one.refused] == list(service.left)


@pytest.mark.parametrize(("halt", "code"), HALTS)
def test_a_halt_during_the_wait_keeps_the_rest_back(
    halt: Halt, code: VerdictCode, bound: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """Nothing that was cleared before counts for more than what holds at the moment of sending."""
    bench.server.plan_for("POST", ORDERS, Fault(status=429))
    bench.waits.meanwhile = lambda: halt(RiskOperations(bound))
    result = _run(bound, lake)
    assert [code] == [one.verdict.code for one in result.submissions if one.verdict]
    assert [] == bench.exchange.accepted


def test_an_order_cancelled_during_the_wait_is_not_sent(bound: TradingAccount, bench: Bench, lake: Lake) -> None:
    """The lane is free while the run waits: an operator's cancel does not wait for it."""
    bench.server.plan_for("POST", ORDERS, Fault(status=429))
    bench.waits.meanwhile = lambda: RiskOperations(bound).cancel_all_orders(ACTION)
    result = _run(bound, lake)
    assert ([], []) == (bench.exchange.accepted, result.unsent)


def test_an_order_that_another_run_took_up_during_the_wait_is_sent_by_that_one_only(
    bound: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """Its fence was raised: whoever waits has lost it."""
    bench.server.plan_for("POST", ORDERS, Fault(status=429))
    bench.waits.meanwhile = lambda: SubmissionService(bound, RUN).resume()
    result = _run(bound, lake)
    assert {1} == set(bench.exchange.accepted_per_intent().values())
    assert ([OrderState.ACCEPTED], []) == ([one.order.state for one in result.submissions], result.unsent)


def test_a_broker_that_stays_busy_fails_the_run_by_name_and_the_next_run_sends(
    bound: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """Which orders, why, what sends them and until when; their exposure stays held."""
    tries = 1 + PATIENCE // UNTOLD
    bench.server.plan_for("POST", ORDERS, *[Fault(status=429)] * tries)
    result = _run(bound, lake)
    assert PATIENCE.total_seconds() == sum(bench.waits.waited)
    (left,) = result.unsent
    with pytest.raises(
        OrdersUnsent,
        match=rf"1 order\(s\) of session {SESSION} were not sent: buy 10 AAPL \({left.order.client_order_id}\)\. "
        r".*429.*waits 180 s in all.*run `submit_orders` for .* again until 2023-09-05 09:25:00 New York",
    ):
        require_sent(bound, SESSION, result.unsent, result.why_unsent)
    (told,) = stories(bound, [SESSION])
    assert "1 unsent" in told.reason
    assert 1 == _run(bound, lake).sent_count
    assert {1} == set(bench.exchange.accepted_per_intent().values())


def test_nobody_waits_beyond_the_end_of_the_window(bound: TradingAccount, bench: Bench, lake: Lake) -> None:
    """The reset comes too late: the run says so at once."""
    bench.waits.instant = ENDS - timedelta(seconds=30)
    bench.server.plan_for("POST", ORDERS, _busy_until(ENDS + timedelta(seconds=1)))
    result = _run(bound, lake)
    assert ([], 1) == (bench.waits.waited, len(result.unsent))
    assert "the window in which they may be sent ends before" in result.why_unsent


def test_a_window_that_ended_while_others_were_busy_sends_nothing(bound: TradingAccount, bench: Bench) -> None:
    """The wait took longer than was asked for: the window is looked at again after it."""
    bench.server.plan_for("POST", ORDERS, Fault(status=429))
    service = SubmissionService(bound, RUN)
    service.submit_all([order("AAPL")])

    def late() -> None:
        bench.waits.instant = ENDS

    bench.waits.meanwhile = late
    touched, why = send_rest(bound, service, SESSION)
    assert ([], []) == (touched, bench.exchange.accepted)
    assert "the session is not traded late" in why


def _busy_until(instant: datetime) -> Fault:
    return Fault(status=429, headers={"X-RateLimit-Reset": str(int(instant.timestamp()))})


def _run(account: TradingAccount, lake: Lake) -> Rebalance:
    return rebalance(account, lake, SESSION, provenance=Provenance(run_id="run"))
