"""Processes that die at a boundary of their choice: a commit, a message to the guard, a request to the broker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support.stepped_redis import SteppedRedis
from support.trading import valuation
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.account import TradingAccount


class Crash(BaseException):
    """The process is gone."""


@dataclass
class Deadline:
    """Counts boundaries and crashes at one of them; afterwards the process does nothing any more."""

    at: int | None = None
    seen: list[str] = field(default_factory=list)

    def reached(self, boundary: str) -> None:
        """Note a boundary, or die at it."""
        if self.at is not None and len(self.seen) >= self.at:
            raise Crash(boundary)
        self.seen.append(boundary)


@dataclass
class Recorder(Deadline):
    """Follows an undisturbed run, and keeps the boundaries at which there is something else than at the one before.

    A crash at any other is a crash at that one: whoever comes next finds the same.

    Attributes:
        look: what there is, for everybody.
        kept: number and name of the boundaries to crash at.
    """

    look: Callable[[], object] = field(kw_only=True)
    kept: list[tuple[int, str]] = field(default_factory=list)

    _there: object = None

    def reached(self, boundary: str) -> None:
        """Note a boundary, and whether it is one of its own; at the first of all nothing has happened yet."""
        there = self.look()
        if self.seen and there != self._there:
            self.kept.append((len(self.seen), boundary))
        self._there = there
        super().reached(boundary)


@dataclass(frozen=True)
class Onlooker:
    """Connections that see what is there for everybody, and pass no boundary."""

    database: psycopg.Connection
    redis: redis.Redis

    def there(self, account: str) -> tuple[object, ...]:
        """Return what tells whether anything was committed to the database, by whatever door, and the whole book."""
        # Which transactions are over: where none that writes has ended in between, everybody reads the same rows. A
        # count or the highest of them would miss one that began before another and ends after it.
        ended = self.database.execute("select pg_current_snapshot()::text").fetchone()
        return (ended, *(self.redis.dump(key) for key in book_keys(account)))

    def recorder(self, account: str, beside: Callable[[], object] = lambda: None) -> Recorder:
        """Follow a process of an account, and see where a crash of it leaves something of its own.

        Args:
            account: whose book to look at.
            beside: what else there is: at a broker that keeps its books elsewhere.
        """
        return Recorder(look=lambda: (self.there(account), beside()))


@contextmanager
def looking_on(database_url: str, redis_url: str) -> Iterator[Onlooker]:
    """Open connections of nobody who works."""
    with (
        psycopg.connect(database_url, autocommit=True) as database,
        redis.Redis.from_url(redis_url) as client,
    ):
        yield Onlooker(database, client)


class Watch(Protocol):
    """Whoever is told of boundaries, and dies at one of them."""

    def reached(self, boundary: str) -> None:
        """Note a boundary, or die at it."""


class DyingRedis(SteppedRedis):
    """A client whose process may die before a command is sent or after it was answered."""

    deadline: Watch

    def execute_command(self, *args: object, **options: object) -> object:
        """Send between two boundaries."""
        self.deadline.reached("before redis")
        reply = super().execute_command(*args, **options)
        self.deadline.reached("after redis")
        return reply


class DyingBroker:
    """A broker whose caller may die before an order is sent or cancelled, or after it was."""

    def __init__(self, broker: Any, deadline: Deadline, sent: list[str]) -> None:
        self._broker, self._deadline, self._sent = broker, deadline, sent

    def submit(self, *args: Any) -> Any:
        """Send between two boundaries."""
        self._deadline.reached("before send")
        self._sent.append(args[0].client_order_id)
        answer = self._broker.submit(*args)
        self._deadline.reached("after send")
        return answer

    def cancel(self, client_order_id: str) -> Any:
        """Cancel between two boundaries."""
        self._deadline.reached("before cancel")
        answer = self._broker.cancel(client_order_id)
        self._deadline.reached("after cancel")
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)


class Wires:
    """Connections that processes of a test use one after the other, each with a deadline of its own.

    To open some costs more than most cases do with them. A process that dies leaves nothing on them: PostgreSQL rolls
    back what was under way, and Redis has answered what was asked.
    """

    def __init__(self, ledger_url: str, redis_url: str) -> None:
        settings = {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0), "decode_responses": True}
        self.ledger = Ledger(ledger_url, observer=self.reached)
        self.client = DyingRedis.from_url(redis_url, **settings)
        self.client.deadline = self
        self._deadline = Deadline()

    def reached(self, boundary: str) -> None:
        """Pass a boundary on to the process that works now."""
        self._deadline.reached(boundary)

    @contextmanager
    def process(self, name: str, broker: Any, clock: Clock, deadline: Deadline) -> Iterator[TradingAccount]:
        """Give an account as a process of its own has it; whatever it remembers is its own."""
        before, self._deadline = self._deadline, deadline
        try:
            yield TradingAccount(
                account=name,
                strategy_id=name,
                ledger=self.ledger,
                guard=RiskGuard(self.client, name),
                broker=broker,
                calendar=xnys(),
                clock=clock,
                valuation=valuation(),
            )
        finally:
            self._deadline = before


@contextmanager
def wires(database_url: str, redis_url: str) -> Iterator[Wires]:
    """Open connections that processes may share."""
    opened = Wires(database_url, redis_url)
    with opened.ledger, opened.client:
        yield opened
