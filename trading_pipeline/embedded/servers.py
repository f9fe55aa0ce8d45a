"""Start one server process on a free loopback port, wait for its answer, and stop it; knows no kind of server."""

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from trading_pipeline.embedded.privileges import Account, become
from trading_pipeline.embedded.state import log_tail
from trading_pipeline.errors import ServerUnavailable

_PORT_ATTEMPTS = 5
_READY_SECONDS = 100.0
_POLL_SECONDS = 0.01
_CLEAN_STOP_SECONDS = 20.0
_FORCED_STOP_SECONDS = 5.0
_LARGE_LOG_BYTES = 4_000_000


class Server(Protocol):
    """What differs between PostgreSQL and Redis."""

    @property
    def name(self) -> str:
        """Name the server to a reader of errors."""

    @property
    def stop_signal(self) -> signal.Signals:
        """Return the signal for a clean and fast stop."""

    @property
    def abort_signal(self) -> signal.Signals:
        """Return the signal for a stop that the next start recovers from."""

    def command(self, folder: Path, port: int) -> list[str]:
        """Return the command line; it never contains a secret."""

    def configuration(self, folder: Path, port: int) -> bytes:
        """Return what the server reads from its standard input."""

    def is_ready(self, folder: Path, port: int, pid: int) -> bool:
        """Tell whether the server answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One server process."""

    server: Server
    process: subprocess.Popen[bytes] = field(repr=False)
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """Starts servers for one account; they inherit `lock` and so hold it until the last of their processes ends."""

    account: Account
    lock: int

    def start(self, server: Server, folder: Path, log: Path, port: int | None) -> Running:
        """Start a server on `port` if that is free, else on another, and return it when it answers.

        Raises:
            ServerUnavailable: it ended or did not answer; the message ends with its log.
        """
        if log.exists() and log.stat().st_size > _LARGE_LOG_BYTES:
            log.replace(log.with_suffix(".old.log"))
        for attempt in range(_PORT_ATTEMPTS):
            running, written = self._spawn(server, folder, log, _free_port(None if attempt else port))
            if _await_ready(running, folder):
                return running
            tail = log_tail(log, start=written)
            stop([running])
            if "Address already in use" not in tail:
                break
        raise ServerUnavailable(f"the embedded {server.name} did not start: {tail}", server=server.name, log=str(log))

    def _spawn(self, server: Server, folder: Path, log: Path, port: int) -> tuple[Running, int]:
        change = partial(become, self.account, folder, parent=os.getpid(), death_signal=server.stop_signal)
        with log.open("ab") as sink:
            written = sink.tell()  # before the server shares this position, and moves it as it writes
            process = subprocess.Popen(  # noqa: S603 - fixed programs
                server.command(folder, port),
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=sink,
                pass_fds=(self.lock,),
                process_group=0,
                preexec_fn=change,  # noqa: PLW1509 - the supervisor has one thread
                env={"PATH": os.defpath, "LC_ALL": "C"},
            )
        if process.stdin is not None:
            with process.stdin as pipe:
                pipe.write(server.configuration(folder, port))
        return Running(server=server, process=process, port=port), written


def stop(servers: list[Running]) -> None:
    """Stop servers, all at once: cleanly, or by force when that takes too long."""
    for running in servers:
        running.process.send_signal(running.server.stop_signal)
    for running in servers:
        try:
            running.process.wait(_CLEAN_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _force(running)


def _force(running: Running) -> None:
    running.process.send_signal(running.server.abort_signal)
    try:
        running.process.wait(_FORCED_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()


def _await_ready(running: Running, folder: Path) -> bool:
    deadline = time.monotonic() + _READY_SECONDS
    while running.process.poll() is None and time.monotonic() < deadline:
        if running.server.is_ready(folder, running.port, running.process.pid):
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _free_port(wanted: int | None) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port or 0))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise ServerUnavailable("no loopback port is free on 127.0.0.1: end some of the processes that listen there")
