"""The window before the open: from when until when, on half days, after holidays and where the clocks change."""

from datetime import UTC, date, datetime, timedelta

import pytest

from trading_pipeline.core.sessions import xnys
from trading_pipeline.core.submission_window import SubmissionWindow
from trading_pipeline.errors import OutsideSubmissionWindow

WINDOW = SubmissionWindow(opens_before=timedelta(hours=6), ends_before=timedelta(minutes=5))


@pytest.mark.parametrize(
    ("session", "begins", "ends"),
    [
        pytest.param(date(2023, 9, 5), "2023-09-06T07:30", "2023-09-06T13:25", id="summer"),
        pytest.param(date(2023, 1, 10), "2023-01-11T08:30", "2023-01-11T14:25", id="winter"),
        pytest.param(date(2023, 9, 1), "2023-09-05T07:30", "2023-09-05T13:25", id="Labor Day"),
        pytest.param(date(2023, 6, 30), "2023-07-03T07:30", "2023-07-03T13:25", id="a half day"),
        pytest.param(date(2023, 7, 3), "2023-07-05T07:30", "2023-07-05T13:25", id="after a half day"),
        pytest.param(date(2023, 3, 10), "2023-03-13T07:30", "2023-03-13T13:25", id="clocks forward"),
        pytest.param(date(2023, 11, 3), "2023-11-06T08:30", "2023-11-06T14:25", id="clocks back"),
    ],
)
def test_the_window_counts_back_from_the_next_open(session: date, begins: str, ends: str) -> None:
    """Its first instant is inside, its last is not; one microsecond decides."""
    first, last = (datetime.fromisoformat(at).replace(tzinfo=UTC) for at in (begins, ends))
    tick = timedelta(microseconds=1)
    assert (first, last) == WINDOW.bounds(session, xnys())
    for inside in (first, last - tick):
        WINDOW.require_open(session, inside, xnys())
    with pytest.raises(OutsideSubmissionWindow, match="not open yet"):
        WINDOW.require_open(session, first - tick, xnys())
    with pytest.raises(OutsideSubmissionWindow, match=f"decided from {session} .* not traded late"):
        WINDOW.require_open(session, last, xnys())


@pytest.mark.parametrize(("opens", "ends"), [(5, 5), (1, 5), (60, 1)])
def test_a_window_that_is_empty_or_ends_after_the_auction_is_refused(opens: int, ends: int) -> None:
    """Orders for the opening auction are taken until two minutes before the open."""
    with pytest.raises(ValueError, match="window"):
        SubmissionWindow(opens_before=timedelta(minutes=opens), ends_before=timedelta(minutes=ends))
