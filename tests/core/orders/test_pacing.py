"""No burst after a pause, and no slice after its time, whatever the sender's process went through."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.orders.pacing import ON_TIME, expires_at, not_before
from trading_pipeline.core.orders.twap import WhenLate

FIRST = datetime(2023, 9, 5, 14, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CUT = FIRST + timedelta(hours=5)


@given(
    count=st.integers(1, 40),
    seconds=st.integers(10, 600),
    pauses=st.lists(st.integers(1, 3_000), min_size=1, max_size=80),
)
def test_one_slice_an_interval_is_sent_at_most(count: int, seconds: int, pauses: list[int]) -> None:
    """A sender that looks at any times: one slice in each interval of the plan, none close to the one before."""
    interval = timedelta(seconds=seconds)
    due = [FIRST + at * interval for at in range(count)]
    now, sent = FIRST - interval, []
    for pause in pauses:
        now += timedelta(seconds=pause)
        if due and now >= not_before(due[0], first_due=FIRST, interval=interval, last_sent=sent[-1] if sent else None):
            assert now >= due.pop(0)
            sent.append(now)
    slots = [(at - FIRST) // interval for at in sent]
    assert len(slots) == len(set(slots))
    assert all(later - earlier >= interval * 0.9 for earlier, later in pairwise(sent))


@given(delays=st.lists(st.floats(0, 5), min_size=2, max_size=40))
def test_a_sender_that_is_a_little_late_stays_on_the_times_of_the_plan(delays: list[float]) -> None:
    """Delays do not add up: each slice may go at its own due time."""
    last = None
    for at, delay in enumerate(delays):
        due = FIRST + at * MINUTE
        assert due == not_before(due, first_due=FIRST, interval=MINUTE, last_sent=last)
        last = due + timedelta(seconds=delay)


def test_a_late_slice_runs_while_its_grace_lasts_and_no_longer() -> None:
    """Five minutes here."""
    grace = timedelta(minutes=5)
    ends = expires_at(FIRST, when_late=WhenLate.RUN, grace=grace, interval=MINUTE, cut=CUT)
    assert FIRST + grace == ends


def test_a_slice_that_expires_when_late_has_the_time_a_working_sender_needs() -> None:
    """Half a minute, or an interval if that is shorter."""
    waits = {
        seconds: expires_at(
            FIRST,
            when_late=WhenLate.EXPIRE,
            grace=timedelta(hours=1),
            interval=timedelta(seconds=seconds),
            cut=CUT,
        )
        - FIRST
        for seconds in (10, 600)
    }
    assert {10: timedelta(seconds=10), 600: ON_TIME} == waits


def test_nothing_is_sent_once_orders_of_the_closing_auction_are_no_longer_taken() -> None:
    """However long the grace."""
    grace = timedelta(hours=1)
    assert CUT == expires_at(CUT - MINUTE, when_late=WhenLate.RUN, grace=grace, interval=MINUTE, cut=CUT)
