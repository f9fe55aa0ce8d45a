"""The bar format: what counts as clean bars, and what is said about the rest."""

import subprocess
import sys
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.bar_model import bar_violations
from trading_pipeline.core.bars import (
    BAR_SCHEMA,
    PRICE_COLUMNS,
    closes_of,
    empty_bars,
    in_order,
    require_bar_schema,
    validate_bars,
)
from trading_pipeline.errors import DataQualityError, NotASession

SESSION = date(2024, 7, 3)
BAR = {
    "session": SESSION,
    "symbol": "AAPL",
    "ended_at": datetime(2024, 7, 3, 17, 0, tzinfo=UTC),
    "open": 10.0,
    "high": 12.0,
    "low": 9.0,
    "close": 11.0,
    "volume": 1000.0,
    "vwap": None,
    "source": "test",
}


def bars(*changes: dict[str, object]) -> pl.DataFrame:
    """Return one AAPL bar per change."""
    return pl.DataFrame([BAR | change for change in changes], schema=BAR_SCHEMA)


def test_clean_bars_come_back_in_the_order_of_the_format():
    """Columns in any order are accepted and put in order."""
    frame = bars({}, {"symbol": "MSFT", "vwap": 10.5})

    assert frame.equals(validate_bars(frame.select(reversed(frame.columns)), where="test"))


def test_no_bars_are_clean_bars():
    """A frame without rows breaks no rule."""
    assert 0 == validate_bars(empty_bars(), where="test").height


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"open": None}, "open None (missing)"),
        ({"close": float("nan")}, "close NaN"),
        ({"high": float("inf")}, "high inf"),
        ({"low": 0.0}, "low 0.0"),
        ({"close": -1.0}, "close -1.0"),
        ({"volume": -5.0}, "volume -5.0"),
        ({"vwap": 0.0}, "vwap 0.0"),
        ({"vwap": float("nan")}, "vwap NaN"),
        ({"high": 10.5}, "high_is_highest"),
        ({"low": 10.5}, "low_is_lowest"),
        ({"ended_at": datetime(2024, 7, 5, 20, 0, tzinfo=UTC)}, "ends_on_its_session"),
        ({"symbol": ""}, "symbol"),
        ({"source": None}, "source None (missing)"),
    ],
)
def test_a_broken_row_is_named(change: dict[str, object], words: str):
    """The message names the frame, the row with its key, and the column or rule."""
    with pytest.raises(DataQualityError) as caught:
        validate_bars(bars({"symbol": "MSFT"}, change), where="bars of test")

    symbol = change.get("symbol", "AAPL")
    assert caught.value.message.startswith("bars of test: ")
    assert f"row 2 ({symbol} 2024-07-03): " in caught.value.message
    assert words in caught.value.message


def test_a_key_twice_is_refused():
    """Both rows of a repeated key are named."""
    with pytest.raises(DataQualityError, match=r"row 1 .*more than one row for the key; row 2 .*more than one row"):
        validate_bars(bars({}, {"close": 10.0}), where="test")


def test_wrong_columns_are_all_named():
    """Missing, unknown and mistyped columns are reported together, before any row is looked at."""
    frame = bars({}).drop("vwap").with_columns(pl.col("volume").cast(pl.Int64), extra=pl.lit(1))

    with pytest.raises(DataQualityError) as caught:
        require_bar_schema(frame, where="test")

    expected = [
        "column vwap is missing",
        "column extra is not part of the bar format",
        "column volume is Int64, not Float64",
    ]
    assert expected == caught.value.fields["problems"]


def test_closes_follow_the_calendar():
    """A half day ends early, and the season moves the close in UTC."""
    days = pl.Series("session", [date(2024, 7, 3), date(2024, 1, 3), date(2024, 7, 5)])

    expected = [
        datetime(2024, 7, 3, 17, tzinfo=UTC),
        datetime(2024, 1, 3, 21, tzinfo=UTC),
        datetime(2024, 7, 5, 20, tzinfo=UTC),
    ]
    assert expected == closes_of(days).to_list()


def test_a_closed_day_has_no_close():
    """A holiday is refused instead of given some time."""
    with pytest.raises(NotASession):
        closes_of(pl.Series("session", [date(2024, 7, 4)]))


@given(st.lists(st.tuples(st.sampled_from([None, 3, 5, 8]), st.sampled_from([None, "A", "AA", "B", "É"])), max_size=4))
def test_rows_are_in_order_when_sorting_changes_nothing_and_no_key_is_twice(keys: list[tuple[int | None, str | None]]):
    """Nulls are in no order."""
    frame = pl.DataFrame(
        [(day and date(2024, 7, day), symbol) for day, symbol in keys],
        schema={"session": pl.Date, "symbol": pl.String},
        orient="row",
    )

    sorted_and_unique = frame.equals(frame.sort("session", "symbol").unique(maintain_order=True))
    assert (sorted_and_unique and not any(None in key for key in keys)) == in_order(frame)


WRONG = {
    "session": [None, date(2024, 7, 5)],
    "symbol": [None, ""],
    "ended_at": [None, datetime(2024, 7, 4, 3, tzinfo=UTC), datetime(2024, 7, 4, 4, tzinfo=UTC)],
    "source": [None, ""],
    **{name: [None, float("nan"), float("inf"), 0.0, -1.0, 9.0, 12.0] for name in PRICE_COLUMNS},
    "volume": [None, float("nan"), float("inf"), 0.0, -1.0],
    "vwap": [None, float("nan"), float("inf"), 0.0, 10.0],
}


@given(
    st.lists(
        st.lists(
            st.sampled_from([(name, value) for name, values in WRONG.items() for value in values]), max_size=2
        ).map(dict),
        min_size=1,
        max_size=2,
    )
)
def test_bars_pass_exactly_when_the_model_has_nothing_to_say(changes: list[dict[str, object]]):
    """Bars are looked at in one pass before the model names what is wrong: both know the same rules."""
    frame = bars(*changes)

    if bar_violations(frame):
        with pytest.raises(DataQualityError):
            validate_bars(frame, where="test")
    else:
        assert frame.equals(validate_bars(frame, where="test"))


def test_the_format_costs_no_pandera_until_a_row_is_wrong():
    """A process that only sees clean bars does not import pandera."""
    code = (
        "import sys, trading_pipeline.core.bars as bars, trading_pipeline.core.quality\n"
        "bars.validate_bars(bars.empty_bars(), where='')\n"
        "print('pandera' in sys.modules)"
    )

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "False" == answer.stdout.strip()
