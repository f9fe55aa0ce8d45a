"""Time that several processes of a test share: the machine's, moved as far as a file says, the database's with it."""

import fcntl
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.virtual_time import set_shift

_SECONDS = struct.Struct("d")


class SharedTime:
    """A `Clock` whose time goes on by itself, and leaps for all when one of them waits."""

    def __init__(self, path: Path, database_url: str) -> None:
        self._path, self._database_url = path, database_url

    def begin(self, instant: datetime) -> None:
        """Let it be this instant now; the database must stand at the machine's time."""
        self._path.write_bytes(_SECONDS.pack(0.0))
        self.advance((instant - self.now()).total_seconds())

    def now(self) -> datetime:
        """Return the present instant, UTC."""
        (shift,) = _SECONDS.unpack(self._path.read_bytes())
        return datetime.now(UTC) + timedelta(seconds=shift)

    def advance(self, seconds: float) -> None:
        """Move the time on for everybody.

        The database is told the whole, not the step: one killed in between leaves no lasting difference.
        """
        with self._path.open("r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            (before,) = _SECONDS.unpack(file.read())
            file.seek(0)
            file.write(_SECONDS.pack(before + seconds))
            set_shift(self._database_url, before + seconds)

    def advance_to(self, instant: datetime) -> None:
        """Move the time on to an instant, unless it has come already."""
        self.advance(max((instant - self.now()).total_seconds(), 0.0))

    def pause(self, duration: timedelta) -> None:
        """Let it pass without waiting for it."""
        self.advance(duration.total_seconds())
