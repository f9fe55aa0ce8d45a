"""Quantiles of windows against numpy, value by value."""

import numpy as np
import polars as pl
import pytest

from trading_pipeline.core.features import Feature, FeatureSet, compile_features
from trading_pipeline.core.sessions import xnys

SESSIONS = xnys().sessions[:400]


def computed(values: np.ndarray, expression: str) -> np.ndarray:
    """Return a feature of one symbol's closes, NaN where it is missing."""
    days = SESSIONS[: len(values)]
    bars = pl.DataFrame({"session": days, "symbol": "AAA", "close": values})
    feature_set = FeatureSet(name="one", features=(Feature(name="F", expression=expression),))
    frame = compile_features(feature_set).compute(bars, calendar=days, sessions=days, dtype=pl.Float64)
    return frame["F"].fill_null(np.nan).to_numpy()


@pytest.mark.parametrize("window", [1, 5, 60, 300, 0])
@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_quantiles_are_numpys(window: int, fraction: float) -> None:
    """With ties, gaps, infinities, a window longer than the series, and all history."""
    rng = np.random.default_rng(3)
    values = np.round(rng.normal(10, 2, 200), 1)
    values[rng.random(200) < 0.1] = np.nan
    values[[7, 120]] = np.inf, -np.inf
    values[60:70] = np.nan
    expected = []
    for end in range(1, 201):
        seen = values[max(end - window, 0) if window else 0 : end]
        seen = seen[np.isfinite(seen)]
        expected.append(np.quantile(seen, fraction) if seen.size else np.nan)
    np.testing.assert_allclose(computed(values, f"Quantile($close, {window}, {fraction})"), expected, rtol=1e-14)


def test_which_of_two_zeros_is_met_first_leaves_no_trace() -> None:
    """0 and -0 are equal, but 1 divided by them is not."""
    values = np.array([0.0, -0.0, 0.0, -0.0, -0.0, -0.0, 0.0])
    assert [np.inf] * 7 == computed(values, "1/Quantile($close, 3, 0.5)").tolist()
