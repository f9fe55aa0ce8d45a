"""Scores symbols with a trained model; the same model and features always give the same order."""

import polars as pl

from trading_pipeline.core.training.dataset import feature_matrix, require_features
from trading_pipeline.errors import ModelError


def predict(model_text: str, features: pl.DataFrame) -> pl.DataFrame:
    """Score every row and rank the symbols of each session.

    Args:
        model_text: the model as LightGBM writes it.
        features: `session`, `symbol` and the columns the model reads, missing as null; others are ignored.

    Returns:
        `session`, `symbol`, `score` (Float64) and `rank` (Int32, 1 is the best of its session, equal scores in the
        order of their symbols), sorted by session and symbol.

    Raises:
        ModelError: the text is no model, or a feature it reads is absent.
    """
    # LightGBM brings scikit-learn and takes seconds to import: only those who train or predict pay for it.
    import lightgbm  # noqa: PLC0415

    try:
        booster = lightgbm.Booster(model_str=model_text)
    except lightgbm.basic.LightGBMError as error:
        message = f"the model cannot be read ({error}); register it again or promote another version"
        raise ModelError(message) from error
    names = tuple(booster.feature_name())
    require_features(features, names)
    scores = booster.predict(feature_matrix(features, names)) if features.height else []
    scored = features.select("session", "symbol").with_columns(pl.Series("score", scores, dtype=pl.Float64))
    best_first = scored.sort("session", "score", "symbol", descending=[False, True, False])
    ranked = best_first.with_columns((pl.int_range(pl.len(), dtype=pl.Int32).over("session") + 1).alias("rank"))
    return ranked.sort("session", "symbol")
