"""A part computed alone has the bits of the whole, and a changed bar touches exactly what it reaches."""

from datetime import date

import numpy as np
import polars as pl
from core.features.panels import CALENDAR, bounded_expressions, future_expressions, panels, unbounded_expressions
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.core.features import CompiledFeatures, Feature, FeatureSet, compile_features
from trading_pipeline.core.features.incremental import affected_cells, bars_needed, changed_cells, compute_cells

KEY = ["session", "symbol"]
OF_THE_PAST = st.lists(bounded_expressions | unbounded_expressions, min_size=1, max_size=3)
EXPRESSIONS = st.lists(bounded_expressions | unbounded_expressions | future_expressions, min_size=1, max_size=3)


def compiled_of(expressions: list[str]) -> CompiledFeatures:
    """Compile a set of these expressions."""
    features = tuple(Feature(name=f"F{at}", expression=text) for at, text in enumerate(expressions))
    return compile_features(FeatureSet(name="drawn", features=features))


def bits(frame: pl.DataFrame) -> dict[tuple[date, str], list[object]]:
    """Return every value as the number its 32 bits make, missing as None."""
    raw = [
        [None if missing else int(value) for missing, value in zip(column.is_null(), _bits(column), strict=True)]
        for column in frame.drop(KEY)
    ]
    return {key: [column[at] for column in raw] for at, key in enumerate(frame.select(KEY).iter_rows())}


def _bits(column: pl.Series) -> np.ndarray:
    return column.fill_null(0.0).to_numpy().astype(np.float32).view(np.uint32)


def _first_sessions(bars: pl.DataFrame) -> dict[str, date]:
    return dict(bars.group_by("symbol").agg(pl.col("session").min()).iter_rows())


@settings(max_examples=25)
@given(bars=panels(), expressions=OF_THE_PAST, data=st.data())
def test_sessions_computed_from_the_bars_they_need_have_the_bits_of_the_full_run(
    bars: pl.DataFrame, expressions: list[str], data: st.DataObject
) -> None:
    """Whatever the expressions, the cut, suspensions and late listings."""
    compiled = compiled_of(expressions)
    whole = bits(compiled.compute(bars, calendar=CALENDAR, sessions=CALENDAR))
    first, last = sorted(data.draw(st.tuples(st.integers(0, len(CALENDAR) - 1), st.integers(0, len(CALENDAR) - 1))))
    last = min(last, first + 4)
    wanted = CALENDAR[first : last + 1]
    span = bars_needed(compiled, wanted, CALENDAR)
    part = compiled.compute(
        bars.filter(pl.col("session").is_between(span.start, span.end)),
        calendar=[day for day in CALENDAR if span.start <= day <= span.end],
        sessions=wanted,
        first_sessions=_first_sessions(bars),
    )
    assert {key: values for key, values in whole.items() if key[0] in wanted} == bits(part)


@settings(max_examples=25)
@given(bars=panels(), expressions=EXPRESSIONS, data=st.data())
def test_a_restated_bar_changes_only_what_it_reaches_and_that_alone_is_computed_again(
    bars: pl.DataFrame, expressions: list[str], data: st.DataObject
) -> None:
    """Changed, taken away or added, at the ends of a life as in the middle."""
    compiled = compiled_of(expressions)
    restated = _restated(bars, data)
    before, after = (compiled.compute(each, calendar=CALENDAR, sessions=CALENDAR) for each in (bars, restated))
    changed = changed_cells(bars, restated, compiled=compiled, calendar=CALENDAR)
    touched = affected_cells(changed, compiled=compiled, calendar=CALENDAR)

    old, new = bits(before), bits(after)
    differing = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    assert set() == differing - set(touched.iter_rows())

    kept = {key: values for key, values in old.items() if key not in set(touched.iter_rows())}
    again = compute_cells(compiled, restated, touched, calendar=CALENDAR)
    assert new == kept | bits(again)


def test_an_unchanged_bar_touches_nothing_and_a_field_nobody_reads_neither() -> None:
    """Recomputing costs what the change costs."""
    compiled = compiled_of(["Mean($close,5)"])
    bars = pl.DataFrame({"session": CALENDAR, "symbol": ["A"] * len(CALENDAR)}).with_columns(close=1.0, open=2.0)
    assert changed_cells(bars, bars.with_columns(open=3.0), compiled=compiled, calendar=CALENDAR).is_empty()


def test_a_restated_bar_touches_its_look_back_to_the_session() -> None:
    """Four sessions after it for a mean over five, and none of another symbol."""
    compiled = compiled_of(["Mean($close,5)"])
    changed = pl.DataFrame({"session": [CALENDAR[10]], "symbol": ["A"]})
    touched = affected_cells(changed, compiled=compiled, calendar=CALENDAR)
    assert [(day, "A") for day in CALENDAR[10:15]] == touched.rows()


def _restated(bars: pl.DataFrame, data: st.DataObject) -> pl.DataFrame:
    kind = data.draw(st.sampled_from(["change", "remove", "add"]))
    if kind == "add":
        held = set(bars.select(KEY).iter_rows())
        absent = [(day, symbol) for day in CALENDAR for symbol in ("AAA", "BBB", "CCC") if (day, symbol) not in held]
        if not absent:
            return bars
        day, symbol = data.draw(st.sampled_from(absent))
        row = bars.head(1).with_columns(pl.lit(day).alias("session"), pl.lit(symbol).alias("symbol"))
        return pl.concat([bars, row])
    chosen = pl.int_range(pl.len()) == data.draw(st.integers(0, bars.height - 1))
    if kind == "remove":
        return bars.filter(~chosen)
    return bars.with_columns(pl.when(chosen).then(pl.col("close") * 1.5).otherwise(pl.col("close")).alias("close"))
