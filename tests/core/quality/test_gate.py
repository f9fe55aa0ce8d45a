"""The quality gate: which rows are kept out, why, and that no row is ever lost or judged differently by the split."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline.core.bars import BAR_KEY, BAR_SCHEMA, closes_of, empty_bars, validate_bars
from trading_pipeline.core.quality import GateConfig, GateResult, judge_bars
from trading_pipeline.core.quality.gate import ACCEPTANCE_SCHEMA
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError

DAYS = xnys().between(date(2024, 7, 1), date(2024, 7, 31))
NAN, INFINITY = float("nan"), float("inf")


def bar(day: date = DAYS[0], symbol: str = "AAPL", close: float = 100.0, **changes: object) -> dict[str, object]:
    """Return a sound flat bar with changes."""
    values: dict[str, object] = dict.fromkeys(("open", "high", "low", "close"), close)
    ended_at = (
        xnys().close_at(day) if xnys().is_session(day) else datetime(day.year, day.month, day.day, 20, tzinfo=UTC)
    )
    values |= {"session": day, "symbol": symbol, "ended_at": ended_at, "volume": 1000.0, "vwap": None, "source": "test"}
    return values | changes


def frame(*rows: dict[str, object]) -> pl.DataFrame:
    """Return rows in bar format."""
    return pl.DataFrame(rows, schema=BAR_SCHEMA)


def acceptance(day: date, close: float) -> pl.DataFrame:
    """Return an operator's acceptance of one bar of AAPL."""
    return frame(bar(day, close=close)).select(ACCEPTANCE_SCHEMA.names())


def closes(values: Sequence[float], symbol: str = "AAPL") -> pl.DataFrame:
    """Return one bar a session with these closes."""
    return frame(*(bar(day, symbol, close) for day, close in zip(DAYS, values, strict=False)))


def kept(result: GateResult) -> list[float]:
    """Return the closes that passed."""
    return result.bars["close"].to_list()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"open": None}, "missing_price"),
        ({"high": NAN}, "missing_price"),
        ({"close": INFINITY}, "missing_price"),
        ({"low": 0.0}, "non_positive_price"),
        ({"open": -1.0, "low": -1.0}, "non_positive_price"),
        ({"low": -INFINITY}, "missing_price;non_positive_price"),
        ({"vwap": 0.0}, "invalid_vwap"),
        ({"vwap": NAN}, "invalid_vwap"),
        ({"volume": None}, "missing_volume"),
        ({"volume": -1.0}, "negative_volume"),
        ({"high": 99.0, "low": 98.0}, "high_too_low"),
        ({"low": 101.0}, "high_too_low;low_too_high"),
        ({"low": 100.5, "high": 102.0}, "low_too_high"),
        ({"ended_at": None}, "wrong_time"),
        ({"ended_at": datetime(2024, 7, 5, 20, tzinfo=UTC)}, "wrong_time"),
        ({"ended_at": datetime(2024, 7, 1, 20, 1, tzinfo=UTC)}, "wrong_time"),
        ({"symbol": " "}, "missing_symbol"),
        ({"symbol": "^GSPC"}, "not_an_equity"),
        ({"symbol": "I:SPX"}, "not_an_equity"),
        ({"symbol": None}, "missing_symbol"),
    ],
)
def test_a_broken_row_is_quarantined_with_its_reason(changes: dict[str, object], reason: str):
    """The row keeps all its raw columns, and the sound row beside it passes."""
    raw = frame(bar(**changes), bar(symbol="MSFT"))

    result = judge_bars(raw, last_good={})

    assert [reason] == result.quarantined["reason"].to_list()
    assert_frame_equal(raw[:1], result.quarantined.select(BAR_SCHEMA.names()))
    assert ["MSFT"] == result.bars["symbol"].to_list()


def test_a_thin_bar_with_a_vwap_is_sound():
    """A quiet day is no defect."""
    assert 1 == judge_bars(frame(bar(volume=1.0, vwap=99.5)), last_good={}).bars.height


@pytest.mark.parametrize("day", [date(2024, 7, 4), date(2024, 7, 6)])
def test_a_day_without_trading_is_quarantined(day: date):
    """Holidays and weekends have no bars."""
    assert ["not_a_session"] == judge_bars(frame(bar(day)), last_good={}).quarantined["reason"].to_list()


def test_the_usual_close_is_in_the_future_of_a_half_day():
    """On the third of July trading ends at one o'clock."""
    half = DAYS[2]
    assert date(2024, 7, 3) == half
    late = frame(bar(half), bar(half, "MSFT", ended_at=datetime(2024, 7, 3, 20, tzinfo=UTC)))

    assert [("MSFT", "wrong_time")] == judge_bars(late, last_good={}).quarantined.select("symbol", "reason").rows()


def test_the_detail_tells_the_values():
    """The reader sees which cells broke which rule."""
    result = judge_bars(frame(bar(open=None, high=NAN, volume=-3.0)), last_good={})

    expected = "missing_price: open null, high NaN; negative_volume: volume -3.0"
    assert [expected] == result.quarantined["detail"].to_list()


def test_of_equal_rows_the_first_stays():
    """A row delivered three times is one bar and two quarantined copies, whatever source they name."""
    result = judge_bars(frame(bar(), bar(source="again"), bar()), last_good={})

    assert 1 == result.bars.height
    assert {"exact_duplicate": 2} == result.reasons()


def test_conflicting_rows_all_go():
    """When rows of one key differ nobody knows which is right, and the copy of one of them changes nothing."""
    result = judge_bars(frame(bar(), bar(), bar(volume=1.0), bar(DAYS[1])), last_good={})

    assert [DAYS[1]] == result.bars["session"].to_list()
    assert {"conflicting_duplicate": 3} == result.reasons()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([98, 99, 100, 160, 101], [98, 99, 100, 101]),
        ([98, 99, 100, 160, 162], [98, 99, 100]),
        ([98, 99, 100, 160, 162, 164, 165], [98, 99, 100]),
        ([100, 150, 225], [100, 150, 225]),
        ([100, 50, 49], [100, 50, 49]),
        ([100, 49, 51, 99], [100, 99]),
    ],
)
def test_a_jump_is_measured_against_the_last_good_close(values: list[float], expected: list[float]):
    """A quarantined close is never the reference; a change of exactly the threshold passes."""
    assert expected == kept(judge_bars(closes(values), last_good={}))


def test_the_threshold_holds_where_floats_do_not():
    """110 / 100 - 1 is above 0.1 in floating point and passes a threshold of 0.1."""
    assert [100.0, 110.0] == kept(
        judge_bars(closes([100, 110]), last_good={}, config=GateConfig(outlier_threshold=0.1))
    )


def test_the_close_before_the_range_is_the_first_reference():
    """A jump over the border of two ranges is seen."""
    result = judge_bars(closes([160, 101]), last_good={"AAPL": 100.0})

    assert [101.0] == kept(result)
    assert result.quarantined["detail"][0].startswith("outlier: close 160 is +60.0% from last good close 100,")


def test_a_broken_row_is_no_reference():
    """The row after a broken one is compared to the good one before it."""
    raw = frame(bar(close=100), bar(DAYS[1], close=150, volume=-1.0), bar(DAYS[2], close=160))

    assert [100.0] == kept(judge_bars(raw, last_good={}))


def test_a_broken_copy_says_nothing_against_a_sound_one():
    """Of a null row and a bar of one key the bar stays."""
    result = judge_bars(frame(bar(), bar(close=None)), last_good={})

    assert 1 == result.bars.height
    assert {"missing_price": 1} == result.reasons()


def test_a_bar_of_a_closed_day_filed_under_the_next_session_is_known_for_what_it_is():
    """It conflicts with nothing there."""
    ghost = bar(date(2024, 7, 5), ended_at=datetime(2024, 7, 4, 20, tzinfo=UTC), close=7.0)
    result = judge_bars(frame(ghost, bar(date(2024, 7, 5))), last_good={})

    assert {"not_a_session": 1} == result.reasons()
    assert [100.0] == kept(result)


def test_an_accepted_jump_becomes_the_reference():
    """An operator's acceptance lets the jump in, and the level after it."""
    result = judge_bars(closes([98, 99, 100, 160, 162, 300]), last_good={}, accepted=acceptance(DAYS[3], 160.0))

    assert [98.0, 99.0, 100.0, 160.0, 162.0] == kept(result)


def test_an_acceptance_is_of_the_bar_that_was_seen():
    """Restated to another close, or with another volume, it waits again."""
    raw, accepted = closes([98, 99, 100, 161]), acceptance(DAYS[3], 160.0)
    assert {"outlier": 1} == judge_bars(raw, last_good={}, accepted=accepted).reasons()
    raw = closes([98, 99, 100, 160]).with_columns(volume=pl.lit(1001.0))
    assert {"outlier": 1} == judge_bars(raw, last_good={}, accepted=accepted).reasons()


def test_acceptance_waives_no_other_rule():
    """A broken row stays out whoever accepts it."""
    result = judge_bars(frame(bar(volume=-1.0)), last_good={}, accepted=acceptance(DAYS[0], 100.0))

    assert {"negative_volume": 1} == result.reasons()


def test_symbols_do_not_touch_each_other():
    """The jump of one symbol is no matter of another."""
    raw = pl.concat([closes([98, 99, 100, 160, 101]), closes([160, 161, 162, 163, 164], "MSFT")])

    assert [("AAPL", DAYS[3])] == judge_bars(raw, last_good={}).quarantined.select("symbol", "session").rows()


def test_no_rows_give_no_rows():
    """An empty range keeps both formats."""
    result = judge_bars(empty_bars(), last_good={"AAPL": 1.0})

    assert BAR_SCHEMA == result.bars.schema
    assert [*BAR_SCHEMA.names(), "reason", "detail", "known_at"] == result.quarantined.columns
    assert {} == result.reasons()


@pytest.mark.parametrize("close", [0.0, -1.0, NAN, INFINITY])
def test_a_last_good_close_must_be_a_price(close: float):
    """Nothing can be compared to a defective close."""
    with pytest.raises(DataQualityError, match="AAPL: last good close"):
        judge_bars(empty_bars(), last_good={"AAPL": close})


@pytest.mark.parametrize("threshold", [0.0, -0.5, NAN, INFINITY])
def test_a_threshold_that_judges_nothing_is_refused(threshold: float):
    """A threshold must be a positive number, and is named."""
    with pytest.raises(ValueError, match="outlier_threshold"):
        GateConfig(outlier_threshold=threshold)


def test_rows_without_a_session_are_refused():
    """They could be filed nowhere, not even in quarantine."""
    with pytest.raises(DataQualityError, match="without a session"):
        judge_bars(frame(bar(session=None)), last_good={})


prices = st.one_of(
    st.sampled_from([99.0, 100.0, 101.0, 151.0, 160.0, 162.0, 45.0]), st.sampled_from([0.0, -1.0, NAN, INFINITY, None])
)
raw_rows = st.builds(
    bar,
    day=st.sampled_from([*DAYS[:6], date(2024, 7, 4)]),
    symbol=st.sampled_from(["AAPL", "MSFT"]),
    close=st.sampled_from([100.0, 101.0, 160.0, 162.0, 40.0, 250.0]),
)
broken_rows = st.builds(
    bar,
    day=st.sampled_from(DAYS[:6]),
    symbol=st.sampled_from(["AAPL", "MSFT"]),
    open=prices,
    high=prices,
    close=prices,
    volume=st.sampled_from([1.0, -1.0, None, NAN]),
)
raws = st.lists(st.one_of(raw_rows, raw_rows, broken_rows), max_size=14).map(lambda rows: frame(*rows))
COLUMNS = [*BAR_KEY, "ended_at", "open", "high", "low", "close", "volume", "vwap", "source"]


@settings(max_examples=15)
@given(raws)
def test_every_raw_row_comes_out_once(raw: pl.DataFrame):
    """Bars and quarantine together are the raw rows, and every bar is clean."""
    result = judge_bars(raw, last_good={"AAPL": 100.0})

    out = pl.concat([result.bars, result.quarantined.select(BAR_SCHEMA.names())])
    assert_frame_equal(raw.sort(COLUMNS, nulls_last=True), out.sort(COLUMNS, nulls_last=True))
    assert 0 == result.quarantined["reason"].null_count() + result.quarantined["detail"].null_count()
    validate_bars(result.bars, where="bars of the gate")


@settings(max_examples=15)
@given(raws, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(raw: pl.DataFrame, random: object):
    """A shuffled delivery gives the same bars."""
    shuffled = raw[random.sample(range(raw.height), raw.height)]

    assert_frame_equal(judge_bars(raw, last_good={}).bars, judge_bars(shuffled, last_good={}).bars)


def test_bars_are_in_order_of_session_and_symbol():
    """Readers may rely on the order."""
    raw = pl.concat([closes([100, 101], "MSFT"), closes([100, 101])])

    expected = [(day, symbol) for day in DAYS[:2] for symbol in ("AAPL", "MSFT")]
    assert expected == judge_bars(raw, last_good={}).bars.select(BAR_KEY).rows()
    assert closes_of(pl.Series([DAYS[0]])).to_list() == judge_bars(raw, last_good={}).bars["ended_at"][:1].to_list()
