"""A guard on the shared Redis, and Redis servers that a test may break."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from tests.adapters.guards.builders import ACCOUNT, EMPTY
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.embedded.binaries import redis_server

StartRedis = Callable[..., tuple[str, subprocess.Popen[bytes]]]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client on an empty Redis."""
    with closing(connect(redis_url)) as opened:
        yield opened


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """A client on the same Redis that gives and takes bytes: the book's records are no text."""
    with closing(redis.Redis.from_url(redis_url)) as opened:
        yield opened


@pytest.fixture
def unborn(client: redis.Redis) -> RiskGuard:
    """A guard whose account has no book."""
    return RiskGuard(client, ACCOUNT)


@pytest.fixture
def guard(unborn: RiskGuard) -> RiskGuard:
    """A guard with an empty book of epoch 1 and the usual limits."""
    unborn.rebuild(EMPTY)
    return unborn


@pytest.fixture
def start_redis() -> Iterator[StartRedis]:
    """Start Redis servers of the test's own: `start_redis(*options) -> (url, process)`."""
    with ExitStack() as stack:

        def start(*options: str, home: Path | None = None) -> tuple[str, subprocess.Popen[bytes]]:
            folder = home or Path(stack.enter_context(TemporaryDirectory(prefix="guard-")))
            socket = folder / "redis.sock"
            command: list[str | Path] = [
                redis_server(),
                "--port",
                "0",
                "--unixsocket",
                socket,
                "--dir",
                folder,
                "--save",
                "",
                *options,
            ]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            _wait_for(socket)
            return f"unix://{socket}", process

        yield start


def _wait_for(socket: Path) -> None:
    with closing(connect(f"unix://{socket}")) as probe:
        for _ in range(100):
            try:
                probe.ping()
            except (redis.BusyLoadingError, redis.AuthenticationError):
                return
            except redis.ConnectionError:
                time.sleep(0.05)
            else:
                return
    pytest.fail("redis-server did not start")
