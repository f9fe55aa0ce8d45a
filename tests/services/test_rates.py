"""A submission waits out the guard's rate limits: so long and no longer, and a halt meanwhile is seen."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
import redis
from support.stepped_redis import interrupted
from support.trading import ACCOUNT, ACTION, RUN, Kit, order, trading_kit

from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.scripts import source
from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.submission import MOST_WAIT, Submission, SubmissionService

CLOCK = "local function now_us() return tonumber(redis.call('GET', 'test:now_us')) end"
SYMBOLS = ("AAPL", "MSFT", "XOM", "KO", "PG", "JNJ", "V", "CVX", "HD", "WMT", "MRK", "PFE")


@dataclass
class PacedClock:
    """Time that passes only when somebody pauses, for the guard as well."""

    client: redis.Redis
    instant: datetime = field(default_factory=lambda: datetime.now(UTC))
    pauses: list[timedelta] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    def now(self) -> datetime:
        """Return the instant it has come to."""
        return self.instant

    def pause(self, duration: timedelta) -> None:
        """Move on, and let happen what happens meanwhile."""
        self.pauses.append(duration)
        self.instant += duration
        self.tell()
        self.meanwhile()

    def tell(self) -> None:
        """Let the guard's scripts know."""
        self.client.set("test:now_us", int(self.instant.timestamp() * 1_000_000))


@dataclass
class Paced:
    """An account whose guard clears two orders a second and five a minute."""

    kit: Kit
    account: TradingAccount
    clock: PacedClock

    def submit(self, news: list[NewOrder]) -> list[Submission]:
        """Submit in one go."""
        return SubmissionService(self.account, RUN).submit_all(news)


@pytest.fixture
def paced(database_url: str, redis_url: str) -> Iterator[Paced]:
    """Opened on real servers; only the clock is ours."""
    limits = RiskLimits(max_orders_per_second=2, max_orders_per_minute=5)
    with trading_kit(database_url, redis_url, limits=limits) as kit, connect(redis_url) as client:
        clock = PacedClock(client)
        clock.tell()
        guard = RiskGuard(client, ACCOUNT, clock=CLOCK)
        yield Paced(kit=kit, account=replace(kit.account, guard=guard, clock=clock), clock=clock)


def test_a_batch_larger_than_the_bucket_is_submitted_whole(paced: Paced) -> None:
    """Two at once, two a second later: nobody has to run it again."""
    submissions = paced.submit([order(symbol) for symbol in SYMBOLS[:4]])
    assert [OrderState.ACCEPTED] * 4 == [one.order.state for one in submissions]
    assert [timedelta(seconds=1)] == paced.clock.pauses


def test_what_would_have_to_wait_too_long_is_refused_with_the_wait(paced: Paced) -> None:
    """Five a minute: twelve take longer than a submission may wait, so the rest is refused, and says for how long."""
    submissions = paced.submit([order(symbol) for symbol in SYMBOLS])

    refused = [one.verdict for one in submissions if one.refused]
    assert refused
    assert {VerdictCode.ORDERS_PER_MINUTE} == {verdict.code for verdict in refused}
    assert all(verdict.retry_after_ms for verdict in refused)
    assert "ask again in" in refused[0].describe()
    assert MOST_WAIT >= sum(paced.clock.pauses, timedelta(0))

    paced.clock.pause(timedelta(minutes=2))
    again = paced.submit([order(symbol) for symbol in SYMBOLS])
    assert {OrderState.ACCEPTED} == {one.order.state for one in again}
    assert len(SYMBOLS) == len(paced.kit.broker.sent)


def test_a_halt_during_the_wait_is_seen(paced: Paced) -> None:
    """What was waiting is asked again, in the ledger and in the guard, and refused for what holds then."""
    paced.clock.meanwhile = lambda: paced.kit.operations.engage_kill_switch(ACTION)
    submissions = paced.submit([order(symbol) for symbol in SYMBOLS[:4]])

    states = [OrderState.ACCEPTED] * 2 + [OrderState.REFUSED] * 2
    assert states == [one.order.state for one in submissions]
    assert {VerdictCode.KILL_SWITCH_ENGAGED} == {one.verdict.code for one in submissions[2:]}
    assert 1 == len(paced.clock.pauses)


def test_a_change_of_the_book_during_the_wait_does_not_refuse_what_waits(paced: Paced) -> None:
    """The guard is asked with what the ledger says after the wait, not before it."""
    paced.clock.meanwhile = lambda: paced.kit.operations.block_symbol("ORCL", ACTION)
    submissions = paced.submit([order(symbol) for symbol in SYMBOLS[:4]])
    assert [OrderState.ACCEPTED] * 4 == [one.order.state for one in submissions]


def test_what_clears_behind_one_that_waits_is_not_sent_before_it(paced: Paced, redis_url: str) -> None:
    """Time passes while they are asked for: the fourth finds room where the third found none, and waits as well."""
    news = sorted((order(symbol) for symbol in SYMBOLS[:4]), key=lambda new: new.intent.client_order_id)
    with closing(interrupted(redis_url)) as line:
        line.script_load(source("clear", CLOCK))
        line.interrupt(3, lambda: paced.clock.pause(timedelta(seconds=1)))
        account = replace(paced.account, guard=RiskGuard(line, ACCOUNT, clock=CLOCK))
        submissions = SubmissionService(account, RUN).submit_all(news)
        assert 1 == paced.kit.guard.snapshot().sequence - 3
    assert [OrderState.ACCEPTED] * 4 == [one.order.state for one in submissions]
    assert [new.intent.client_order_id for new in news] == paced.kit.broker.sent


def test_a_limit_of_no_orders_at_all_is_not_waited_for(paced: Paced) -> None:
    """Time changes nothing there."""
    paced.kit.operations.set_risk_limits(RiskLimits(max_orders_per_second=0), ACTION)
    assert paced.submit([order()])[0].refused
    assert [] == paced.clock.pauses
