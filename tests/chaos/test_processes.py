"""Real processes on real servers, killed, frozen, cut off and emptied out: what reached the exchange is judged after.

`CHAOS_ROUNDS` says how many blows are dealt; the default is short.
"""

import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis
from psycopg.rows import dict_row
from support.trading import ACTION, Kit, trading_kit

from tests.chaos.pack import LIMITS, PROCESSES, Pack, everything_comes_to_rest, exposure_stays_within_limits, rebuild

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "8"))
BLOWS = ("kill", "freeze", "cut redis", "cut postgres", "forget scripts", "flush")


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
    exposure_stays_within_limits(arrived)
    # What had passed its last check when the switch was pressed is on its way: one order a process at most.
    assert PROCESSES >= sum(1 for one in arrived if one["submitted_at"] > halted)
    everything_comes_to_rest(kit)


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
        rebuild(kit)
    pack.await_round(at)
