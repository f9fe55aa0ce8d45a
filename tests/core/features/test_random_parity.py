"""Random expressions over random panels agree with pyqlib, which is asked for each."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import polars as pl
import pytest
from core.features.oracle import Oracle, numbers, open_oracle, ours
from core.features.panels import CALENDAR, panels
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FIELDS = ("open", "high", "low", "close", "volume", "vwap")
NAMES = count()

_window = st.integers(0, 12)
_fixed = st.integers(1, 12)
_number = st.sampled_from(["2", "0.5", "-3", "1e-3"])
_price = st.sampled_from(["$open", "$high", "$low", "$close", "$vwap"])
_field = st.one_of(_price, st.just("$volume"))


def _step(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Row by row and shifts: pyqlib and we compute these alike to the bit of a float32."""
    return st.one_of(
        st.builds("({}{}{})".format, inner, st.sampled_from("+-*/"), inner),
        st.builds("({}{}{})".format, inner, st.sampled_from("+-*"), _number),
        st.builds("{}({},{})".format, st.sampled_from(["Ref", "Delta"]), inner, st.integers(-3, 5)),
        st.builds("{}({},{})".format, st.sampled_from(["Greater", "Less"]), inner, inner),
        st.builds("{}({})".format, st.sampled_from(["Abs", "Sign"]), inner),
    )


_plain = st.recursive(_field, _step, max_leaves=3)
_comparison = st.builds("({}{}{})".format, _plain, st.sampled_from([">", ">=", "<", "<=", "==", "!="]), _plain)
_condition = st.recursive(
    _comparison,
    lambda inner: st.one_of(
        st.builds("({}{}{})".format, inner, st.sampled_from("&|"), inner), st.builds("Not({})".format, inner)
    ),
    max_leaves=3,
)
_exact = st.one_of(_plain, st.builds("If({},{},{})".format, _condition, _plain, _plain))
"""Free of rounding of its own, so that ties and signs are the same on both sides."""

_steady = ["Mean", "Sum", "Max", "Min", "Med", "WMA", "Mad"]
_jumpy = ["IdxMax", "IdxMin", "Rank", "Count"]
_windowed = st.one_of(
    st.builds("{}({},{})".format, st.sampled_from(_steady + _jumpy), _exact, _window),
    st.builds("{}({},{})".format, st.sampled_from(["Std", "Var", "Mean", "Sum"]), _field, _window),
    st.builds("{}({},{})".format, st.sampled_from(["Mean", "Sum"]), _condition, _window),
    st.builds("{}({},{})".format, st.sampled_from(["Slope", "Resi"]), _price, _window),
    st.builds("Rsquare({},{})".format, _price, _fixed),
    st.builds("Skew({},{})".format, _price, st.integers(3, 12)),
    st.builds("Kurt({},{})".format, _price, st.integers(4, 12)),
    st.builds("Quantile({},{},{})".format, _exact, _window, st.sampled_from([0, 0.2, 0.5, 0.8, 1])),
    st.builds("EMA({},{})".format, _exact, st.sampled_from(["0", "1", "3", "12", "0.3", "0.9"])),
    st.builds("{}({},{},{})".format, st.sampled_from(["Corr", "Cov"]), _price, _field, st.integers(3, 12)),
)


def _smooth(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Operators that carry a small error on without growing it."""
    return st.one_of(
        st.builds("({}{}{})".format, inner, st.sampled_from("+-*"), inner),
        st.builds("({}/(1+Abs({})))".format, inner, inner),
        st.builds("Log(1+Abs({}))".format, inner),
        st.builds("Power(1+Abs({}),0.5)".format, inner),
        st.builds("{}({},{})".format, st.sampled_from(_steady), inner, _fixed),
        st.builds("{}({},{})".format, st.sampled_from(["Ref", "Delta"]), inner, st.integers(-3, 5)),
        st.builds("If({},{},{})".format, _condition, inner, inner),
    )


EXPRESSIONS = st.lists(st.recursive(st.one_of(_exact, _windowed), _smooth, max_leaves=4), min_size=8, max_size=8)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """pyqlib, started once."""
    with open_oracle(tmp_path_factory.mktemp("oracle")) as running:
        yield running


@pytest.mark.slow
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bars=panels(), texts=EXPRESSIONS)
def test_random_expressions_agree_with_pyqlib(oracle: Oracle, bars: pl.DataFrame, texts: list[str]) -> None:
    """The same values are missing, the same are infinite, and the others differ by 1e-5 or next to nothing."""
    bars = bars.with_columns(pl.col(*FIELDS).cast(pl.Float32).cast(pl.Float64))
    expressions = {text: text for text in texts if "$" in text}
    expected = oracle.ask(f"panel{next(NAMES)}", bars, CALENDAR, expressions)
    computed = ours(bars, CALENDAR, expressions, float32_steps=True)
    for text in expressions:
        theirs, mine = numbers(expected[text]), numbers(computed[text])
        assert (np.isnan(theirs) == np.isnan(mine)).all(), f"{text}: missing in one of the two only"
        finite = np.abs(theirs[np.isfinite(theirs)])
        noise = 1e-6 * finite.max(initial=0.0)
        assert np.allclose(mine, theirs, rtol=1e-5, atol=noise, equal_nan=True), (
            f"{text}: {[pair for pair in zip(theirs, mine, strict=True) if abs(pair[0] - pair[1]) > noise][:5]}"
        )
