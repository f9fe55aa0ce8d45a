"""When a slice may be sent, and from when on it is too late: never two where the plan has one."""

from datetime import datetime, timedelta
from typing import Final

from trading_pipeline.core.orders.twap import WhenLate

ON_TIME: Final = timedelta(seconds=30)
"""A slice that is sent so long after its due time, or an interval if that is shorter, is still on time."""


def not_before(due_at: datetime, *, first_due: datetime, interval: timedelta, last_sent: datetime | None) -> datetime:
    """Return the instant before which a slice is not sent.

    Its due time; and after the slice before, sent late or not, the next interval of the plan, and nine tenths of an
    interval. So what a pause has left over never goes out at once: one slice an interval, whatever is due.
    """
    if last_sent is None:
        return due_at
    following = first_due + ((last_sent - first_due) // interval + 1) * interval
    return max(due_at, following, last_sent + interval * 9 // 10)


def expires_at(
    due_at: datetime, *, when_late: WhenLate, grace: timedelta, interval: timedelta, cut: datetime
) -> datetime:
    """Return the instant from which on a slice is not sent any more; `cut` is that of all slices of the session."""
    patience = grace if when_late is WhenLate.RUN else timedelta()
    return min(due_at + max(patience, min(ON_TIME, interval)), cut)
