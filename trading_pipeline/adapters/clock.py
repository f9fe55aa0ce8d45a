"""The machine's clock."""

from datetime import UTC, datetime


class SystemClock:
    """Wall time in UTC."""

    def now(self) -> datetime:
        """Return the present instant."""
        return datetime.now(UTC)
