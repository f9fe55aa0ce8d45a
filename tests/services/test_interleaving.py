"""Two operators at once: whatever the order of their steps, a book that clears is the one the ledger decided."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, permutations
from typing import Any

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry
from simulation.baton import Actor
from support.servers import fresh_database
from support.stepped_redis import SteppedRedis
from support.trading import ACTION, FREE, flat_market, valuation

from trading_pipeline.adapters.broker.simulated import SimulatedExchange
from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import Ledger, migrate
from trading_pipeline.core.risk.limits import LimitChange, RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import ServerUrls
from trading_pipeline.errors import OperatorError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations

SCHEDULES = sorted(set(permutations("AABB")))
"""Who takes the next step: up to the next Redis command, or to the end. Who has ended takes none."""
LATER = datetime(2100, 1, 1, tzinfo=UTC)

Verb = Callable[[RiskOperations], object]


def limit(shares: int) -> Verb:
    """Set a limit."""
    return lambda on: on.change_risk_limits([LimitChange(limit="max_order_shares", value=shares)], ACTION)


def nothing(_: RiskOperations) -> None:
    """Prepare nothing."""


def trip(on: RiskOperations) -> object:
    """Trip the breaker."""
    return on.trip_circuit_breaker(ACTION)


def reset(on: RiskOperations) -> object:
    """Reset the breaker."""
    return on.reset_circuit_breaker(ACTION)


def engage(on: RiskOperations) -> object:
    """Engage the kill switch."""
    return on.engage_kill_switch(ACTION)


def disengage(on: RiskOperations) -> object:
    """Disengage the kill switch."""
    return on.disengage_kill_switch(ACTION)


def close_gate(on: RiskOperations) -> object:
    """Close the gate."""
    return on.close_gate(ACTION)


def open_gate(on: RiskOperations) -> object:
    """Open the gate."""
    return on.open_gate(ACTION)


def block(on: RiskOperations) -> object:
    """Block a symbol."""
    return on.block_symbol("AAPL", ACTION)


def unblock(on: RiskOperations) -> object:
    """Unblock it."""
    return on.unblock_symbol("AAPL", ACTION)


def quarantine(on: RiskOperations) -> object:
    """Quarantine a symbol."""
    return on.quarantine_symbol("AAPL", LATER, ACTION)


def release(on: RiskOperations) -> object:
    """Release it."""
    return on.release_symbol("AAPL", ACTION)


class WaitingRedis(SteppedRedis):
    """A client that stops before every command until its actor is given the next step."""

    boundary: Callable[[], None] = staticmethod(lambda: None)

    def execute_command(self, *args: object, **options: object) -> object:
        """Wait, then send."""
        self.boundary()
        return super().execute_command(*args, **options)


@dataclass
class Desk:
    """One operator's connections."""

    ledger: Ledger
    client: WaitingRedis

    def account(self, name: str, exchange: SimulatedExchange) -> TradingAccount:
        """Open an account over them."""
        return TradingAccount(
            account=name,
            strategy_id="tested",
            ledger=self.ledger,
            guard=RiskGuard(self.client, name),
            broker=exchange,
            calendar=xnys(),
            clock=SystemClock(),
            valuation=valuation(),
        )


@dataclass
class Office:
    """Two operators, a watcher, and an exchange at which nobody trades."""

    desks: dict[str, Desk]
    exchange: SimulatedExchange
    accounts: Iterator[str]

    def open(self, who: str, name: str) -> TradingAccount:
        """Open an account at somebody's desk."""
        return self.desks[who].account(name, self.exchange)


@pytest.fixture(scope="module")
def office(servers: ServerUrls) -> Iterator[Office]:
    """One database for all tests of this file: each schedule has an account of its own."""
    settings: dict[str, Any] = {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0), "decode_responses": True}
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(servers))
        migrate(url)
        exchange = SimulatedExchange(url, account="nobody", calendar=xnys(), openings=flat_market(), costs=FREE)
        stack.callback(exchange.close)
        desks: dict[str, Desk] = {}
        for who in ("A", "B", "watcher"):
            client = stack.enter_context(WaitingRedis.from_url(servers.redis_url, **settings))
            desks[who] = Desk(ledger=stack.enter_context(Ledger(url, pool_size=2)), client=client)
        yield Office(desks=desks, exchange=exchange, accounts=(f"interleaved-{number}" for number in count()))


@pytest.mark.parametrize(
    ("before", "first", "second"),
    [
        pytest.param(trip, reset, trip, id="reset-trip"),
        pytest.param(trip, reset, engage, id="reset-engage"),
        pytest.param(engage, disengage, engage, id="disengage-engage"),
        pytest.param(engage, disengage, trip, id="disengage-trip"),
        pytest.param(close_gate, open_gate, close_gate, id="open_gate-close_gate"),
        pytest.param(block, unblock, block, id="unblock-block"),
        pytest.param(quarantine, release, quarantine, id="release-quarantine"),
        pytest.param(nothing, limit(500_000), limit(7), id="raise-lower"),
        pytest.param(nothing, trip, limit(7), id="trip-lower"),
        pytest.param(nothing, trip, trip, id="trip-trip"),
    ],
)
def test_a_book_that_is_current_holds_what_the_ledger_decided(
    office: Office, before: Verb, first: Verb, second: Verb
) -> None:
    """Every order of the steps of two actions: the book follows both in the ledger's order, or clears nothing."""
    current = [_play(office, before, first, second, schedule) for schedule in SCHEDULES]
    assert any(current), "no book followed the ledger in any order"


def test_a_second_trip_leaves_the_book_current(office: Office) -> None:
    """Tripping what is tripped decides nothing new: reducing orders go on clearing, in whatever order both are told."""
    assert all(_play(office, nothing, trip, trip, schedule) for schedule in SCHEDULES)


def _play(office: Office, before: Verb, first: Verb, second: Verb, schedule: tuple[str, ...]) -> bool:
    name = next(office.accounts)
    watcher = office.open("watcher", name)
    RiskOperations(watcher).initialize_risk_book(RiskLimits(), ACTION)
    before(RiskOperations(watcher))
    verbs = {"A": first, "B": second}
    actors = {who: _actor(who, office.desks[who], office.open(who, name), verb) for who, verb in verbs.items()}
    for who in (*schedule, *"AAAABBBB"):
        if not actors[who].done:
            actors[who].step()
    assert [(True, None)] * 2 == [(actor.done, actor.failure) for actor in actors.values()]
    return _is_current(watcher, schedule)


def _actor(who: str, desk: Desk, account: TradingAccount, verb: Verb) -> Actor:
    def act() -> None:
        desk.client.boundary = actor.give_back
        try:
            verb(RiskOperations(account))
        except OperatorError:
            return  # the other one was first in the ledger, and this one is told so
        finally:
            desk.client.boundary = lambda: None

    actor = Actor(who, act)
    return actor


def _is_current(account: TradingAccount, schedule: tuple) -> bool:
    record, book = account.ledger.books.get(account.account), account.guard.snapshot()
    assert book is not None
    if record.epoch != book.epoch:
        return False
    assert record.kill_switch is book.kill_switch, schedule
    assert record.breaker is book.breaker, schedule
    assert record.gate is book.gate, schedule
    assert record.limit_set == book.limit_set, schedule
    assert set(account.ledger.books.blocked(account.account)) == set(book.blocked), schedule
    assert account.ledger.books.quarantined(account.account) == book.quarantined, schedule
    return True
