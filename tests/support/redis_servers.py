"""Redis servers of a test's own, which it may kill and start again."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.embedded.binaries import redis_server

StartRedis = Callable[..., tuple[str, subprocess.Popen[bytes]]]


@contextmanager
def redis_servers() -> Iterator[StartRedis]:
    """Start Redis servers on sockets: `start(*options, home=None) -> (url, process)`; all end with the context."""
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
