"""The servers themselves die in the middle of the hammering and are started again, whole, emptied or of the past.

`CHAOS_ROUNDS` says how many deaths there are; by default each kind once.
"""

import os
import random
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row
from support.servers import fresh_database
from support.trading import RUN, Kit, order, trading_kit

from tests.chaos.pack import LIMITS, PROCESSES, Pack, everything_comes_to_rest, exposure_stays_within_limits, rebuild
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.embedded import ServerUrls, embedded_servers, embedded_status, stop_embedded
from trading_pipeline.embedded.paths import Paths
from trading_pipeline.errors import PipelineError
from trading_pipeline.services.submission import SubmissionService

WHOLE, EMPTIED, PAST = "whole", "emptied", "of the past"
DEATHS = (
    (("postgres",), WHOLE),
    (("redis",), WHOLE),
    (("redis",), EMPTIED),
    (("redis",), PAST),
    (("postgres", "redis"), WHOLE),
)
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", str(len(DEATHS))))
LOST = {VerdictCode.BOOK_MISSING, VerdictCode.BOOK_STALE}
_turns = count(1)


@dataclass
class Servers:
    """Both servers of a home, which may be killed; they come back on their ports."""

    home: Path
    _held: ExitStack = field(default_factory=ExitStack)

    def start(self) -> ServerUrls:
        """Start what is not running and say where it is."""
        return self._held.enter_context(embedded_servers(self.home))

    @property
    def book(self) -> Path:
        """What Redis has written down."""
        return Paths.of(self.home).data("redis") / "appendonly.aof"

    def die(self, *names: str) -> None:
        """Kill servers with all they have in memory; one that is left is stopped."""
        status = embedded_status(self.home)
        assert status is not None
        for name in names:
            os.kill(status.postgres_pid if name == "postgres" else status.redis_pid, signal.SIGKILL)
        self.end()

    def end(self) -> None:
        """Let go of them and wait until they are gone."""
        self._held.close()
        stop_embedded(self.home)


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Servers of the test's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        opened = Servers(Path(folder))
        yield opened
        opened.end()


def test_nothing_reaches_the_exchange_that_should_not_when_servers_die(servers: Servers) -> None:
    """PostgreSQL recovers what it had committed; Redis comes back with the book, without it, or with an older one."""
    chance = random.Random(ROUNDS)
    urls = servers.start()
    with ExitStack() as stack:
        database_url = stack.enter_context(fresh_database(urls))
        kit = stack.enter_context(trading_kit(database_url, urls.redis_url, limits=LIMITS))
        past = servers.book.read_bytes()
        pack = Pack(database_url, urls.redis_url)
        try:
            for number in range(ROUNDS):
                for at in range(PROCESSES):
                    pack.await_round(at)
                names, state = DEATHS[number % len(DEATHS)]
                servers.die(*names)
                if state is EMPTIED:
                    servers.book.unlink()
                elif state is PAST:
                    servers.book.write_bytes(past)
                assert urls == servers.start()
                pack.await_round(chance.randrange(PROCESSES))
                if state is WHOLE:
                    assert _verdict(kit) not in LOST
                else:
                    assert _verdict(kit) in LOST
                    rebuild(kit)
                    assert _verdict(kit) not in LOST
            for at in range(PROCESSES):
                pack.await_round(at)
        finally:
            pack.end()
        with psycopg.connect(database_url, row_factory=dict_row) as watch:
            arrived = watch.execute("select * from exchange.orders order by submitted_at").fetchall()
        assert arrived
        exposure_stays_within_limits(arrived)
        everything_comes_to_rest(kit)


def _verdict(kit: Kit) -> VerdictCode:
    """Ask for one more share as soon as the servers answer, and return what the guard said."""
    for attempt in range(50):
        try:
            submitted = SubmissionService(kit.account, RUN).submit(order("ZZZ", qty=1, repeat=next(_turns)))
        except PipelineError:
            if attempt == 49:
                raise
        else:
            assert submitted.verdict is not None
            if submitted.verdict.code is not VerdictCode.GUARD_UNAVAILABLE:
                return submitted.verdict.code
    pytest.fail("the guard did not come back")
