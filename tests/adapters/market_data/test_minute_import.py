"""Files of minute bars: made into the bars of their sessions, or refused by row."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from trading_pipeline.adapters.market_data.importing import ImportReport, import_bars, import_minutes
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.minute_bars import MinuteLabel
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import BarFileInvalid, DataQualityError

HALF, FULL = date(2024, 7, 3), date(2024, 7, 5)
MINUTE = timedelta(minutes=1)
HEADER = "symbol,timestamp,open,high,low,close,volume"
Run = Callable[..., ImportReport]


def stamps(day: date, *, end: bool = False) -> list[datetime]:
    """Return the minutes of a regular session, stamped at their start or end."""
    opens, closes = xnys().open_at(day), xnys().close_at(day)
    return [opens + MINUTE * (at + end) for at in range((closes - opens) // MINUTE)]


def line(stamp: datetime, price: float, *, volume: int = 100, symbol: str = "AAPL") -> str:
    """Return a minute that trades at one price."""
    return f"{symbol},{stamp.isoformat()},{price},{price},{price},{price},{volume}"


def session_lines(day: date, *, end: bool = False) -> list[str]:
    """Return a session that rises by a cent a minute, busiest at both ends, with trades before and after it."""
    regular = stamps(day, end=end)
    busy = {regular[0], regular[-1]}
    rows = [line(at, 100 + n / 100, volume=9_000 if at in busy else 100) for n, at in enumerate(regular)]
    return [line(regular[0] - 30 * MINUTE, 50.0), *rows, line(regular[-1] + 60 * MINUTE, 200.0)]


@pytest.fixture
def run(tmp_path: Path, lake: Lake, now: datetime) -> Run:
    """Return a function that imports lines."""

    def import_lines(*lines: str, header: str = HEADER, at: datetime = now, **options: object) -> ImportReport:
        path = tmp_path / "minutes.csv"
        path.write_text("\n".join([header, *lines, ""]))
        return import_minutes(path, lake, calendar=xnys(), now=at, **options)

    return import_lines


def imported(lake: Lake) -> pl.DataFrame:
    """Return everything imported."""
    return lake.read(Dataset.IMPORTED_BARS, start=date(2000, 1, 1), end=date(2030, 1, 1))


@pytest.mark.parametrize("end", [False, True], ids=["stamped at the start", "stamped at the end"])
def test_minutes_become_the_bars_of_their_sessions(run: Run, lake: Lake, end: bool) -> None:
    """The label is the one that shows; half days end early; extended hours and closed days are counted, not used."""
    ghost = line(datetime(2024, 7, 4, 15, tzinfo=UTC), 1.0)
    report = run(*session_lines(HALF, end=end), *session_lines(FULL, end=end), ghost)

    assert (2, (HALF, FULL), 2, 0) == (report.rows, report.sessions, report.new_rows, report.restated_rows)
    assert {"closed_day": 1, "before_open": 2, "after_close": 2} == report.left_out
    names = ("session", "ended_at", "open", "high", "low", "close", "volume", "source")
    expected = [
        (day, xnys().close_at(day), 100.0, top, 100.0, top, 18_000.0 + 100 * (count - 2), "import:minutes.csv")
        for day, count, top in ((HALF, 210, 102.09), (FULL, 390, 103.89))
    ]
    assert expected == imported(lake).select(names).rows()


def test_a_label_that_is_stated_is_believed(run: Run, lake: Lake) -> None:
    """One quiet symbol shows none: refused, unless somebody knows."""
    lines = [line(at, 100.0) for at in stamps(FULL)[10:-10]]
    with pytest.raises(DataQualityError, match="state the label"):
        run(*lines)
    assert [] == lake.sessions(Dataset.IMPORTED_BARS)
    assert 1 == run(*lines, label=MinuteLabel.START).new_rows


def test_minutes_and_daily_bars_are_versions_of_each_other(run: Run, lake: Lake, now: datetime, tmp_path: Path) -> None:
    """The same session from both: one bar, restated where they differ and unchanged where they do not."""
    run(*session_lines(FULL))
    daily = tmp_path / "daily.parquet"
    row = imported(lake).drop("ended_at", "source", "known_at")
    row.write_parquet(daily)
    later = now + timedelta(days=1)
    assert 1 == import_bars(daily, lake, calendar=xnys(), now=later).unchanged_rows
    row.with_columns(volume=pl.lit(7.0)).write_parquet(daily)
    assert 1 == import_bars(daily, lake, calendar=xnys(), now=later).restated_rows
    assert 2 == imported(lake).height


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("AAPL,2024-07-05T13:31:00,1,1,1,1,1", "line 2, column timestamp: '2024-07-05T13:31:00' has no time zone"),
        ("AAPL,2024-07-05T13:31:00Z,1,1,1,-1,1", "line 2, column close: -1.0 is no price"),
        ("AAPL,2024-07-05T13:31:00Z,1,,1,1,1", "line 2, column high: '' is no finite number"),
        ("AAPL,2024-07-05T13:31:00Z,1,x,1,1,1", "line 2, column high: 'x' is no finite number"),
        ("aapl,2024-07-05T13:31:00Z,1,1,1,1,1", "line 2, column symbol: 'aapl'"),
        ("AAPL,2024-08-01T13:31:00Z,1,1,1,1,1", "line 2, column session: session 2024-08-01 has not closed yet"),
        ("AAPL,1999-12-31T15:31:00Z,1,1,1,1,1", "line 2, column session: 1999-12-31 is outside"),
    ],
)
def test_a_wrong_minute_refuses_the_file(run: Run, lake: Lake, wrong: str, message: str) -> None:
    """A bar that one bad minute is part of would look good; so nothing of the file is imported."""
    with pytest.raises(BarFileInvalid) as caught:
        run(wrong, *session_lines(FULL), label=MinuteLabel.START)
    assert caught.value.fields["problems"][0].startswith(message)
    assert "--defects" not in caught.value.message
    assert [] == lake.sessions(Dataset.IMPORTED_BARS)


def test_what_is_not_minutes_is_refused(run: Run, lake: Lake) -> None:
    """A column of days, a minute twice, seconds, or no regular minute at all."""
    first = stamps(FULL)[0]
    with pytest.raises(BarFileInvalid, match="column session: is of daily bars"):
        run("AAPL,2024-07-05,1,1,1,1,1", header=HEADER.replace("timestamp", "session"))
    with pytest.raises(DataQualityError, match=r"2 row\(s\) that repeat a symbol and minute"):
        run(line(first, 1.0), line(first, 2.0), label=MinuteLabel.START)
    with pytest.raises(DataQualityError, match="not on a whole minute"):
        run(line(first + timedelta(seconds=1), 1.0), label=MinuteLabel.START)
    with pytest.raises(BarFileInvalid, match="no minute of it lies within a regular session"):
        run(line(first - 5 * MINUTE, 1.0), label=MinuteLabel.START)
    assert [] == lake.sessions(Dataset.IMPORTED_BARS)


@pytest.mark.parametrize(("kept", "end"), [(slice(20, None), "open"), (slice(None, -20), "close")])
def test_a_part_of_a_session_is_not_taken_for_a_whole_one(run: Run, lake: Lake, kept: slice, end: str) -> None:
    """The other session of the file is complete, and is not imported either."""
    part = [line(at, 1.0) for at in stamps(HALF)[kept]]
    with pytest.raises(BarFileInvalid, match=f"2024-07-03 has no minute near its {end}"):
        run(*session_lines(FULL), *part, label=MinuteLabel.START)
    assert [] == lake.sessions(Dataset.IMPORTED_BARS)


def test_the_session_under_way_is_not_taken_for_a_whole_one(run: Run) -> None:
    """Its last hours are missing."""
    noon = datetime(2024, 7, 5, 16, tzinfo=UTC)
    with pytest.raises(BarFileInvalid, match="2024-07-05 has not closed yet"):
        run(*[line(at, 1.0) for at in stamps(FULL) if at < noon], label=MinuteLabel.START, at=noon)
