"""The embedded PostgreSQL: durable, small, loopback and password only, one database owned by one role."""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trading_pipeline.embedded.binaries import postgres_folder
from trading_pipeline.embedded.privileges import Account, become
from trading_pipeline.errors import ServerUnavailable

_CLUSTER = "cluster"
_DRAFT = "cluster.new"
_ACCESS = "host all all 127.0.0.1/32 scram-sha-256\n"
# A password of 256 random bits needs no slow hash, and one is paid at every connection.
_ROLE = """
SET scram_iterations = 1;

CREATE ROLE trading_pipeline LOGIN CREATEDB PASSWORD '{password}';

CREATE DATABASE trading_pipeline OWNER trading_pipeline;

"""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """postgres with its cluster in one folder."""

    name: str = "postgres"
    stop_signal: signal.Signals = signal.SIGINT
    """Fast shutdown: SIGTERM would wait for every client to leave."""
    abort_signal: signal.Signals = signal.SIGQUIT

    def command(self, folder: Path, port: int) -> list[str]:
        """Return the command line."""
        settings = {**_SETTINGS, "port": str(port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(postgres_folder() / "postgres"), "-D", str(folder / _CLUSTER), *options]

    def configuration(self, folder: Path, port: int) -> bytes:  # noqa: ARG002 - all is on the command line
        """Return nothing."""
        return b""

    def is_ready(self, folder: Path, port: int, pid: int) -> bool:  # noqa: ARG002 - the pid file says it all
        """Tell whether the server accepts connections, by the status line it keeps for this purpose."""
        lines = _pid_file(folder)
        return lines[:1] == [str(pid)] and lines[7:8] == ["ready"]


def prepare(folder: Path, account: Account, password: str) -> None:
    """Create the cluster the first time; afterwards only clear a pid file that points at some other program.

    Raises:
        ServerUnavailable: initdb failed; the message ends with what it said.
    """
    if not (folder / _CLUSTER).exists():
        _initialise(folder, account, password)
    lines = _pid_file(folder)
    if lines and not _is_postgres(lines[0]):
        (folder / _CLUSTER / "postmaster.pid").unlink()


def _initialise(folder: Path, account: Account, password: str) -> None:
    draft = folder / _DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    programs = postgres_folder()
    run = partial(_run, folder=folder, account=account)
    locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    run([programs / "initdb", "-D", draft, "-U", "postgres", "--no-sync", "--no-instructions", *locale])
    (draft / "pg_hba.conf").write_text(_ACCESS, encoding="utf-8")
    run([programs / "postgres", "--single", "-j", "-D", draft, "postgres"], said=_ROLE.format(password=password))
    run([programs / "initdb", "-D", draft, "--sync-only"])
    draft.replace(folder / _CLUSTER)
    _sync_names(folder)


def _sync_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _run(command: list[str | Path], *, folder: Path, account: Account, said: str = "") -> None:
    change = partial(become, account, folder, parent=os.getpid(), death_signal=signal.SIGKILL)
    result = subprocess.run(  # noqa: S603 - fixed programs
        command,
        input=said.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=change,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        check=False,
    )
    output = result.stdout.decode(errors="replace")
    if result.returncode != 0 or "ERROR:" in output:
        raise ServerUnavailable(f"{command[0]} could not set up {folder}: {output}", folder=str(folder))


def _pid_file(folder: Path) -> list[str]:
    try:
        text = (folder / _CLUSTER / "postmaster.pid").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.splitlines()]


def _is_postgres(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "postgres"
    except (FileNotFoundError, ProcessLookupError):
        return False
