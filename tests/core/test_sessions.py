"""The committed session data agrees with exchange_calendars, and the calendar answers by name when it cannot."""

import warnings
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import exchange_calendars
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.sessions import SessionCalendar, xnys
from trading_pipeline.errors import NotASession

CALENDAR = xnys()
SESSIONS = st.sampled_from(CALENDAR.sessions)
MINUTES = st.integers(0, 400 * 24 * 60)


@pytest.fixture(scope="module")
def oracle() -> pd.DataFrame:
    """Return the opens and closes that exchange_calendars knows, by session."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # it uses what pandas 3.1 deprecates
        return exchange_calendars.get_calendar("XNYS", start="2000-01-01", end="2036-12-31").schedule


def utc(text: str) -> datetime:
    """Return an instant written without its zone, which is UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_sessions_equal_those_of_exchange_calendars(oracle: pd.DataFrame) -> None:
    """Every session from 2000 to 2036 is there, and no other."""
    assert [stamp.date() for stamp in oracle.index] == list(CALENDAR.sessions)


def test_hours_equal_those_of_exchange_calendars(oracle: pd.DataFrame) -> None:
    """Opens and closes agree to the second, through daylight saving and half days."""
    assert oracle["open"].to_list() == list(CALENDAR.opens)
    assert oracle["close"].to_list() == list(CALENDAR.closes)


def test_closures_and_sessions_are_the_weekdays() -> None:
    """A weekday is either a session or a closure, never both, never neither."""
    weekdays = [stamp.date() for stamp in pd.bdate_range("2000-01-01", "2036-12-31")]
    assert weekdays == sorted([*CALENDAR.closures, *CALENDAR.sessions])


@pytest.mark.parametrize(
    "day",
    [
        *("2001-09-11", "2001-09-12", "2001-09-13", "2001-09-14"),
        *("2012-10-29", "2012-10-30", "2018-12-05", "2025-01-09"),
    ],
)
def test_special_closures_are_no_sessions(day: str) -> None:
    """Attacks, storms and days of mourning closed the exchange on weekdays."""
    assert not CALENDAR.is_session(date.fromisoformat(day))
    with pytest.raises(NotASession, match="holiday or special closure"):
        CALENDAR.require(day)


@pytest.mark.parametrize(
    ("session", "opened", "closed"),
    [
        ("2024-03-08", "2024-03-08T14:30", "2024-03-08T21:00"),
        ("2024-03-11", "2024-03-11T13:30", "2024-03-11T20:00"),
        ("2024-11-01", "2024-11-01T13:30", "2024-11-01T20:00"),
        ("2024-11-04", "2024-11-04T14:30", "2024-11-04T21:00"),
        ("2024-07-03", "2024-07-03T13:30", "2024-07-03T17:00"),
        ("2024-11-29", "2024-11-29T14:30", "2024-11-29T18:00"),
    ],
)
def test_hours_follow_daylight_saving_and_half_days(session: str, opened: str, closed: str) -> None:
    """The hour in UTC moves with New York's clock, and half days close at 13:00 there."""
    day = date.fromisoformat(session)
    assert (utc(opened), utc(closed)) == (CALENDAR.open_at(day), CALENDAR.close_at(day))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("2024-07-06", "weekend"),
        ("2024-07-04", "holiday"),
        ("1999-12-31", "outside the calendar"),
        ("2037-01-02", "outside the calendar"),
        ("20240703", "no ISO date"),
        ("2024-07-03T00:00", "no ISO date"),
        ("yesterday", "no ISO date"),
        (datetime(2024, 7, 3, tzinfo=UTC), "not a day"),
    ],
)
def test_require_says_why_a_key_is_no_session(key: str | date, reason: str) -> None:
    """The message names the reason, so that an operator can correct the key."""
    with pytest.raises(NotASession, match=reason):
        CALENDAR.require(key)


def test_refusal_names_the_nearest_sessions() -> None:
    """The neighbours of a holiday are in the message and in the fields."""
    with pytest.raises(NotASession, match="2024-07-03 and 2024-07-05") as caught:
        CALENDAR.require("2024-07-04")
    assert date(2024, 7, 3) == caught.value.fields["previous"]
    assert date(2024, 7, 5) == caught.value.fields["next"]


@pytest.mark.parametrize("key", ["2024-07-03", date(2024, 7, 3)])
def test_require_takes_keys_and_dates(key: str | date) -> None:
    """Partition keys and dates name the same session."""
    assert date(2024, 7, 3) == CALENDAR.require(key)


def test_year_end_is_crossed() -> None:
    """New Year's Day lies between the last and the first session of two years."""
    assert date(2025, 1, 2) == CALENDAR.next(date(2024, 12, 31))
    assert date(2024, 12, 31) == CALENDAR.previous(date(2025, 1, 2))


@given(session=SESSIONS, count=st.integers(-20, 20))
def test_shift_is_undone_by_its_opposite(session: date, count: int) -> None:
    """Moving by sessions and back returns to the start, and passes exactly that many sessions."""
    try:
        moved = CALENDAR.shift(session, count)
    except NotASession:
        room = len(CALENDAR.between(*sorted((session, CALENDAR.sessions[-1 if count > 0 else 0])))) - 1
        assert room < abs(count)
        return
    assert session == CALENDAR.shift(moved, -count)
    assert abs(count) + 1 == len(CALENDAR.between(*sorted((session, moved))))


def test_neighbour_of_a_holiday_is_refused() -> None:
    """Only sessions have neighbours: a holiday as the start is an error, not a guess."""
    with pytest.raises(NotASession, match="2024-07-04"):
        CALENDAR.next(date(2024, 7, 4))


def test_between_takes_any_days_and_includes_both_ends() -> None:
    """Bounds may be holidays, and an empty or reversed range has no sessions."""
    expected = [date(2024, 7, 3), date(2024, 7, 5), date(2024, 7, 8)]
    assert expected == CALENDAR.between(date(2024, 7, 3), date(2024, 7, 8))
    assert expected[1:2] == CALENDAR.between(date(2024, 7, 4), date(2024, 7, 7))
    assert [] == CALENDAR.between(date(2024, 7, 6), date(2024, 7, 7))
    assert [] == CALENDAR.between(date(2024, 7, 8), date(2024, 7, 3))


def test_between_refuses_a_bound_outside_the_calendar() -> None:
    """A range that the data cannot answer completely is an error, not a shorter list."""
    with pytest.raises(NotASession, match="2037-01-05"):
        CALENDAR.between(date(2036, 12, 1), date(2037, 1, 5))


@pytest.mark.parametrize(
    ("now", "session"),
    [
        ("2024-07-03T16:59:59", "2024-07-02"),
        ("2024-07-03T17:00:00", "2024-07-03"),
        ("2024-07-05T13:30:00", "2024-07-03"),
        ("2024-07-08T00:00:00", "2024-07-05"),
        ("2025-01-09T22:00:00", "2025-01-08"),
    ],
)
def test_latest_closed_session(now: str, session: str) -> None:
    """A session counts from the instant of its close, a half day from its early one."""
    assert date.fromisoformat(session) == CALENDAR.latest_closed(utc(now))


@pytest.mark.parametrize("now", ["1999-12-01T00:00", "2000-01-03T15:00", "2037-02-01T00:00"])
def test_latest_closed_outside_the_calendar_is_refused(now: str) -> None:
    """Before the first close and after the last day there is no answer."""
    with pytest.raises(NotASession):
        CALENDAR.latest_closed(utc(now))


@pytest.mark.parametrize(
    ("start", "end", "minutes"),
    [
        ("2024-07-05T20:00", "2024-07-08T13:00", 0),
        ("2024-07-05T20:00", "2024-07-08T13:31", 1),
        ("2024-07-02T20:00", "2024-07-05T20:00", 210 + 390),
        ("2024-03-08T20:00", "2024-03-11T14:00", 60 + 30),
        ("2024-07-02T15:00:30", "2024-07-02T15:02:00", 1),
        ("2001-09-10T20:00", "2001-09-17T13:30", 0),
    ],
)
def test_open_minutes_count_only_trading_time(start: str, end: str, minutes: int) -> None:
    """Nights, weekends, closures and the second half of a half day do not count."""
    assert minutes == CALENDAR.open_minutes(utc(start), utc(end))


@given(session=SESSIONS, offsets=st.lists(MINUTES, min_size=3, max_size=3))
def test_open_minutes_add_up(session: date, offsets: list[int]) -> None:
    """Splitting a span on a whole minute splits its open minutes."""
    last = CALENDAR.closes[-1]
    start, middle, end = (min(CALENDAR.open_at(session) + timedelta(minutes=at), last) for at in sorted(offsets))
    parts = CALENDAR.open_minutes(start, middle) + CALENDAR.open_minutes(middle, end)
    assert parts == CALENDAR.open_minutes(start, end)


def test_open_minutes_of_a_year_are_the_sum_of_its_sessions(oracle: pd.DataFrame) -> None:
    """The precomputed totals agree with adding up the sessions one by one."""
    year = oracle.loc["2024"]
    expected = int((year["close"] - year["open"]).sum().total_seconds() // 60)
    assert expected == CALENDAR.open_minutes(utc("2024-01-01T12:00"), utc("2024-12-31T23:00"))


@pytest.mark.parametrize("naive", [datetime(2024, 7, 3, 12)])  # noqa: DTZ001 - the subject of the test
def test_naive_instants_are_refused(naive: datetime) -> None:
    """An instant without a time zone is never guessed."""
    with pytest.raises(ValueError, match="no time zone"):
        CALENDAR.open_minutes(naive, utc("2024-07-03T12:00"))
    with pytest.raises(ValueError, match="no time zone"):
        CALENDAR.latest_closed(naive)


def test_reversed_span_is_refused() -> None:
    """Negative trading time would hide a clock that runs ahead."""
    with pytest.raises(ValueError, match="before start"):
        CALENDAR.open_minutes(utc("2024-07-03T12:00"), utc("2024-07-03T11:00"))


def test_sessions_are_in_order_and_the_calendar_is_loaded_once() -> None:
    """Searching relies on the order, and callers may ask for the calendar at no cost."""
    assert all(earlier < later for earlier, later in pairwise(CALENDAR.sessions))
    assert isinstance(CALENDAR, SessionCalendar)
    assert xnys() is CALENDAR


def test_a_day_without_trading_leads_to_the_session_after_it():
    """A session leads to itself; beyond the calendar nothing does."""
    days = {date(2024, 7, 3): date(2024, 7, 3), date(2024, 7, 4): date(2024, 7, 5), date(2024, 7, 6): date(2024, 7, 8)}
    assert days == {day: xnys().at_or_after(day) for day in days}
    for day in (date(1999, 12, 31), date(2037, 1, 1)):
        with pytest.raises(NotASession, match=str(day)):
            xnys().at_or_after(day)


@pytest.mark.parametrize(
    ("at", "open_then"),
    [
        (datetime(2024, 7, 3, 13, 29, 59, tzinfo=UTC), False),
        (datetime(2024, 7, 3, 13, 30, tzinfo=UTC), True),
        (datetime(2024, 7, 3, 16, 59, 59, tzinfo=UTC), True),
        (datetime(2024, 7, 3, 17, 0, tzinfo=UTC), False),
        (datetime(2024, 7, 4, 15, 0, tzinfo=UTC), False),
    ],
)
def test_the_exchange_is_open_from_its_open_until_before_its_close(at: datetime, open_then: bool) -> None:
    """A half day ends at 13:00 New York; a holiday never begins."""
    assert open_then is CALENDAR.is_open(at)
