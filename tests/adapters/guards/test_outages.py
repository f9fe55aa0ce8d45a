"""Redis gone, full, frozen, loading, read-only or badly set up: the answer is no, and it comes soon."""

import signal
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from support.redis_servers import StartRedis

from tests.adapters.guards.builders import ACCOUNT, ACTION, EMPTY, ask
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.risk.clearance import Verdict, VerdictCode
from trading_pipeline.errors import ConfigError, ServerUnavailable


def assert_unavailable(verdict: Verdict, why: str) -> None:
    """Check that the guard could not decide, said why, and gave no clearance."""
    assert VerdictCode.GUARD_UNAVAILABLE == verdict.code
    assert why in verdict.detail
    assert verdict.clearance is None


def test_redis_that_is_not_there(tmp_path: Path) -> None:
    """Nothing listens: no order clears, and a change says so."""
    with closing(connect(f"unix://{tmp_path}/nobody.sock")) as client:
        guard = RiskGuard(client, ACCOUNT)

        assert_unavailable(guard.clear(ask()), "ConnectionError")
        with pytest.raises(ServerUnavailable):
            guard.engage_kill_switch(ACTION)
        with pytest.raises(ServerUnavailable):
            guard.snapshot()
        with pytest.raises(ServerUnavailable):
            guard.check_server()


def test_redis_that_dies_takes_the_yes_with_it(start_redis: StartRedis) -> None:
    """A guard that worked a moment ago refuses once its server is gone."""
    url, process = start_redis()
    with closing(connect(url)) as client:
        guard = RiskGuard(client, ACCOUNT)
        guard.rebuild(EMPTY)
        assert guard.clear(ask()).cleared

        process.kill()
        process.wait()

        assert_unavailable(guard.clear(ask()), "ConnectionError")


def test_redis_that_hangs_is_not_waited_for(start_redis: StartRedis) -> None:
    """A frozen server costs one time-out, not two, and not for ever."""
    url, process = start_redis()
    with closing(connect(url, timeout_seconds=0.3)) as client:
        guard = RiskGuard(client, ACCOUNT)
        guard.rebuild(EMPTY)
        process.send_signal(signal.SIGSTOP)
        started = time.monotonic()

        assert_unavailable(guard.clear(ask()), "TimeoutError")

        assert 1.0 > time.monotonic() - started
        process.send_signal(signal.SIGCONT)
        assert guard.clear(ask()).cleared


def test_replica_refuses(start_redis: StartRedis) -> None:
    """A server that was demoted cannot reserve, so it cannot clear."""
    url, _ = start_redis()
    with closing(connect(url)) as client:
        guard = RiskGuard(client, ACCOUNT)
        guard.rebuild(EMPTY)
        client.replicaof("127.0.0.1", 1)

        assert_unavailable(guard.clear(ask()), "read only replica")
        with pytest.raises(ServerUnavailable):
            guard.trip("drawdown")


def test_full_server_refuses_and_keeps_the_book(start_redis: StartRedis) -> None:
    """Out of memory means no reservation, no half of one, and a working guard once there is room again."""
    url, _ = start_redis()
    with closing(connect(url)) as client:
        guard = RiskGuard(client, ACCOUNT)
        guard.rebuild(EMPTY)
        before = guard.snapshot()
        client.config_set("maxmemory", 1)

        assert_unavailable(guard.clear(ask()), "maxmemory")

        assert before == guard.snapshot()
        client.config_set("maxmemory", 0)
        assert guard.clear(ask()).cleared


def test_loading_server_refuses(start_redis: StartRedis) -> None:
    """A server that is still reading its data back has no book to decide from."""
    with TemporaryDirectory(prefix="guard-") as folder:
        url, process = start_redis("--rdbcompression", "no", home=Path(folder))
        with closing(connect(url)) as client:
            client.mset({f"filler-{number}": "x" * 1_000_000 for number in range(40)})
            client.save()
        process.kill()
        process.wait()
        url, _ = start_redis("--key-load-delay", "50000", home=Path(folder))
        with closing(connect(url)) as client:
            assert_unavailable(RiskGuard(client, ACCOUNT).clear(ask()), "loading")


def test_server_that_lost_its_replicas_refuses(start_redis: StartRedis) -> None:
    """A write that would be on one machine only, where two are asked for, is no reservation."""
    url, _ = start_redis()
    with closing(connect(url)) as client:
        guard = RiskGuard(client, ACCOUNT)
        guard.rebuild(EMPTY)
        client.config_set("min-replicas-to-write", 1)

        assert_unavailable(guard.clear(ask()), "replicas")


def test_forgotten_scripts_are_taught_again(guard: RiskGuard, client: redis.Redis) -> None:
    """SCRIPT FLUSH, or a restart, does no harm."""
    first = guard.clear(ask())
    client.script_flush()

    assert first.clearance == guard.clear(ask()).clearance


def test_wrong_password_is_unavailable(start_redis: StartRedis) -> None:
    """Not being let in is not a yes."""
    url, _ = start_redis("--requirepass", "secret")
    with closing(connect(url)) as client:
        assert_unavailable(RiskGuard(client, ACCOUNT).clear(ask()), "AuthenticationError")


def test_client_without_decoding_serves_as_well(redis_url: str, guard: RiskGuard) -> None:
    """The guard reads bytes and texts alike."""
    with closing(
        redis.Redis.from_url(redis_url, socket_timeout=2, retry=Retry(NoBackoff(), 0), decode_responses=False)
    ) as client:
        other = RiskGuard(client, ACCOUNT)

        assert other.clear(ask()).cleared
        assert guard.snapshot() == other.snapshot()


@pytest.mark.parametrize(
    "settings",
    [{"socket_timeout": None, "retry": Retry(NoBackoff(), 0)}, {"socket_timeout": 2, "retry": Retry(NoBackoff(), 1)}],
    ids=["no time-out", "retries"],
)
def test_client_that_waits_or_repeats_is_refused(redis_url: str, settings: dict[str, object]) -> None:
    """A repeated `engage` would report a failure that was none; a client without bounds could hang the pipeline."""
    with closing(redis.Redis.from_url(redis_url, **settings)) as client, pytest.raises(ConfigError, match="connect"):
        RiskGuard(client, ACCOUNT)


def test_durable_server_passes_the_check(start_redis: StartRedis) -> None:
    """No eviction and an append-only file are what the book needs."""
    url, _ = start_redis("--appendonly", "yes", "--maxmemory-policy", "noeviction")
    with closing(connect(url)) as client:
        RiskGuard(client, ACCOUNT).check_server()


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        (["--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"], "maxmemory-policy noeviction"),
        (["--appendonly", "no"], "appendonly yes"),
    ],
)
def test_forgetful_server_fails_the_check(start_redis: StartRedis, options: list[str], cure: str) -> None:
    """A server that evicts or forgets is refused with the setting that cures it."""
    url, _ = start_redis(*options)
    with closing(connect(url)) as client, pytest.raises(ConfigError, match=cure):
        RiskGuard(client, ACCOUNT).check_server()
