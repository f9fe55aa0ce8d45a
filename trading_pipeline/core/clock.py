"""Where the time comes from: injected, so that a replay and a test can say what time it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the instant the system acts at, and lets time pass."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...

    def pause(self, duration: timedelta) -> None:
        """Return when so much time has passed."""
        ...


@dataclass(frozen=True, slots=True)
class FixedClock:
    """A clock that stands still, for replays: as of the close of a session, say."""

    instant: datetime

    def now(self) -> datetime:
        """Return the instant it was set to."""
        return self.instant

    def pause(self, duration: timedelta) -> None:
        """Return at once: no time passes here."""
