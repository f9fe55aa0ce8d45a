"""Trains the model on features and labels that were known by a session; it does not store what it makes."""

from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from trading_pipeline.core.features import FeatureSet
from trading_pipeline.core.features.drift import drift_reference
from trading_pipeline.core.training.config import TrainingConfig
from trading_pipeline.core.training.dataset import TARGET, feature_matrix, table_digest, training_table
from trading_pipeline.core.training.evaluation import information_coefficients, summarize
from trading_pipeline.core.training.model import TrainedModel
from trading_pipeline.core.training.split import split_sessions

if TYPE_CHECKING:
    import lightgbm


def train(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    feature_set: FeatureSet,
    config: TrainingConfig,
    train_through: date,
) -> TrainedModel:
    """Train on all sessions up to one, the last of them held out for early stopping and evaluation.

    Args:
        features: `session`, `symbol` and the columns of the feature set, missing as null; later sessions are ignored.
        labels: as `compute_labels` returns them, of the kind that the config names.
        feature_set: which columns, in which order.
        config: the recipe.
        train_through: the last session whose label may be used. A model meant for session D may be trained through the
            session `LABEL_HORIZON` before D.

    Raises:
        ModelError: columns are absent, or too few sessions have labels.
    """
    names = feature_set.names
    table = training_table(features, labels, feature_set=feature_set, through=train_through)
    split = split_sessions(table["session"].unique().to_list(), validation=config.validation_sessions)
    training = table.filter(pl.col("session") <= split.training[-1])
    validation = table.filter(pl.col("session") >= split.validation[0])
    booster = _fit(training, validation, names=names, config=config)
    scores = pl.Series("score", booster.predict(feature_matrix(validation, names)), dtype=pl.Float64)
    coefficients = information_coefficients(validation.select("session", "label").with_columns(scores))
    seen = pl.concat([training, validation])
    counts = {"training_rows": training.height, "validation_rows": validation.height, "trees": booster.num_trees()}
    return TrainedModel(
        model_text=booster.model_to_string(),
        feature_set=feature_set,
        config=config,
        trained_through=split.validation[-1],
        labels_known_at=validation["known_at"][-1],
        data_digest=table_digest(seen, names),
        ic=coefficients,
        metrics=summarize(coefficients) | counts,
        importance=_importance(booster, names),
        reference=drift_reference(seen, names),
    )


def _fit(
    training: pl.DataFrame, validation: pl.DataFrame, *, names: tuple[str, ...], config: TrainingConfig
) -> "lightgbm.Booster":
    # LightGBM brings scikit-learn and takes seconds to import: only those who train or predict pay for it.
    import lightgbm  # noqa: PLC0415

    params = config.lightgbm_params()
    seen = lightgbm.Dataset(
        feature_matrix(training, names), training[TARGET].to_numpy(), feature_name=list(names), params=params
    )
    held_out = seen.create_valid(feature_matrix(validation, names), validation[TARGET].to_numpy())
    stopping = lightgbm.early_stopping(config.early_stopping_rounds, verbose=False)
    booster = lightgbm.train(params, seen, config.num_rounds, valid_sets=[held_out], callbacks=[stopping])
    # Cut to the best round, so that the text alone gives the predictions that were evaluated.
    return lightgbm.Booster(model_str=booster.model_to_string())


def _importance(booster: "lightgbm.Booster", names: tuple[str, ...]) -> pl.DataFrame:
    gains = booster.feature_importance(importance_type="gain")
    table = pl.DataFrame({"feature": names, "gain": gains}, schema_overrides={"gain": pl.Float64})
    return table.sort("gain", "feature", descending=[True, False])
