"""Versions: nothing is overwritten, and any evening can be asked for again."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline.core.bars import BAR_SCHEMA
from trading_pipeline.core.versions import RAW_SCHEMA, append_versions, as_known_at, known_from
from trading_pipeline.errors import DataQualityError

SESSION = date(2024, 7, 1)
START = datetime(2024, 7, 1, 21, tzinfo=UTC)


def at(hours: int) -> datetime:
    """Return an instant some hours after the first."""
    return START + timedelta(hours=hours)


def delivery(hours: int, *closes: tuple[str, float | None]) -> pl.DataFrame:
    """Return what was delivered at an hour."""
    rows = [
        dict.fromkeys(BAR_SCHEMA) | {"session": SESSION, "symbol": symbol, "close": close, "source": f"file {hours}"}
        for symbol, close in closes
    ]
    return known_from(pl.DataFrame(rows, schema=BAR_SCHEMA), at(hours))


def seen(raw: pl.DataFrame, hours: int | None) -> list[tuple[str, float | None]]:
    """Return symbols and closes as known at an hour."""
    known = as_known_at(raw, None if hours is None else at(hours))
    return sorted(known.select("symbol", "close").rows(), key=str)


def test_a_restated_bar_is_a_second_version():
    """The first can be asked for ever after."""
    raw = append_versions(delivery(0, ("A", 1.0), ("B", 5.0)), delivery(8, ("A", 2.0), ("B", 5.0)))

    assert [("A", 1.0), ("B", 5.0)] == seen(raw, 7)
    assert [("A", 2.0), ("B", 5.0)] == seen(raw, 8) == seen(raw, None)
    assert 3 == raw.height
    assert [] == seen(raw, -1)


def test_the_same_again_is_no_version():
    """Whatever file it came from, nulls and repeated rows included."""
    first = delivery(0, ("A", None), ("B", 1.0), ("B", 2.0), ("B", 2.0))
    again = delivery(5, ("B", 2.0), ("B", 1.0), ("B", 2.0), ("A", None))

    assert_frame_equal(first, append_versions(first, again))


def test_a_conflict_resolved_is_a_version():
    """Of two conflicting rows one remains; both are still known of the time before."""
    raw = append_versions(delivery(0, ("A", 1.0), ("A", 2.0)), delivery(3, ("A", 2.0)))

    assert [("A", 1.0), ("A", 2.0)] == seen(raw, 2)
    assert [("A", 2.0)] == seen(raw, 3)


def test_a_version_learned_of_late_takes_its_place_in_time():
    """A vintage of an earlier evening does not displace a later one."""
    raw = append_versions(delivery(8, ("A", 2.0)), delivery(2, ("A", 1.0)))

    assert [[("A", 1.0)], [("A", 2.0)]] == [seen(raw, 5), seen(raw, None)]


def test_one_instant_has_one_version():
    """What was known then cannot be changed now."""
    with pytest.raises(DataQualityError, match="the first A of 2024-07-01"):
        append_versions(delivery(0, ("A", 1.0)), delivery(0, ("A", 2.0)))


def test_naive_instants_are_refused():
    """There is no telling which evening is meant."""
    raw = delivery(0, ("A", 1.0))
    naive = datetime(2024, 7, 1)  # noqa: DTZ001 - the point of the test
    with pytest.raises(ValueError, match="no time zone"):
        as_known_at(raw, naive)
    with pytest.raises(ValueError, match="no time zone"):
        known_from(raw, naive)
    assert RAW_SCHEMA == raw.schema


deliveries = st.lists(
    st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from([1.0, 2.0, None])), max_size=4), max_size=6
)


@settings(max_examples=80)
@given(deliveries)
def test_every_evening_can_be_asked_for_again(told: list[list[tuple[str, float | None]]]):
    """Later deliveries change no earlier answer, and the newest is always what was told last."""
    raw = delivery(0)
    answers = []
    for hours, rows in enumerate(told):
        raw = append_versions(raw, delivery(hours, *rows))
        answers.append(seen(raw, None))
    assert answers == [seen(raw, hours) for hours in range(len(told))]
    for symbol in "AB":
        newest = next((rows for rows in reversed(told) if symbol in dict(rows)), [])
        expected = sorted((row for row in newest if row[0] == symbol), key=str)
        assert expected == [row for row in seen(raw, None) if row[0] == symbol]
