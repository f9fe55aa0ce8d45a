"""The one process that owns the embedded servers of a home: starts them, waits for the last holder, stops them."""

import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from trading_pipeline.embedded import postgres
from trading_pipeline.embedded.binaries import postgres_folder, redis_server
from trading_pipeline.embedded.locks import try_lock
from trading_pipeline.embedded.paths import Paths
from trading_pipeline.embedded.postgres import Postgres
from trading_pipeline.embedded.privileges import choose_account
from trading_pipeline.embedded.redis import Redis
from trading_pipeline.embedded.servers import Launcher, Running, stop
from trading_pipeline.embedded.state import Credentials, EmbeddedStatus, report_failure, started_at
from trading_pipeline.errors import PipelineError, ServerUnavailable

_POLL_SECONDS = 0.5
_OLD_SERVERS_SECONDS = 60.0
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both servers, running."""

    postgres: Running
    redis: Running

    def stop(self) -> None:
        """Stop both."""
        stop([self.postgres, self.redis])

    def ended(self) -> bool:
        """Tell whether either ended by itself."""
        return any(running.process.poll() is not None for running in (self.postgres, self.redis))

    def status(self, now: datetime) -> EmbeddedStatus:
        """Return what holders need to know; `now` is UTC."""
        return EmbeddedStatus(
            supervisor_pid=os.getpid(),
            supervisor_started=started_at(os.getpid()) or 0,
            postgres_pid=self.postgres.process.pid,
            postgres_port=self.postgres.port,
            redis_pid=self.redis.process.pid,
            redis_port=self.redis.port,
            since=now,
        )


def supervise(paths: Paths) -> None:
    """Run the servers of a home until nobody holds its lease, one of them ends, or a signal asks to stop.

    Raises:
        PipelineError: they did not start.
    """
    with ExitStack() as held:
        pair = _start(paths, held.enter_context(_servers_lock(paths)))
        try:
            pair.status(datetime.now(UTC)).write(paths.state)
            _wait(paths, pair, held)
        finally:
            _retire(paths)
            pair.stop()


def main() -> None:
    """Detach from the holder that started this, and supervise; the arguments are the home and the lock's descriptor."""
    home, lock = Path(sys.argv[1]), int(sys.argv[2])
    if os.fork() > 0:
        # The holder waits for this process alone, so it never has the supervisor as a child to reap.
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    os.set_inheritable(lock, False)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    paths = Paths.of(home)
    try:
        supervise(paths)
    except PipelineError as error:
        report_failure(paths, error)
    except OSError as error:
        report_failure(paths, ServerUnavailable(f"the embedded servers under {paths.root} failed: {error}"))


def _start(paths: Paths, lock: IO[bytes]) -> Pair:
    _retire(paths)
    last = EmbeddedStatus.read(paths.last_state)
    credentials = Credentials.load_or_create(paths.credentials)
    folder = paths.data("postgres")
    launcher = _launcher(folder, lock)
    postgres.prepare(folder, launcher.account, credentials.postgres)
    database = launcher.start(Postgres(), folder, paths.log("postgres"), last.postgres_port if last else None)
    try:
        folder = paths.data("redis")
        book = Redis(password=credentials.redis)
        redis = _launcher(folder, lock).start(book, folder, paths.log("redis"), last.redis_port if last else None)
    except (PipelineError, OSError):
        stop([database])
        raise
    return Pair(postgres=database, redis=redis)


def _launcher(folder: Path, lock: IO[bytes]) -> Launcher:
    folder.mkdir(mode=0o700, exist_ok=True)
    programs = [postgres_folder() / "initdb", postgres_folder() / "postgres", redis_server()]
    return Launcher(account=choose_account(folder, programs), lock=lock.fileno())


def _retire(paths: Paths) -> None:
    if paths.state.exists():
        paths.state.replace(paths.last_state)


def _servers_lock(paths: Paths) -> IO[bytes]:
    # Servers of a supervisor that was killed inherit this lock and may still be stopping.
    deadline = time.monotonic() + _OLD_SERVERS_SECONDS
    while time.monotonic() < deadline:
        if (lock := try_lock(paths.servers_lock)) is not None:
            return lock
        time.sleep(0.02)
    raise ServerUnavailable(
        f"server processes of an earlier start still use {paths.root}: find them with `fuser {paths.servers_lock}` "
        "and end them with SIGQUIT",
        path=str(paths.servers_lock),
    )


def _wait(paths: Paths, pair: Pair, held: ExitStack) -> None:
    while True:
        arrived = signal.sigtimedwait(_SIGNALS, _POLL_SECONDS)
        if arrived is not None and arrived.si_signo != signal.SIGCHLD:
            return
        if pair.ended():
            return
        lease = try_lock(paths.lease)
        if lease is not None:
            # Kept until the servers have stopped: a new holder waits for it and then starts anew.
            held.enter_context(lease)
            return


if __name__ == "__main__":
    main()
