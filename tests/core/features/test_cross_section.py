"""Operators over the symbols of a session, symbols read by name, and what does not change the answers."""

from datetime import date

import polars as pl
import pytest

from trading_pipeline.core.features import CompiledFeatures, Feature, FeatureSet, compile_features
from trading_pipeline.errors import FeatureError

DAYS = [date(2024, 7, day) for day in (1, 2, 3)]
SECTORS = {"A": "tech", "B": "tech", "C": "oil", "D": "oil", "E": None}


def _bars(**closes: list[float | None]) -> pl.DataFrame:
    rows = [
        {"session": day, "symbol": symbol, "close": close, "sector": SECTORS.get(symbol)}
        for symbol, values in closes.items()
        for day, close in zip(DAYS, values, strict=True)
        if close is not None
    ]
    return pl.DataFrame(rows, schema_overrides={"sector": pl.String})


BARS = _bars(A=[1, 2, 3], B=[2, None, 1], C=[4, 5, 6], D=[2, 7, 6], E=[9, 9, 9])


def _compiled(*texts: str) -> CompiledFeatures:
    features = tuple(Feature(name=f"f{place}", expression=text) for place, text in enumerate(texts))
    return compile_features(FeatureSet(name="test", features=features))


def _on(day: date, text: str, bars: pl.DataFrame = BARS) -> dict[str, float | None]:
    answer = _compiled(text).compute(bars, calendar=DAYS, sessions=[day], dtype=pl.Float64)
    return dict(answer.select("symbol", "f0").rows())


def test_rank_is_the_share_of_symbols_reached_with_ties_at_their_average() -> None:
    """Among the symbols that have a bar."""
    assert {"A": 0.2, "B": 0.5, "C": 0.8, "D": 0.5, "E": 1.0} == _on(DAYS[0], "CSRank($close)")
    assert {"A": 0.25, "C": 0.5, "D": 0.75, "E": 1.0} == _on(DAYS[1], "CSRank($close)")


def test_groups_are_compared_within_themselves() -> None:
    """A symbol without a group has no answer."""
    expected = {"A": 0.5, "B": 1.0, "C": 1.0, "D": 0.5, "E": None}
    assert expected == _on(DAYS[0], "CSRank($close, $sector)")


def test_demean_and_zscore_measure_from_the_mean_of_the_group() -> None:
    """With the sample deviation; a group of equals has none."""
    assert {"A": -0.5, "B": 0.5, "C": 1.0, "D": -1.0, "E": None} == _on(DAYS[0], "CSDemean($close, $sector)")
    zscores = _on(DAYS[2], "CSZScore($close, $sector)")
    assert {"A": pytest.approx(0.5**0.5), "B": pytest.approx(-(0.5**0.5)), "C": None, "D": None, "E": None} == zscores


def test_operators_across_symbols_nest_in_windows_and_in_each_other() -> None:
    """A session without a bar is missing in the window."""
    assert {"A": pytest.approx((0.2 + 0.25) / 2)}.items() <= _on(DAYS[1], "Mean(CSRank($close), 2)").items()
    assert {"B": 1.0, "A": 0.5} == dict(list(_on(DAYS[2], "CSRank(0-CSRank($close), $sector)").items())[:2][::-1])


def test_text_is_for_groups_only() -> None:
    """Sectors cannot be added up."""
    with pytest.raises(FeatureError, match="sector holds String"):
        _on(DAYS[0], "$sector+1")


def test_a_symbol_read_by_name_gives_its_value_of_the_same_session() -> None:
    """It is missing where that symbol has no row, and is computed on all of its rows."""
    assert {"A": 2.0, "B": 2.0} == dict(list(_on(DAYS[0], "Mask($close, 'B')").items())[:2])
    late = _bars(A=[1, 2, 3], F=[None, None, 5])
    assert {"A": 2.0, "F": 2.0} == _on(DAYS[2], "Mean(ChangeInstrument('A', $close), 3)", late)


def test_a_symbol_that_has_no_bars_is_named() -> None:
    """Its absence is an error and not a column of nulls."""
    with pytest.raises(FeatureError, match="'SPY'"):
        _on(DAYS[0], "$close-Mask($close, 'SPY')")
    assert frozenset({"SPY"}) == _compiled("Mask($close, 'SPY')").instruments


TEXTS = ("CSRank(Mean($close, 2))", "Corr($close, Mask($close, 'A'), 3)", "Quantile($close, 2, 0.3)/$close")


@pytest.mark.parametrize(("threads", "budget"), [(1, 1), (3, 1), (2, 10_000)])
def test_threads_and_memory_do_not_change_a_bit(threads: int, budget: int) -> None:
    """Down to one symbol at a time."""
    compiled = _compiled(*TEXTS)
    whole = compiled.compute(BARS, calendar=DAYS, sessions=DAYS)
    again = compiled.compute(BARS, calendar=DAYS, sessions=DAYS, threads=threads, memory_budget_bytes=budget)
    assert whole.equals(again)


@pytest.mark.parametrize("budget", [1, 600, 10**6])
def test_streaming_gives_the_same_rows_symbols_by_symbols(budget: int) -> None:
    """Each frame holds whole symbols."""
    compiled = _compiled(*TEXTS)
    frames = list(compiled.stream(BARS, calendar=DAYS, sessions=DAYS, memory_budget_bytes=budget))
    whole = compiled.compute(BARS, calendar=DAYS, sessions=DAYS)
    assert whole.equals(pl.concat(frames).sort("session", "symbol"))
    assert (5 if budget == 1 else 1) <= len(frames) <= 5


def test_what_is_missing_streams_as_nan_where_nulls_are_not_wanted() -> None:
    """The same values otherwise, and no column that could hold a null."""
    compiled = _compiled(*TEXTS)
    whole = compiled.compute(BARS, calendar=DAYS, sessions=DAYS)
    (frame,) = compiled.stream(BARS, calendar=DAYS, sessions=DAYS, nulls=False)
    names = compiled.feature_set.names
    assert sum(whole.select(names).null_count().row(0)) > 0 == sum(frame.select(names).null_count().row(0))
    assert whole.equals(frame.with_columns(pl.col(names).fill_nan(None)))
