"""The look-ahead detector: it catches what uses the future, by name, and nothing else."""

from datetime import date

import polars as pl
import pytest
from core.features.panels import CALENDAR, bounded_expressions, panels, unbounded_expressions
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.core.features import Feature, FeatureSet, alpha158, alpha360, compile_features
from trading_pipeline.core.features.lookahead import Prepare, find_leaks
from trading_pipeline.core.labels import LABEL_HORIZON, LabelKind
from trading_pipeline.errors import FeatureError


def _set(*features: tuple[str, str]) -> FeatureSet:
    return FeatureSet(name="drawn", features=tuple(Feature(name=name, expression=text) for name, text in features))


@pytest.mark.parametrize("feature_set", [alpha158(), alpha360()], ids=["alpha158", "alpha360"])
def test_the_packaged_sets_do_not_look_ahead(
    feature_set: FeatureSet, awkward_bars: pl.DataFrame, calendar: list[date]
) -> None:
    """On suspensions, late listings, idle and constant stretches."""
    assert [] == find_leaks(compile_features(feature_set), awkward_bars, calendar=calendar, cuts=3, seed=1)


@pytest.mark.parametrize("kind", LabelKind)
def test_labels_are_caught(kind: LabelKind, awkward_bars: pl.DataFrame, calendar: list[date]) -> None:
    """They look ahead on purpose, by the sessions of their horizon."""
    compiled = compile_features(_set(("KMID", "$close-$open"), ("LABEL", kind.expression)))
    leaks = find_leaks(compiled, awkward_bars, calendar=calendar, cuts=4, seed=1)
    assert [("LABEL", kind.expression)] == [(leak.feature, leak.expression) for leak in leaks]
    leak = leaks[0]
    assert 0 <= calendar.index(leak.cut) - calendar.index(leak.session) < LABEL_HORIZON
    assert leak.then is None
    assert leak.later is not None


def test_a_value_that_only_shifts_by_the_future_is_caught_with_both_values() -> None:
    """Expression, symbol, session, and what it was then and is later."""
    compiled = compile_features(_set(("OK", "Mean($close,3)"), ("LEAK", "$close+If(Ref($close,-1)>0,1,0)")))
    bars = pl.DataFrame({"session": CALENDAR, "symbol": "AAA"}).with_columns(close=10.0)
    leaks = find_leaks(compiled, bars, calendar=CALENDAR, cuts=5, seed=3)
    assert [("LEAK", "AAA", 10.0, 11.0, 5)] == [
        (leak.feature, leak.symbol, leak.then, leak.later, leak.cells) for leak in leaks
    ]
    assert leaks[0].session == leaks[0].cut


def _over_the_full_sample(bars: pl.DataFrame) -> pl.DataFrame:
    close = pl.col("close")
    return bars.with_columns((close - close.mean().over("symbol")) / close.std().over("symbol"))


def _over_the_session(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_columns(pl.col("close") - pl.col("close").mean().over("session"))


@pytest.mark.parametrize(("prepare", "caught"), [(_over_the_full_sample, ["CLOSE"]), (_over_the_session, [])])
def test_a_normalisation_over_the_full_sample_is_caught_and_one_over_the_session_is_not(
    prepare: Prepare, caught: list[str], awkward_bars: pl.DataFrame, calendar: list[date]
) -> None:
    """A leak in how the bars were prepared shows in the features made of them."""
    compiled = compile_features(_set(("CLOSE", "$close"), ("VOLUME", "Mean($volume,5)")))
    leaks = find_leaks(compiled, awkward_bars, calendar=calendar, cuts=3, seed=2, prepare=prepare)
    assert caught == [leak.feature for leak in leaks]


@settings(max_examples=15)
@given(bars=panels(), text=bounded_expressions | unbounded_expressions, seed=st.integers(0, 99))
def test_no_expression_without_a_negative_shift_is_accused(bars: pl.DataFrame, text: str, seed: int) -> None:
    """Neither windows nor exponential means nor windows over all history."""
    assert [] == find_leaks(compile_features(_set(("F", text))), bars, calendar=CALENDAR, cuts=2, seed=seed)


def test_too_little_to_judge_is_refused() -> None:
    """No bars are no proof."""
    bars = pl.DataFrame({"session": CALENDAR[:1], "symbol": "AAA"}).with_columns(close=10.0)
    with pytest.raises(FeatureError, match="at least two"):
        find_leaks(compile_features(_set(("F", "$close"))), bars, calendar=CALENDAR, cuts=2, seed=1)
