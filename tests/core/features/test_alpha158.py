"""Alpha158 on stored answers, without pyqlib, and what every caller relies on."""

import random
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trading_pipeline.core.features import CompiledFeatures, alpha158, compile_features

GOLDEN = Path(__file__).parent / "golden" / "alpha158.parquet"


@pytest.fixture(scope="module")
def compiled() -> CompiledFeatures:
    """Alpha158, compiled."""
    return compile_features(alpha158())


@pytest.fixture(scope="module")
def computed(compiled: CompiledFeatures, awkward_bars: pl.DataFrame, calendar: list[date]) -> pl.DataFrame:
    """Alpha158 of the awkward panel over all its sessions."""
    return compiled.compute(awkward_bars, calendar=calendar, sessions=calendar)


def test_needs_sixty_sessions_of_history_and_no_future(compiled: CompiledFeatures) -> None:
    """The longest windows look at sixty sessions before the present one."""
    assert (60, 0) == (compiled.lookback, compiled.lookahead)


def test_gives_one_float32_column_per_feature_and_one_row_per_bar(
    computed: pl.DataFrame, awkward_bars: pl.DataFrame
) -> None:
    """Suspended sessions give no rows, and rows are sorted by session and symbol."""
    assert ["session", "symbol", *alpha158().names] == computed.columns
    assert {pl.Float32} == set(computed.select(alpha158().names).dtypes)
    assert awkward_bars.select("session", "symbol").sort("session", "symbol").equals(computed[["session", "symbol"]])


def test_missing_values_are_null_and_never_nan(computed: pl.DataFrame) -> None:
    """There is one way to be missing."""
    assert 0 == computed.select(pl.sum_horizontal(pl.col(alpha158().names).is_nan().sum())).item()
    assert computed["CORR5"].null_count() > 0


def test_agrees_with_the_stored_answers_of_pyqlib(computed: pl.DataFrame, calendar: list[date]) -> None:
    """The same values are missing, and the others are equal."""
    golden = pl.read_parquet(GOLDEN)
    days = pl.DataFrame({"session": calendar, "position": range(len(calendar))})
    ours = golden.select("symbol", "position").join(days, on="position").join(computed, on=["session", "symbol"])
    ours = ours.sort("symbol", "position")
    for name in alpha158().names:
        # Over windows without volume pyqlib's WVMA is what rounding left of earlier volumes, divided by 1e-12.
        compared = pl.lit(value=True) if not name.startswith("WVMA") else pl.col("symbol") != "IDLE"
        left, right = (
            frame.filter(compared)[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for frame in (golden, ours)
        )
        within = np.isclose(left, right, rtol=1e-5, atol=1e-9, equal_nan=True)
        assert within.all(), name


def test_features_never_look_ahead(
    compiled: CompiledFeatures, computed: pl.DataFrame, awkward_bars: pl.DataFrame, calendar: list[date]
) -> None:
    """Bars cut off at a session leave every feature up to that session as it was, to the bit."""
    for cut in random.Random(3).sample(calendar[1:], 5):
        known = awkward_bars.filter(pl.col("session") <= cut)
        again = compiled.compute(known, calendar=calendar, sessions=calendar)
        assert computed.filter(pl.col("session") <= cut).equals(again)


def test_one_session_alone_equals_the_same_session_in_a_range(
    compiled: CompiledFeatures, computed: pl.DataFrame, awkward_bars: pl.DataFrame, calendar: list[date]
) -> None:
    """Sixty sessions of history and the first sessions of the symbols give the bits of the whole history."""
    firsts = dict(awkward_bars.group_by("symbol").agg(pl.col("session").min()).rows())
    for place in (85, 160, 300, 319):
        known = awkward_bars.filter(pl.col("session").is_between(calendar[place - 60], calendar[place]))
        alone = compiled.compute(known, calendar=calendar, sessions=[calendar[place]], first_sessions=firsts)
        assert computed.filter(pl.col("session") == calendar[place]).equals(alone)


def test_vwap_that_is_wholly_null_leaves_only_its_feature_null(
    compiled: CompiledFeatures, computed: pl.DataFrame, awkward_bars: pl.DataFrame, calendar: list[date]
) -> None:
    """A source without vwap costs VWAP0 and nothing else."""
    without = awkward_bars.with_columns(pl.lit(None, dtype=pl.Float64).alias("vwap"))
    answer = compiled.compute(without, calendar=calendar, sessions=calendar)
    assert answer.height == answer["VWAP0"].null_count()
    assert computed.drop("VWAP0").equals(answer.drop("VWAP0"))


def test_no_bars_give_no_rows(compiled: CompiledFeatures, awkward_bars: pl.DataFrame, calendar: list[date]) -> None:
    """An empty frame keeps its columns."""
    answer = compiled.compute(awkward_bars.clear(), calendar=calendar, sessions=calendar)
    assert (0, 160) == answer.shape


def test_a_window_without_volume_has_no_volume_deviation(computed: pl.DataFrame, calendar: list[date]) -> None:
    """Volumes that have left the window leave nothing behind, though the divisor is 1e-12."""
    last = computed.row(by_predicate=(pl.col("symbol") == "IDLE") & (pl.col("session") == calendar[-1]), named=True)
    assert (0.0, 0.0, 0.0) == (last["VSTD5"], last["VMA20"], last["WVMA20"])
