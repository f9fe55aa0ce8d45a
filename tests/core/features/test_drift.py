"""The drift of features against a training window."""

import numpy as np
import polars as pl
import pytest

from trading_pipeline.core.features.drift import MAJOR, MODERATE, drift_reference, feature_drift

RNG = np.random.default_rng(3)
TRAINING = pl.DataFrame({"same": RNG.normal(0, 1, 5_000), "moved": RNG.normal(0, 1, 5_000), "flat": np.ones(5_000)})
REFERENCE = drift_reference(TRAINING, ["same", "moved", "flat"])


def test_the_same_population_has_no_drift_and_a_moved_one_has() -> None:
    """The worst comes first."""
    recent = pl.DataFrame({"same": RNG.normal(0, 1, 2_000), "moved": RNG.normal(1.5, 1, 2_000), "flat": np.ones(2_000)})
    drift = feature_drift(REFERENCE, recent)
    assert "moved" == drift["feature"][0]
    found = dict(drift.select("feature", "psi").iter_rows())
    assert found["moved"] > MAJOR
    assert found["same"] < MODERATE
    assert abs(found["flat"]) < MODERATE / 100


def test_missing_values_are_a_population_of_their_own() -> None:
    """A feature that went missing has drifted, as has one whose column is gone."""
    recent = pl.DataFrame({"same": pl.Series([None] * 500, dtype=pl.Float32), "flat": np.ones(500)})
    drift = {row["feature"]: row for row in feature_drift(REFERENCE, recent).to_dicts()}
    assert drift["same"]["psi"] > MAJOR
    assert drift["moved"]["psi"] > MAJOR
    assert (0.0, 1.0) == (drift["same"]["missing_then"], drift["same"]["missing_now"])


def test_the_index_is_that_of_its_formula() -> None:
    """Two bins, by hand."""
    reference = drift_reference(pl.DataFrame({"x": [0.0] * 60 + [1.0] * 40}), ["x"])
    assert [[0.0, 1.0], [60, 40, 0, 0]] == [reference["edges"][0].to_list(), reference["counts"][0].to_list()]
    then = np.array([60.5, 40.5, 0.5, 0.5]) / 102
    now = np.array([20.5, 80.5, 0.5, 0.5]) / 102
    expected = float(np.sum((now - then) * np.log(now / then)))
    found = feature_drift(reference, pl.DataFrame({"x": [0.0] * 20 + [1.0] * 80}))
    assert pytest.approx(expected) == found["psi"][0]
