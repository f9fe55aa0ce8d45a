"""Freshness is judged per symbol in trading minutes, and doubt is never fresh."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.freshness import FreshnessMode, FreshnessReport, judge_freshness
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import (
    BarsUnavailable,
    DataQualityError,
    FutureTimestamp,
    InsufficientFreshness,
    MissingColumns,
    NaiveTimestamp,
    UnknownFreshnessMode,
)

FRIDAY_CLOSE = datetime(2024, 7, 12, 20, tzinfo=UTC)
MONDAY_9 = datetime(2024, 7, 15, 13, tzinfo=UTC)
MONDAY_OPEN = datetime(2024, 7, 15, 13, 30, tzinfo=UTC)
NOON = MONDAY_OPEN + timedelta(minutes=150)


def bars(*rows: tuple[str, datetime]) -> pl.DataFrame:
    """Return newest bars as the store gives them."""
    return pl.DataFrame(rows, schema={"symbol": pl.String, "ended_at": pl.Datetime("us", "UTC")}, orient="row")


def judge(latest: pl.DataFrame, expected: list[str], as_of: datetime = NOON, **changes) -> FreshnessReport:
    """Judge with the usual limits."""
    question = {"max_age_minutes": 60, "min_fresh_pct": 90, "mode": "per_symbol", "calendar": xnys(), **changes}
    return judge_freshness(latest, expected=expected, as_of=as_of, **question)


def minutes_old(**ages: int) -> pl.DataFrame:
    """Return one bar a symbol, of so many minutes before noon."""
    return bars(*((symbol, NOON - timedelta(minutes=age)) for symbol, age in ages.items()))


def test_friday_close_is_fresh_on_monday_before_the_open() -> None:
    """The weekend does not age a bar."""
    report = judge(bars(("A", FRIDAY_CLOSE)), ["A"], MONDAY_9, max_age_minutes=0)
    assert [("A", FRIDAY_CLOSE, 0, "fresh")] == report.table.rows()
    assert report.usable


@pytest.mark.parametrize(("age", "state"), [(60, "fresh"), (61, "stale")])
def test_age_equal_to_the_maximum_is_fresh(age: int, state: str) -> None:
    """The limit itself passes, one minute more does not."""
    assert [state] == judge(minutes_old(A=age), ["A"]).table["state"].to_list()


def test_every_expected_symbol_has_a_verdict_and_no_other() -> None:
    """Stale and absent symbols are excluded with reasons; strangers are ignored."""
    report = judge(minutes_old(C=0, B=90, STRANGER=0), ["C", "B", "A"])
    assert ["A", "B", "C"] == report.table["symbol"].to_list()
    assert ["missing", "stale", "fresh"] == report.table["state"].to_list()
    assert [None, 90, 0] == report.table["age_minutes"].to_list()
    assert ["C"] == report.fresh
    assert ["A", "B"] == list(report.excluded)
    assert report.excluded["A"] == "no bar"
    assert "90 trading minutes old, at most 60" in report.excluded["B"]
    assert Decimal("33.33") == report.fresh_pct


def test_newest_of_several_rows_counts() -> None:
    """Older bars of a symbol, in any order, do not make it stale."""
    latest = pl.concat([minutes_old(A=10), minutes_old(A=100), minutes_old(A=5)])
    assert [5] == judge(latest, ["A"]).table["age_minutes"].to_list()


@pytest.mark.parametrize(
    ("mode", "ages", "usable"),
    [
        ("latest", {"A": 60, "B": 150}, True),
        ("latest", {"A": 61, "B": 150}, False),
        ("latest", {"A": 0}, True),
        ("oldest", {"A": 0, "B": 60}, True),
        ("oldest", {"A": 0, "B": 61}, False),
        ("oldest", {"A": 0}, False),
        ("median", {"A": 0, "B": 120}, True),
        ("median", {"A": 1, "B": 120}, False),
        ("median", {"A": 0}, False),
        ("per_symbol", {"A": 0, "B": 60}, True),
        ("per_symbol", {"A": 0, "B": 61}, False),
        ("per_symbol", {"A": 0}, False),
    ],
)
def test_modes(mode: str, ages: dict[str, int], usable: bool) -> None:
    """Each mode looks at its own statistic, and a missing symbol is older than any other."""
    report = judge(minutes_old(**ages), ["A", "B"], mode=mode)
    assert FreshnessMode(mode) is report.mode
    assert usable is report.usable


@pytest.mark.parametrize("mode", list(FreshnessMode))
def test_an_empty_frame_is_an_error_by_name(mode: FreshnessMode) -> None:
    """Whoever has no bar at all has lost a feed, not some symbols of it."""
    with pytest.raises(BarsUnavailable, match="no newest bar of any symbol"):
        judge(bars(), ["A", "B"], mode=mode)


@pytest.mark.parametrize("mode", list(FreshnessMode))
def test_without_a_bar_of_an_expected_symbol_no_mode_is_usable(mode: FreshnessMode) -> None:
    """Bars of strangers make nothing fresh."""
    report = judge(minutes_old(STRANGER=0), ["A", "B"], mode=mode)
    assert ["missing", "missing"] == report.table["state"].to_list()
    assert not report.usable


@pytest.mark.parametrize(("fresh", "usable"), [(9, True), (8, False)])
@pytest.mark.parametrize("share", [90, 90.0, Decimal(90)])
def test_share_equal_to_the_minimum_is_enough(fresh: int, share: float, usable: bool) -> None:
    """Nine of ten are 90 percent, whatever type the limit has."""
    symbols = [f"S{number}" for number in range(10)]
    report = judge(minutes_old(**dict.fromkeys(symbols[:fresh], 1)), symbols, min_fresh_pct=share)
    assert usable is report.usable


def test_require_names_counts_and_symbols() -> None:
    """An operator reads from the message how many and which symbols are not fresh."""
    symbols = [f"S{number:02}" for number in range(20)]
    report = judge(minutes_old(S00=1, S01=99), symbols)
    complaint = r"1 of 20 symbols.*stale: S01; missing: S02, .* and 8 more"
    with pytest.raises(InsufficientFreshness, match=complaint) as caught:
        report.require()
    assert ["S01"] == caught.value.fields["stale"]
    assert symbols[2:] == caught.value.fields["missing"]


def test_require_lets_usable_data_pass() -> None:
    """One stale symbol of many does not stop the session."""
    symbols = [f"S{number}" for number in range(20)]
    judge(minutes_old(**{**dict.fromkeys(symbols, 1), "S0": 99}), symbols).require()


@given(ages=st.dictionaries(st.sampled_from("ABCDEFGH"), st.integers(0, 120), min_size=1), limit=st.integers(0, 120))
def test_oldest_implies_per_symbol_implies_latest(ages: dict[str, int], limit: int) -> None:
    """With a share of 100 percent the modes are ordered by how much they ask."""
    oldest, per_symbol, latest = (
        judge(minutes_old(**ages), list(ages), max_age_minutes=limit, min_fresh_pct=100, mode=mode).usable
        for mode in ("oldest", "per_symbol", "latest")
    )
    assert oldest is per_symbol
    assert latest or not per_symbol


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"expected": []}, ValueError, "at least one symbol"),
        ({"expected": "AAPL"}, ValueError, "collection of at least one symbol"),
        ({"as_of": NOON.replace(tzinfo=None)}, NaiveTimestamp, "as_of .* no time zone"),
        ({"mode": "newest"}, UnknownFreshnessMode, "mode 'newest': use one of latest, oldest, median, per_symbol"),
        ({"max_age_minutes": -1}, ValueError, "max_age_minutes must be 0 or more"),
        ({"min_fresh_pct": 101}, ValueError, "between 0 and 100"),
        ({"min_fresh_pct": Decimal("NaN")}, ValueError, "between 0 and 100"),
        ({"min_fresh_pct": float("nan")}, ValueError, "between 0 and 100"),
    ],
)
def test_questions_without_sense_are_refused(changes: dict[str, object], error: type[Exception], message: str) -> None:
    """A wrong argument is named, never replaced by a default."""
    with pytest.raises(error, match=message):
        judge(minutes_old(A=0), **{"expected": ["A"], **changes})


@pytest.mark.parametrize(
    ("latest", "error", "message"),
    [
        (minutes_old(A=0).drop("ended_at"), MissingColumns, "no column ended_at, only symbol"),
        (pl.DataFrame(), MissingColumns, "no column ended_at, symbol, only none"),
        (
            minutes_old(A=0).with_columns(pl.col("ended_at").dt.replace_time_zone(None)),
            NaiveTimestamp,
            "column ended_at .* without a time zone",
        ),
        (minutes_old(A=0).with_columns(pl.lit(1).alias("symbol")), DataQualityError, "column symbol .* not String"),
        (
            minutes_old(A=0).with_columns(pl.col("ended_at").dt.date()),
            DataQualityError,
            "column ended_at .* is Date, not",
        ),
        (
            minutes_old(A=0).with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("ended_at")),
            DataQualityError,
            "has no ended_at",
        ),
        (minutes_old(A=-1, B=0), FutureTimestamp, r"after as_of 2024-07-15T16:00:00\+00:00.*: A$"),
    ],
)
def test_unfit_frames_are_refused(latest: pl.DataFrame, error: type[Exception], message: str) -> None:
    """What is wrong with the bars is named: column, type, or the symbols from the future."""
    with pytest.raises(error, match=message):
        judge(latest, ["A"])


@given(
    bar=st.datetimes(datetime(2024, 2, 26), datetime(2024, 12, 2)),  # noqa: DTZ001 - the zone comes with timezones
    minutes=st.integers(0, 20_000),
)
def test_ages_of_many_bars_are_those_of_one(bar: datetime, minutes: int) -> None:
    """Half days, both changes of the clocks, weekends and holidays between them."""
    ended_at = bar.replace(tzinfo=UTC)
    as_of = ended_at + timedelta(minutes=minutes)
    table = judge(bars(("A", ended_at)), ["A", "B"], as_of).table
    assert [xnys().open_minutes(ended_at, as_of), None] == table["age_minutes"].to_list()


def test_bars_of_another_time_zone_are_the_same_instants() -> None:
    """Only the instant counts."""
    local = minutes_old(A=30).with_columns(
        pl.col("ended_at").dt.convert_time_zone("America/New_York").dt.cast_time_unit("ns")
    )
    assert [30] == judge(local, ["A"]).table["age_minutes"].to_list()


def test_future_bar_of_a_stranger_is_ignored() -> None:
    """Only expected symbols are judged."""
    assert judge(minutes_old(A=0, STRANGER=-5), ["A"]).usable
