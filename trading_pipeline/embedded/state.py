"""What the supervisor tells its holders: pids, ports, passwords and failures; written whole or not at all."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from trading_pipeline import errors
from trading_pipeline.embedded.paths import Paths

_OWNER_ONLY = 0o600
_LOG_TAIL_LINES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUrls:
    """Where to connect; both contain passwords, so neither shows in a repr."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedStatus:
    """One running pair of servers; `since` is UTC."""

    supervisor_pid: int
    supervisor_started: int
    """Clock ticks from boot to the start of the supervisor: with the pid it names one process for good."""
    postgres_pid: int
    postgres_port: int
    redis_pid: int
    redis_port: int
    since: datetime

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what a file says, alive or not; None when there is none."""
        fields = read_json(path)
        return None if fields is None else cls(**{**fields, "since": datetime.fromisoformat(fields["since"])})

    def write(self, path: Path) -> None:
        """Replace the file."""
        write_json(path, {**asdict(self), "since": self.since.isoformat()})

    def is_alive(self) -> bool:
        """Tell whether the supervisor that wrote this still runs, and both of its servers."""
        servers = (self.postgres_pid, self.redis_pid)
        return self.supervisor_started == started_at(self.supervisor_pid) and all(map(started_at, servers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Random passwords, made once for a home."""

    postgres: str = field(repr=False)
    redis: str = field(repr=False)

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Return the passwords of a home, making them the first time."""
        stored = read_json(path)
        if stored is None:
            stored = {"postgres": secrets.token_hex(32), "redis": secrets.token_hex(32)}
            write_json(path, stored)
        return cls(**stored)

    def urls(self, status: EmbeddedStatus) -> ServerUrls:
        """Return the addresses of running servers."""
        database = f"trading_pipeline:{self.postgres}@127.0.0.1:{status.postgres_port}/trading_pipeline"
        return ServerUrls(
            database_url=f"postgresql://{database}",
            redis_url=f"redis://:{self.redis}@127.0.0.1:{status.redis_port}/0",
        )


def started_at(pid: int) -> int | None:
    """Return the start of a process in clock ticks since boot, or None when it is gone or only waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(rest[18])


def report_failure(paths: Paths, error: errors.PipelineError) -> None:
    """Leave the reason of a failed start for the holder that waits for it."""
    write_json(paths.failure, {"error": type(error).__name__, "message": error.message})


def failure_of_start(paths: Paths) -> errors.PipelineError:
    """Return the error that the supervisor left, or one with the tail of its log when it left none."""
    told = read_json(paths.failure)
    if told is None:
        tail = log_tail(paths.log("supervisor"))
        return errors.ServerUnavailable(f"the embedded servers stopped while they were starting: {tail}")
    error: errors.PipelineError = getattr(errors, told["error"])(told["message"])
    return error


def log_tail(path: Path, *, start: int = 0) -> str:
    """Return the name of a log and its last lines, from byte `start`."""
    if not path.exists():
        return f"{path} is missing"
    with path.open("rb") as log:
        log.seek(start)
        lines = log.read().decode(errors="replace").splitlines()
    return "\n".join([f"the end of {path} says", *lines[-_LOG_TAIL_LINES:]])


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a file, or None when there is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a file, whole even after a loss of power; only its owner may read it."""
    draft = path.with_suffix(".new")
    draft.touch(mode=_OWNER_ONLY)
    with draft.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
