"""The machine's clock."""

import time
from datetime import UTC, datetime, timedelta


class SystemClock:
    """Wall time in UTC."""

    def now(self) -> datetime:
        """Return the present instant."""
        return datetime.now(UTC)

    def pause(self, duration: timedelta) -> None:
        """Sleep."""
        time.sleep(duration.total_seconds())
