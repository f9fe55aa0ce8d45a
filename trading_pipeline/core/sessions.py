"""The trading sessions of an exchange and their hours, from committed data; never asks a clock or the network."""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import Any, Self
from zoneinfo import ZoneInfo

from trading_pipeline.errors import NotASession

_DAY = timedelta(days=1)
_WEEKEND = 5
_EXTEND = "extend it with tools/generate_sessions.py"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionCalendar:
    """Every session of one exchange between two days, in order, with its opening and closing instants in UTC."""

    zone: ZoneInfo
    first_day: date
    last_day: date
    closures: tuple[date, ...]
    """Weekdays without a session."""
    sessions: tuple[date, ...]
    opens: tuple[datetime, ...]
    closes: tuple[datetime, ...]
    elapsed: tuple[timedelta, ...]
    """Time the exchange had been open before each session, and after the last."""

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Build a calendar from the format that `tools/generate_sessions.py` writes (hours in exchange local time)."""
        zone = ZoneInfo(data["time_zone"])
        first, last = date.fromisoformat(data["first_day"]), date.fromisoformat(data["last_day"])
        closures = tuple(map(date.fromisoformat, data["closures"]))
        sessions = tuple(_weekdays_without(first, last, frozenset(closures)))
        usual = (data["open"], data["close"])
        hours = [data["irregular"].get(day.isoformat(), usual) for day in sessions]
        opens = tuple(_instant(day, at, zone) for day, (at, _) in zip(sessions, hours, strict=True))
        closes = tuple(_instant(day, at, zone) for day, (_, at) in zip(sessions, hours, strict=True))
        lengths = (shut - opened for opened, shut in zip(opens, closes, strict=True))
        return cls(
            zone=zone,
            first_day=first,
            last_day=last,
            closures=closures,
            sessions=sessions,
            opens=opens,
            closes=closes,
            elapsed=tuple(accumulate(lengths, initial=timedelta(0))),
        )

    def is_session(self, day: date) -> bool:
        """Tell whether the exchange trades on this day; a day outside the calendar is no session."""
        at = bisect_left(self.sessions, day)
        return at < len(self.sessions) and self.sessions[at] == day

    def require(self, key: str | date) -> date:
        """Return the session that an ISO key (`2024-07-03`) or a date names.

        Raises:
            NotASession: weekend, closure, outside the calendar, or not an ISO date; names the nearest sessions.
        """
        day = _parse(key)
        if not self.is_session(day):
            raise self._not_a_session(day)
        return day

    def at_or_after(self, day: date) -> date:
        """Return the day itself, or the session after it.

        Raises:
            NotASession: the day is outside the calendar, or no session follows.
        """
        at = bisect_left(self.sessions, day)
        if day < self.first_day or at == len(self.sessions):
            raise self._not_a_session(day)
        return self.sessions[at]

    def next(self, session: date) -> date:
        """Return the session after this one; raises NotASession when either is none."""
        return self.shift(session, 1)

    def previous(self, session: date) -> date:
        """Return the session before this one; raises NotASession when either is none."""
        return self.shift(session, -1)

    def shift(self, session: date, count: int) -> date:
        """Return the session `count` sessions later (negative: earlier); raises NotASession beyond the calendar."""
        at = self._position(session) + count
        if not 0 <= at < len(self.sessions):
            raise NotASession(
                f"{count:+d} sessions from {session} is outside the calendar, {self._span()}; {_EXTEND}",
                session=session,
                count=count,
            )
        return self.sessions[at]

    def shift_within(self, session: date, count: int) -> date:
        """Return what `shift` does, but the first or last session of the calendar beyond it; raises NotASession."""
        at = self._position(session) + count
        return self.sessions[min(max(at, 0), len(self.sessions) - 1)]

    def between(self, start: date, end: date) -> list[date]:
        """Return the sessions from `start` to `end`, both included; none when `end` is before `start`.

        Raises:
            NotASession: a bound is outside the calendar, so the answer could not be complete.
        """
        for day in (start, end):
            self._require_covered(day)
        return list(self.sessions[bisect_left(self.sessions, start) : bisect_right(self.sessions, end)])

    def latest_closed(self, now: datetime) -> date:
        """Return the newest session whose close is not after `now` (aware).

        Raises:
            ValueError: `now` has no time zone.
            NotASession: `now` is outside the calendar or before its first close.
        """
        self._require_covered(self._local_day(now))
        count = bisect_right(self.closes, now)
        if not count:
            raise NotASession(f"no session has closed by {now.isoformat()}: the calendar is {self._span()}", now=now)
        return self.sessions[count - 1]

    def is_open(self, at: datetime) -> bool:
        """Tell whether the exchange trades at an aware instant: the open included, the close not."""
        day = at.astimezone(self.zone).date()
        return self.is_session(day) and self.open_at(day) <= at < self.close_at(day)

    def open_at(self, session: date) -> datetime:
        """Return the opening instant (UTC); raises NotASession."""
        return self.opens[self._position(session)]

    def close_at(self, session: date) -> datetime:
        """Return the closing instant (UTC), early on half days; raises NotASession."""
        return self.closes[self._position(session)]

    def open_minutes(self, start: datetime, end: datetime) -> int:
        """Return the whole minutes in which the exchange was open between two aware instants.

        Raises:
            ValueError: an instant has no time zone, or `end` is before `start`.
            NotASession: an instant is outside the calendar.
        """
        for instant in (start, end):
            self._require_covered(self._local_day(instant))
        if end < start:
            raise ValueError(f"end {end.isoformat()} is before start {start.isoformat()}: swap them")
        return (self._open_until(end) - self._open_until(start)) // timedelta(minutes=1)

    def _open_until(self, instant: datetime) -> timedelta:
        begun = bisect_right(self.opens, instant)
        if not begun:
            return timedelta(0)
        return self.elapsed[begun - 1] + min(instant, self.closes[begun - 1]) - self.opens[begun - 1]

    def _position(self, session: date) -> int:
        return bisect_left(self.sessions, self.require(session))

    def _local_day(self, instant: datetime) -> date:
        if instant.utcoffset() is None:
            raise ValueError(f"{instant.isoformat()} has no time zone: give an aware datetime")
        return instant.astimezone(self.zone).date()

    def _require_covered(self, day: date) -> None:
        if not self.first_day <= day <= self.last_day:
            raise self._not_a_session(day)

    def _not_a_session(self, day: date) -> NotASession:
        before, after = bisect_left(self.sessions, day), bisect_right(self.sessions, day)
        previous = self.sessions[before - 1] if before else None
        following = self.sessions[after] if after < len(self.sessions) else None
        reason = self._reason(day)
        nearest = " and ".join(str(session) for session in (previous, following) if session)
        return NotASession(
            f"{day} is no session of the exchange: {reason}; nearest sessions: {nearest}",
            key=str(day),
            reason=reason,
            previous=previous,
            next=following,
        )

    def _reason(self, day: date) -> str:
        if not self.first_day <= day <= self.last_day:
            return f"outside the calendar, {self._span()} ({_EXTEND})"
        return "weekend" if day.weekday() >= _WEEKEND else "holiday or special closure"

    def _span(self) -> str:
        return f"{self.first_day} to {self.last_day}"


@cache
def xnys() -> SessionCalendar:
    """Return the calendar of the New York Stock Exchange, 2000 to 2036."""
    text = files("trading_pipeline.core").joinpath("xnys.json").read_text(encoding="utf-8")
    return SessionCalendar.from_data(json.loads(text))


def _weekdays_without(first: date, last: date, closures: frozenset[date]) -> list[date]:
    days = (first + offset * _DAY for offset in range((last - first).days + 1))
    return [day for day in days if day.weekday() < _WEEKEND and day not in closures]


def _instant(day: date, local: str, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.fromisoformat(local), zone).astimezone(UTC)


def _parse(key: str | date) -> date:
    if isinstance(key, datetime):
        raise NotASession(f"{key.isoformat()} is an instant, not a day: give a date", key=str(key), reason="not a day")
    if isinstance(key, date):
        return key
    try:
        day = date.fromisoformat(key)
    except ValueError:
        day = None
    if day is None or day.isoformat() != key:
        raise NotASession(f"{key!r} is no ISO date: write it as 2024-07-03", key=key, reason="not an ISO date")
    return day
