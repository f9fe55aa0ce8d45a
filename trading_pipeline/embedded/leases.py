"""How a process holds the embedded servers: a shared lock that ends with it; never starts a server itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import trading_pipeline
from trading_pipeline.embedded.locks import try_lock
from trading_pipeline.embedded.paths import Paths
from trading_pipeline.embedded.state import (
    Credentials,
    EmbeddedStatus,
    ServerUrls,
    failure_of_start,
    log_tail,
)
from trading_pipeline.errors import ConfigError, ServerUnavailable

_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.02


@contextmanager
def embedded_servers(home: Path) -> Iterator[ServerUrls]:
    """Hold a PostgreSQL and a Redis with their data under `home`, starting them when nobody else has.

    Any number of processes may hold them at once. About a second after the last one lets go, or is killed, they stop.

    Raises:
        ConfigError: this machine or user cannot run them; the message says what to do.
        ServerUnavailable: they did not start; the message ends with the server's log.
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError("the embedded servers need Linux: set DATABASE_URL and REDIS_URL", platform=sys.platform)
    paths = Paths.of(home)
    paths.create()
    deadline = time.monotonic() + _START_SECONDS
    with _lease(paths, deadline):
        status = _running(paths, deadline)
        yield Credentials.load_or_create(paths.credentials).urls(status)


def embedded_status(home: Path) -> EmbeddedStatus | None:
    """Return what runs for a home, or None; raises ConfigError when it belongs to another user."""
    paths = Paths.of(home)
    paths.require_own()
    status = EmbeddedStatus.read(paths.state)
    return status if status is not None and status.is_alive() else None


def stop_embedded(home: Path) -> bool:
    """Stop the servers of a home, held or not, and return whether any ran.

    Raises:
        ConfigError: they belong to another user.
        ServerUnavailable: they still run after a minute.
    """
    paths = Paths.of(home)
    paths.require_own()
    if not paths.supervisor_lock.exists():
        return False
    told: set[int] = set()
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        if (lock := try_lock(paths.supervisor_lock)) is not None:
            lock.close()
            return bool(told)
        status = embedded_status(home)
        if status is not None and status.supervisor_pid not in told:
            os.kill(status.supervisor_pid, signal.SIGTERM)
            told.add(status.supervisor_pid)
        time.sleep(_POLL_SECONDS)
    raise ServerUnavailable(
        f"the embedded servers under {paths.root} did not stop: {log_tail(paths.log('supervisor'))}", told=sorted(told)
    )


def _lease(paths: Paths, deadline: float) -> IO[bytes]:
    # The supervisor holds this lock exclusively for as long as it is stopping.
    while time.monotonic() < deadline:
        if (lease := try_lock(paths.lease, shared=True)) is not None:
            return lease
        time.sleep(_POLL_SECONDS)
    raise ServerUnavailable(f"the servers under {paths.root} are still stopping: {log_tail(paths.log('postgres'))}")


def _running(paths: Paths, deadline: float) -> EmbeddedStatus:
    spawned = False
    while time.monotonic() < deadline:
        status = EmbeddedStatus.read(paths.state)
        if status is not None and status.is_alive():
            return status
        lock = try_lock(paths.supervisor_lock)
        if lock is not None:
            with lock:
                if spawned:
                    raise failure_of_start(paths)
                _spawn(paths, lock)
            spawned = True
        time.sleep(_POLL_SECONDS)
    raise ServerUnavailable(f"the embedded servers did not start in time: {log_tail(paths.log('postgres'))}")


def _spawn(paths: Paths, lock: IO[bytes]) -> None:
    paths.failure.unlink(missing_ok=True)
    module = "trading_pipeline.embedded.supervisor"
    command = [sys.executable, "-m", module, str(paths.root.parent), str(lock.fileno())]
    log_file = paths.log("supervisor")
    log_file.touch(mode=0o600)
    with log_file.open("ab") as log:
        subprocess.run(  # noqa: S603 - our own interpreter and module
            command,
            cwd=Path(trading_pipeline.__file__).parents[1],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock.fileno(),),
            check=False,  # the free lock and the log tell more
        )
