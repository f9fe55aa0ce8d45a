"""Real servers that come back with less than they were told: an old book clears nothing until it is rebuilt."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
from support.redis_servers import StartRedis

from tests.adapters.guards.builders import ACCOUNT, ACTION, EMPTY, ask, book_of
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import KillSwitch
from trading_pipeline.errors import ConfigError

DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")
DUMPED = ("--appendonly", "no")


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that outlives its server, with a path short enough for a socket."""
    with TemporaryDirectory(prefix="guard-") as folder:
        yield Path(folder)


def assert_stale_until_rebuilt(guard: RiskGuard, seen: int) -> None:
    """Check that the book is refused as stale, and that the ledger's engaged switch is engaged once it is rebuilt."""
    assert VerdictCode.BOOK_STALE == guard.clear(ask("late", min_sequence=seen)).code

    guard.rebuild(replace(EMPTY, epoch=2, sequence=seen, kill_switch=KillSwitch.ENGAGED))

    assert VerdictCode.KILL_SWITCH_ENGAGED == guard.clear(ask("late", epoch=2, min_sequence=seen)).code
    assert VerdictCode.BOOK_STALE == guard.clear(ask("late", epoch=1, min_sequence=seen)).code


def test_promoted_replica_that_missed_writes_is_stale(start_redis: StartRedis) -> None:
    """A replica cut off before the switch was engaged knows of no switch: it is refused, not believed."""
    port = _free_port()
    primary_url, primary = start_redis("--port", str(port), "--repl-diskless-sync-delay", "0", *DURABLE)
    replica_url, _ = start_redis("--replicaof", "127.0.0.1", str(port), *DURABLE)
    with (
        closing(connect(primary_url, timeout_seconds=20)) as first,
        closing(connect(replica_url, timeout_seconds=20)) as second,
    ):
        guard = RiskGuard(first, ACCOUNT)
        guard.rebuild(EMPTY)
        assert guard.clear(ask("seen-by-both")).cleared
        assert 1 == first.wait(1, 15_000)
        second.replicaof("127.0.0.1", 1)
        assert guard.clear(ask("seen-by-one")).cleared
        seen = guard.engage_kill_switch(ACTION)
        primary.kill()
        primary.wait()
        second.replicaof("NO", "ONE")

        promoted = RiskGuard(second, ACCOUNT)
        assert KillSwitch.DISENGAGED == book_of(promoted).kill_switch
        assert_stale_until_rebuilt(promoted, seen)


@pytest.mark.parametrize(("options", "saved"), [(DUMPED, "dump.rdb"), (DURABLE, "appendonly.aof")])
def test_restored_copy_is_stale(start_redis: StartRedis, home: Path, options: tuple[str, ...], saved: str) -> None:
    """A server started from yesterday's files has lost the orders and the switch that came after them."""
    url, process = start_redis(*options, home=home)
    with closing(connect(url)) as client:
        guard = RiskGuard(client, ACCOUNT)
        guard.rebuild(EMPTY)
        assert guard.clear(ask("in-the-copy")).cleared
        client.save()
    with TemporaryDirectory(prefix="guard-copy-") as elsewhere:
        copy = Path(elsewhere) / saved
        shutil.copyfile(home / saved, copy)
        with closing(connect(url)) as client:
            guard = RiskGuard(client, ACCOUNT)
            assert guard.clear(ask("after-the-copy")).cleared
            seen = guard.engage_kill_switch(ACTION)
        process.kill()
        process.wait()
        shutil.copyfile(copy, home / saved)
    url, _ = start_redis(*options, home=home)
    with closing(connect(url)) as client:
        restored = RiskGuard(client, ACCOUNT)
        assert KillSwitch.DISENGAGED == book_of(restored).kill_switch
        assert_stale_until_rebuilt(restored, seen)


def test_restarted_server_has_the_same_book(start_redis: StartRedis, home: Path) -> None:
    """A server whose process was killed has written every change it had answered: the book is current."""
    url, process = start_redis(*DURABLE, home=home)
    with closing(connect(url)) as client:
        guard = RiskGuard(client, ACCOUNT)
        guard.rebuild(EMPTY)
        first = guard.clear(ask("before"))
        before = book_of(guard)
    process.kill()
    process.wait()
    url, _ = start_redis(*DURABLE, home=home)
    with closing(connect(url)) as client:
        guard = RiskGuard(client, ACCOUNT)
        assert before == book_of(guard)
        assert first.clearance == guard.clear(ask("before", min_sequence=before.sequence)).clearance
        assert guard.clear(ask("after", min_sequence=before.sequence)).cleared


def test_evicted_book_refuses_and_the_policy_is_named(start_redis: StartRedis) -> None:
    """A server that throws the book out to make room is told apart at the start, and clears nothing afterwards."""
    url, _ = start_redis("--appendonly", "yes", "--maxmemory-policy", "allkeys-random")
    with closing(connect(url)) as client:
        guard = RiskGuard(client, ACCOUNT)
        guard.rebuild(EMPTY)
        assert guard.clear(ask()).cleared
        with pytest.raises(ConfigError, match="allkeys-random"):
            guard.check_server()

        client.config_set("maxmemory", client.info("memory")["used_memory"] + 1_000_000)
        _fill_until_evicted(client)

        assert VerdictCode.BOOK_MISSING == guard.clear(ask()).code


def _fill_until_evicted(client: redis.Redis) -> None:
    for number in range(10_000):
        client.set(f"filler-{number}", "x" * 20_000)
        if client.exists(*book_keys(ACCOUNT)) < len(book_keys(ACCOUNT)):
            return
    pytest.fail("the book was not evicted")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
