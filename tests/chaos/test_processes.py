"""Real processes on real servers, killed, frozen, cut off and emptied out: what reached the exchange is judged after.

`CHAOS_ROUNDS` says how many blows are dealt; the default is short.
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg.rows import dict_row
from support.trading import ACCOUNT, ACTION, SESSION, Kit, trading_kit

from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import PipelineError
from trading_pipeline.services.settlement import settle

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "8"))
PROCESSES = 2
LIMIT = 40
LIMITS = RiskLimits(
    max_order_adv_bps=None,
    max_position_equity_bps=None,
    max_position_shares=LIMIT,
    max_self_match_shares=10**6,
    max_orders_per_second=10**6,
    max_orders_per_minute=10**6,
)
BLOWS = ("kill", "freeze", "cut redis", "cut postgres", "forget scripts", "flush")
_ROOT = Path(__file__).parents[2]


class Pack:
    """The hammering processes."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._urls = (database_url, redis_url)
        self._born = 0
        self.alive = [self._start() for _ in range(PROCESSES)]

    def _start(self) -> subprocess.Popen[bytes]:
        self._born += 1
        return subprocess.Popen(
            [sys.executable, str(_ROOT / "tests" / "chaos" / "hammer.py"), *self._urls, str(self._born)],
            env=os.environ | {"PYTHONPATH": f"{_ROOT}:{_ROOT / 'tests'}"},
            stdout=subprocess.PIPE,
        )

    def await_round(self, at: int) -> None:
        """Wait until a process has made one more round."""
        assert self.alive[at].stdout.read(1) == b"."

    def kill(self, at: int) -> None:
        """Kill a process in the middle of whatever it does, and start another."""
        self.alive[at].kill()
        self.alive[at].wait()
        self.alive[at].stdout.close()
        self.alive[at] = self._start()

    def end(self) -> None:
        """Kill them all."""
        for process in self.alive:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture
def kit(database_url: str, redis_url: str) -> Iterator[Kit]:
    """An account with room for a part of what is wanted."""
    with trading_kit(database_url, redis_url, limits=LIMITS) as opened:
        yield opened


def test_nothing_reaches_the_exchange_that_should_not(kit: Kit, database_url: str, redis_url: str) -> None:
    """Whatever is killed, frozen, cut or emptied in between."""
    chance = random.Random(ROUNDS)
    pack = Pack(database_url, redis_url)
    with (
        psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as watch,
        redis.from_url(redis_url) as cli,
    ):
        try:
            for at in range(PROCESSES):
                pack.await_round(at)
            for number in range(ROUNDS):
                _strike(BLOWS[number % len(BLOWS)], chance.randrange(PROCESSES), pack, kit, watch, cli)
            kit.operations.engage_kill_switch(ACTION)
            halted = watch.execute("select clock_timestamp() as at").fetchone()["at"]
            for at in range(PROCESSES):
                for _ in range(2):
                    pack.await_round(at)
        finally:
            pack.end()
        arrived = watch.execute("select * from exchange.orders order by submitted_at").fetchall()
    assert arrived
    _exposure_stays_within_limits(arrived)
    # What had passed its last check when the switch was pressed is on its way: one order a process at most.
    assert PROCESSES >= sum(1 for one in arrived if one["submitted_at"] > halted)
    _everything_comes_to_rest(kit)


def _strike(blow: str, at: int, pack: Pack, kit: Kit, watch: Any, cli: redis.Redis) -> None:
    if blow == "kill":
        pack.kill(at)
    elif blow == "freeze":
        pack.alive[at].send_signal(signal.SIGSTOP)
        pack.await_round((at + 1) % PROCESSES)
        pack.alive[at].send_signal(signal.SIGCONT)
    elif blow == "cut redis":
        cli.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    elif blow == "cut postgres":
        watch.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and usename = current_user"""
        )
    elif blow == "forget scripts":
        cli.script_flush()
    else:
        cli.flushall()
        _rebuild(kit)
    pack.await_round(at)


def _rebuild(kit: Kit) -> None:
    """Rebuild the book as an operator would: again, when the lane or a connection was not to be had."""
    for attempt in range(20):
        try:
            kit.operations.rebuild_risk_book(ACTION)
        except PipelineError:
            if attempt == 19:
                raise
        else:
            return


def _exposure_stays_within_limits(arrived: list[dict[str, Any]]) -> None:
    """At every prefix of what the exchange accepted; nothing was filled or cancelled meanwhile."""
    pending: dict[tuple[str, str], int] = {}
    for one in arrived:
        key = (one["symbol"], one["side"])
        pending[key] = pending.get(key, 0) + one["qty"]
        assert pending[key] <= LIMIT, f"{one['side']} {one['symbol']}: {pending[key]} shares pending"


def _everything_comes_to_rest(kit: Kit) -> None:
    """After the next session has opened, ledger, book and exchange are the same."""
    _rebuild(kit)
    for _ in range(2):
        settle(kit.account, xnys().next(SESSION))
    book = kit.guard.snapshot()
    assert book is not None
    held = {symbol: qty for symbol, qty in book.positions.items() if qty}
    assert kit.exchange.positions() == kit.positions() == held
    live = [one.client_order_id for one in kit.ledger.orders.live(ACCOUNT)]
    assert [] == [one for one in live if kit.exchange.find(one) is not None]
