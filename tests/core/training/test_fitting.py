"""Training and predicting on panels with a known signal."""

import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.core.features import Feature, FeatureSet
from trading_pipeline.core.labels import LABEL_HORIZON
from trading_pipeline.core.training import TrainedModel, TrainingConfig, model_digest, predict, train
from trading_pipeline.core.training.dataset import training_table
from trading_pipeline.errors import ModelError

DAYS = [date(2024, 1, 1) + timedelta(days=day) for day in range(60)]
SYMBOLS = [f"S{number:02d}" for number in range(20)]
FEATURES = FeatureSet(
    name="test",
    features=(Feature(name="SIGNAL", expression="$close"), Feature(name="NOISE", expression="$open")),
)
CONFIG = TrainingConfig(
    validation_sessions=15,
    num_rounds=40,
    early_stopping_rounds=10,
    learning_rate=0.1,
    min_data_in_leaf=20,
    num_threads=1,
)
THROUGH = DAYS[-1 - LABEL_HORIZON]


@pytest.fixture(scope="module")
def features() -> pl.DataFrame:
    """Two features, a tenth of whose values are missing."""
    rng = np.random.default_rng(1)
    rows = len(DAYS) * len(SYMBOLS)
    values = {name: pl.Series(rng.normal(size=rows), dtype=pl.Float32) for name in FEATURES.names}
    frame = pl.DataFrame({"session": np.repeat(DAYS, len(SYMBOLS)).tolist(), "symbol": SYMBOLS * len(DAYS), **values})
    gap = pl.Series(rng.random(rows) < 0.1)
    return frame.with_columns(pl.when(~gap).then(pl.col("NOISE")).alias("NOISE"))


@pytest.fixture(scope="module")
def labels(features: pl.DataFrame) -> pl.DataFrame:
    """The signal with noise and a market move that is common to each session."""
    rng = np.random.default_rng(2)
    market = pl.Series(np.repeat(rng.normal(scale=0.1, size=len(DAYS)), len(SYMBOLS)))
    noise = pl.Series(rng.normal(scale=0.01, size=features.height))
    known = dict(zip(DAYS, [*DAYS[LABEL_HORIZON:], *[None] * LABEL_HORIZON], strict=True))
    return features.select(
        "session",
        "symbol",
        (pl.col("SIGNAL") * 0.01 + noise + market).alias("label"),
        pl.col("session").replace_strict(known, return_dtype=pl.Date).alias("known_at"),
    )


@pytest.fixture(scope="module")
def trained(features: pl.DataFrame, labels: pl.DataFrame) -> TrainedModel:
    """A model of the signal."""
    return train(features, labels, feature_set=FEATURES, config=CONFIG, train_through=THROUGH)


def test_a_signal_that_is_there_is_found(trained: TrainedModel) -> None:
    """The market move common to all symbols does not hide it, and the noise feature matters less."""
    assert trained.metrics["rank_ic_mean"] > 0.5
    assert "SIGNAL" == trained.importance["feature"][0]


def test_same_data_and_recipe_give_the_same_model(
    trained: TrainedModel, features: pl.DataFrame, labels: pl.DataFrame
) -> None:
    """The order of the rows given does not matter either."""
    shuffled = features.sample(fraction=1, shuffle=True, seed=5)
    again = train(shuffled, labels, feature_set=FEATURES, config=CONFIG, train_through=THROUGH)
    assert (trained.digest, trained.data_digest) == (again.digest, again.data_digest)
    assert model_digest(trained.model_text) == trained.digest


def test_another_value_or_recipe_gives_another_identity(
    trained: TrainedModel, features: pl.DataFrame, labels: pl.DataFrame
) -> None:
    """One label changed shows in the digest of the data, another seed in that of the model."""
    first = pl.int_range(pl.len()) == 0
    changed = labels.with_columns(pl.when(first).then(0.5).otherwise(pl.col("label")).alias("label"))
    data = train(features, changed, feature_set=FEATURES, config=CONFIG, train_through=THROUGH)
    seed = train(features, labels, feature_set=FEATURES, config=replace(CONFIG, seed=18), train_through=THROUGH)
    assert trained.data_digest != data.data_digest
    assert trained.data_digest == seed.data_digest
    assert trained.digest != seed.digest


def test_says_which_labels_it_used_and_when_they_were_known(trained: TrainedModel) -> None:
    """The last label belongs to the session trained through and was known two sessions later."""
    assert (THROUGH, DAYS[-1]) == (trained.trained_through, trained.labels_known_at)
    assert CONFIG.label_kind == trained.label_kind
    assert FEATURES.hash == trained.feature_set_hash


def test_nothing_after_the_session_trained_through_has_an_influence(
    features: pl.DataFrame, labels: pl.DataFrame
) -> None:
    """Later features and labels may be there or not, and may be absurd."""
    through = DAYS[40]
    later = pl.col("session") > through
    absurd = labels.with_columns(pl.when(later).then(9.0).otherwise(pl.col("label")).alias("label"))
    with_later = train(features, absurd, feature_set=FEATURES, config=CONFIG, train_through=through)
    without = train(
        features.filter(~later), labels.filter(~later), feature_set=FEATURES, config=CONFIG, train_through=through
    )
    assert (with_later.digest, with_later.data_digest) == (without.digest, without.data_digest)
    assert through == with_later.trained_through


def test_coefficients_are_those_of_the_stored_model_on_the_validation_sessions(
    trained: TrainedModel, features: pl.DataFrame, labels: pl.DataFrame
) -> None:
    """What is reported can be computed again from the text of the model."""
    validation = DAYS[-CONFIG.validation_sessions - LABEL_HORIZON : -LABEL_HORIZON]
    scored = predict(trained.model_text, features.filter(pl.col("session").is_in(validation)))
    again = scored.join(labels, on=["session", "symbol"]).group_by("session").agg(ic=pl.corr("score", "label"))
    assert_frame_equal(trained.ic.select("session", "ic"), again.sort("session"))


def test_best_symbol_of_a_session_has_rank_one(trained: TrainedModel, features: pl.DataFrame) -> None:
    """Ranks count from the best score down, within each session."""
    scored = predict(trained.model_text, features)
    assert {"session": pl.Date, "symbol": pl.String, "score": pl.Float64, "rank": pl.Int32} == dict(scored.schema)
    for _, rows in scored.group_by("session"):
        by_rank = rows.sort("rank")
        assert list(range(1, len(SYMBOLS) + 1)) == by_rank["rank"].to_list()
        assert by_rank["score"].is_sorted(descending=True)


def test_equal_scores_rank_by_symbol_whatever_the_order_of_the_rows(trained: TrainedModel) -> None:
    """Ties never depend on how rows arrive."""
    rows = pl.DataFrame({"session": DAYS[0], "symbol": ["C", "A", "B"], "SIGNAL": 1.0, "NOISE": None})
    ranks = dict(predict(trained.model_text, rows).select("symbol", "rank").rows())
    assert {"A": 1, "B": 2, "C": 3} == ranks


def test_no_rows_give_no_predictions(trained: TrainedModel, features: pl.DataFrame) -> None:
    """A session in which every symbol was left out is not an error here."""
    assert (0, 4) == predict(trained.model_text, features.clear()).shape


def test_absent_features_are_named(trained: TrainedModel, features: pl.DataFrame) -> None:
    """A model never guesses a column."""
    with pytest.raises(ModelError, match="SIGNAL"):
        predict(trained.model_text, features.drop("SIGNAL"))


def test_text_that_is_no_model_is_refused(features: pl.DataFrame) -> None:
    """A damaged artifact does not score anything."""
    with pytest.raises(ModelError, match="cannot be read"):
        predict("tree\nnot a model", features)


def test_labels_are_standardised_within_each_session(features: pl.DataFrame, labels: pl.DataFrame) -> None:
    """The target has mean 0 and deviation 1 across the symbols of every session."""
    table = training_table(features, labels, feature_set=FEATURES, through=THROUGH)
    figures = table.group_by("session").agg(mean=pl.col("target").mean(), deviation=pl.col("target").std())
    assert figures["mean"].abs().max() < 1e-12
    assert (figures["deviation"] - 1).abs().max() < 1e-12


def test_no_labels_at_all_are_refused(features: pl.DataFrame, labels: pl.DataFrame) -> None:
    """The message says what to load."""
    with pytest.raises(ModelError, match="load earlier bars"):
        train(features, labels, feature_set=FEATURES, config=CONFIG, train_through=DAYS[0] - timedelta(days=1))


@pytest.mark.parametrize("name", ["validation_sessions", "num_rounds", "early_stopping_rounds", "num_threads"])
def test_recipe_without_sessions_or_rounds_is_refused(name: str) -> None:
    """A count of zero is a mistake."""
    with pytest.raises(ValueError, match=name):
        replace(CONFIG, **{name: 0})


def test_importing_the_package_does_not_import_lightgbm() -> None:
    """Code locations load without paying for training."""
    check = "import sys, trading_pipeline.core.training; sys.exit('lightgbm' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", check], check=False).returncode
