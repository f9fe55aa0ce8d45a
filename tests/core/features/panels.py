"""Random panels, cuts and expressions for the property tests of features."""

from datetime import date, timedelta

import numpy as np
import polars as pl
from hypothesis import strategies as st

DAYS = 70
CALENDAR = [date(2021, 1, 4) + timedelta(days=7 * (day // 5) + day % 5) for day in range(DAYS)]
FIELDS = ("open", "high", "low", "close", "volume", "vwap")


@st.composite
def panels(draw: st.DrawFn) -> pl.DataFrame:
    """Bars of three symbols: late listings, early ends, suspensions, missing values, idle and constant stretches."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return pl.concat(
        _bars(rng, symbol, first=draw(st.integers(0, DAYS - 1)), last=draw(st.integers(0, DAYS - 1)))
        for symbol in ("AAA", "BBB", "CCC")
    )


def _bars(rng: np.random.Generator, symbol: str, *, first: int, last: int) -> pl.DataFrame:
    days = np.arange(DAYS)
    listed = (days >= min(first, last // 2)) & (days <= max(last, DAYS // 2))
    held = listed & (rng.random(DAYS) > rng.choice([0.0, 0.1, 0.5]))
    if rng.random() < 0.5:
        start = rng.integers(0, DAYS)
        held &= ~((days >= start) & (days < start + rng.integers(1, 25)))
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, DAYS)))
    flat = (days >= rng.integers(0, DAYS)) & (rng.random() < 0.4)
    close = np.where(flat, 50.0, close)
    opened = np.where(flat, 50.0, close * np.exp(rng.normal(0, 0.01, DAYS)))
    volume = np.where(rng.random(DAYS) < 0.15, 0.0, np.round(np.exp(10 + rng.normal(0, 1, DAYS))))
    frame = pl.DataFrame(
        {
            "session": CALENDAR,
            "symbol": [symbol] * DAYS,
            "open": opened,
            "high": np.maximum(opened, close) * 1.01,
            "low": np.minimum(opened, close) * 0.99,
            "close": close,
            "volume": volume,
            "vwap": np.where(rng.random(DAYS) < 0.1, np.nan, (opened + close) / 2),
        }
    )
    return frame.filter(pl.Series(held)).with_columns(pl.col("vwap").fill_nan(None))


_series = st.sampled_from(
    ["$close", "$open", "$volume", "$vwap", "$high-$low", "Ref($close,1)", "$close/Ref($close,1)"]
)
_window = st.integers(1, 12)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    rolling = ["Mean", "Sum", "Std", "Var", "Max", "Min", "IdxMax", "IdxMin", "Med", "Rank", "Count", "Slope"]
    rolling += ["Rsquare", "Resi", "WMA", "Mad", "Delta", "Ref"]
    return st.one_of(
        st.builds(lambda name, x, n: f"{name}({x},{n})", st.sampled_from(rolling), inner, _window),
        st.builds(
            lambda name, x, y, n: f"{name}({x},{y},{n})", st.sampled_from(["Corr", "Cov"]), inner, inner, _window
        ),
        st.builds(lambda x, n, q: f"Quantile({x},{n},{q})", inner, _window, st.sampled_from([0.2, 0.5, 0.8])),
        st.builds(lambda x, y, sign: f"({x}{sign}{y})", inner, inner, st.sampled_from("+-*/")),
        st.builds(lambda x, y: f"If({x}>{y},{x},{y})", inner, inner),
        st.builds(lambda x: f"Abs({x})", inner),
    )


bounded_expressions = st.recursive(_series, _grown, max_leaves=4)
"""Expressions that look back a number of sessions."""

unbounded_expressions = st.builds(
    lambda form, x: form.format(x),
    st.sampled_from(["EMA({},5)", "EMA({},0.3)", "Mean({},0)", "Sum({},0)", "Std({},0)", "Ref({},0)", "Rank({},0)"]),
    bounded_expressions,
)
"""Expressions that look back over all history."""

future_expressions = st.builds(lambda x, n: f"Ref({x},-{n})", bounded_expressions, st.integers(1, 3))
"""Expressions that look ahead."""
