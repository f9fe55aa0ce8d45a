"""Computing expressions on small panels, and bars that break the contract."""

from datetime import date

import polars as pl
import pytest

from trading_pipeline.core.features import Feature, FeatureSet, compile_features
from trading_pipeline.core.features.operators import OPERATORS
from trading_pipeline.errors import FeatureError

DAYS = [date(2024, 7, day) for day in (1, 2, 3, 5, 8)]


def _set(*expressions: str) -> FeatureSet:
    features = tuple(Feature(name=f"f{place}", expression=text) for place, text in enumerate(expressions))
    return FeatureSet(name="test", features=features)


def _bars(**closes: list[float | None]) -> pl.DataFrame:
    rows = [
        {"session": day, "symbol": symbol, "close": close}
        for symbol, values in closes.items()
        for day, close in zip(DAYS, values, strict=False)
        if close is not None
    ]
    return pl.DataFrame(rows)


def _values(expression: str, bars: pl.DataFrame, symbol: str = "A") -> list[float | None]:
    answer = compile_features(_set(expression)).compute(bars, calendar=DAYS, sessions=DAYS)
    return answer.filter(symbol=symbol)["f0"].to_list()


def test_windows_do_not_cross_symbols() -> None:
    """The first row of a symbol knows nothing of the symbol sorted before it."""
    bars = _bars(A=[1, 2, 3, 4, 5], B=[10, 20, 30, 40, 50])
    for expression in ("Sum($close,3)", "Max($close,3)", "Ref($close,1)", "Quantile($close,3,0)", "EMA($close,3)"):
        assert _values(expression, _bars(B=[10, 20, 30, 40, 50]), "B") == _values(expression, bars, "B")


def test_future_shift_does_not_cross_symbols() -> None:
    """The last row of a symbol has no next one."""
    assert [2, 3, 4, 5, None] == _values("Ref($close,-1)", _bars(A=[1, 2, 3, 4, 5], B=[9, 9, 9, 9, 9]))


def test_suspended_session_counts_as_a_missing_row() -> None:
    """A shift over a suspension meets a missing value instead of skipping to the last bar."""
    bars = _bars(A=[1, None, 3, 4, 5])
    assert [None, None, 3, 4] == _values("Ref($close,1)", bars)
    assert [1, 2, 3.5, 4] == _values("Mean($close,3)", bars)


def test_suspended_session_counts_as_false_in_a_comparison() -> None:
    """As in pyqlib a comparison with a missing value is false and is part of the count."""
    assert [0, 0, pytest.approx(1 / 3), pytest.approx(2 / 3)] == _values(
        "Mean($close>Ref($close,1),3)", _bars(A=[1, None, 3, 4, 5])
    )


def test_every_operator_computes() -> None:
    """Each operator of the table has a meaning, alone and over all history."""
    sample = {
        "an expression": "$close",
        "a condition": "($close>2)",
        "a symbol in quotes": "'A'",
        "a field that names groups": "$sector",
    }
    bars = _bars(A=[1, 2, 3, 4, 5]).with_columns(sector=pl.lit("tech"))
    for name, operator in OPERATORS.items():
        arguments = ", ".join(sample.get(parameter, "0") for parameter in operator.parameters)
        assert 5 == len(_values(f"{name}({arguments})", bars)), name


def test_constant_stands_in_for_a_series() -> None:
    """A number may be an operand on either side."""
    assert [2, 2, 3, 4, 5] == _values("Greater(2, $close)", _bars(A=[1, 2, 3, 4, 5]))


@pytest.mark.parametrize("before", range(4))
def test_a_constant_is_no_series_of_the_same_number(before: int) -> None:
    """Whatever place a series has among the others: twice the close is not the close times itself."""
    others = [f"Sum($close,{length})" for length in range(2, 2 + before)]
    expressions = [*others, "$close*$close", *(f"$close*{number}" for number in range(6))]
    bars = _bars(A=[3, 5, 7, 11, 13])
    together = compile_features(_set(*expressions)).compute(bars, calendar=DAYS, sessions=DAYS)
    for place, expression in enumerate(expressions):
        assert _values(expression, bars) == together[f"f{place}"].to_list(), expression


def test_unwanted_and_unknown_sessions_give_no_rows() -> None:
    """Only wanted sessions come back, each with its history counted."""
    bars = _bars(A=[1, 2, 3, 4, 5])
    answer = compile_features(_set("Sum($close,2)")).compute(bars, calendar=DAYS, sessions=[DAYS[2], date(2030, 1, 2)])
    assert [(DAYS[2], "A", 5.0)] == answer.rows()


def test_many_symbols_are_computed_in_blocks_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the panel is cut does not show."""
    bars = _bars(A=[1, 2, 3, 4, 5], B=[5, 3, 1], C=[2, 4, 8, 16, 32])
    compiled = compile_features(_set("Sum($close,3)", "Std($close,3)"))
    whole = compiled.compute(bars, calendar=DAYS, sessions=DAYS)
    monkeypatch.setattr("trading_pipeline.core.features.execution.LARGE_BLOCK", 6)
    assert whole.equals(compiled.compute(bars, calendar=DAYS, sessions=DAYS))


def test_absent_field_is_named() -> None:
    """The error says which column to add."""
    with pytest.raises(FeatureError, match="no column vwap") as caught:
        _values("$vwap/$close", _bars(A=[1]))
    assert ["vwap"] == caught.value.fields["absent"]


def test_bar_outside_the_calendar_is_refused() -> None:
    """A bar on a day that is no session would shift every window."""
    bars = _bars(A=[1.0, 2.0]).vstack(pl.DataFrame({"session": [date(2024, 7, 4)], "symbol": ["A"], "close": [3.0]}))
    with pytest.raises(FeatureError, match="2024-07-04"):
        _values("$close", bars)


def test_repeated_bar_is_refused() -> None:
    """Two bars of one symbol and session are named."""
    bars = _bars(A=[1, 2])
    with pytest.raises(FeatureError, match="A 2024-07-01"):
        _values("$close", pl.concat([bars, bars]))


def test_mistake_in_an_expression_is_reported_at_compile_time() -> None:
    """No bars are needed to learn of it."""
    with pytest.raises(FeatureError, match="unknown operator"):
        compile_features(_set("Nope($close)"))
