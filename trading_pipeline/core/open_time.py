"""The time an exchange was open, of many instants at once: what `SessionCalendar.open_minutes` says of two."""

from datetime import datetime
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trading_pipeline.core.sessions import SessionCalendar

Instants = NDArray[np.int64]
_MINUTE = 60_000_000


def open_minutes(starts: pl.Series, ends: pl.Series, calendar: SessionCalendar) -> pl.Series:
    """Return the whole minutes (Int64) in which the exchange was open between pairs of instants; null where one is.

    Args:
        starts: Datetime(us, UTC).
        ends: the same; none is before its start.
        calendar: the exchange.

    Raises:
        NotASession: an instant is outside the calendar.
    """
    for extreme in (starts.min(), starts.max(), ends.min(), ends.max()):
        if isinstance(extreme, datetime):
            calendar.open_minutes(extreme, extreme)
    known = starts.is_not_null() & ends.is_not_null()
    first, last = (one.filter(known).dt.epoch("us").to_numpy() for one in (starts, ends))
    minutes = np.zeros(len(starts), dtype=np.int64)
    minutes[known.to_numpy()] = (_open_until(last, calendar) - _open_until(first, calendar)) // _MINUTE
    return pl.select(pl.when(known).then(pl.Series(minutes)).alias("minutes")).to_series()


def _open_until(instants: Instants, calendar: SessionCalendar) -> Instants:
    opens, closes, elapsed = _hours(calendar)
    at = np.searchsorted(opens, instants, side="right") - 1
    return np.where(at < 0, 0, elapsed[at] + np.minimum(instants, closes[at]) - opens[at])


@cache
def _hours(calendar: SessionCalendar) -> tuple[Instants, Instants, Instants]:
    """Return opens and closes since 1970 and the time open before each session, in microseconds."""
    opens, closes = (
        pl.Series(instants, dtype=pl.Datetime("us", "UTC")).dt.epoch("us").to_numpy()
        for instants in (calendar.opens, calendar.closes)
    )
    return opens, closes, np.cumsum(closes - opens) - (closes - opens)
