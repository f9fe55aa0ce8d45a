"""The table a model is trained on: features beside labels that are comparable across sessions; it fits nothing."""

import hashlib
import json
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.core.features import FeatureSet
from trading_pipeline.errors import ModelError

TARGET = "target"


def training_table(
    features: pl.DataFrame, labels: pl.DataFrame, *, feature_set: FeatureSet, through: date
) -> pl.DataFrame:
    """Join features and labels up to a session and standardise the label within each session.

    Features stay as they are: trees need no scaling and know missing values. The target is the label less the mean of
    its session, over the standard deviation of its session, since portfolios choose among the symbols of one session.

    Args:
        features: `session`, `symbol` and the columns of the feature set.
        labels: `session`, `symbol`, `label`, `known_at`.
        feature_set: which columns, in which order.
        through: the last session whose label may be used.

    Returns:
        `session`, `symbol`, the features, `label`, `known_at` and `target`, sorted by session and symbol, without rows
        whose label is missing or does not differ from the others of its session.

    Raises:
        ModelError: a feature column is absent, or nothing is left.
    """
    require_features(features, feature_set.names)
    rows = features.select("session", "symbol", *feature_set.names).filter(pl.col("session") <= through)
    usable = labels.filter(pl.col("label").is_finite()).select("session", "symbol", "label", "known_at")
    spread = pl.col("label").std().over("session")
    table = (
        rows.join(usable, on=["session", "symbol"])
        .with_columns(((pl.col("label") - pl.col("label").mean().over("session")) / spread).alias(TARGET))
        .filter(pl.col(TARGET).is_finite())
        .sort("session", "symbol")
    )
    if table.is_empty():
        message = f"no session up to {through} has features and at least two labels; load earlier bars or train later"
        raise ModelError(message, through=through, feature_rows=rows.height, labels=usable.height)
    return table


def require_features(features: pl.DataFrame, names: tuple[str, ...]) -> None:
    """Check that every feature has its column.

    Raises:
        ModelError: some are absent; all are named.
    """
    absent = [name for name in names if name not in features.columns]
    if absent:
        message = f"features {', '.join(absent)} are absent; compute the feature set that the model was made for"
        raise ModelError(message, absent=absent)


def feature_matrix(table: pl.DataFrame, names: tuple[str, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the features as rows of float32, missing as NaN."""
    columns = [table[name].cast(pl.Float32).fill_null(np.nan).to_numpy() for name in names]
    return np.column_stack(columns)


def table_digest(table: pl.DataFrame, names: tuple[str, ...]) -> str:
    """Return SHA-256 in hex over the sessions, symbols, features and labels of a training table."""
    digest = hashlib.sha256(json.dumps([names, table["symbol"].to_list()]).encode())
    digest.update(table["session"].to_physical().to_numpy().tobytes())
    digest.update(feature_matrix(table, names).tobytes())
    digest.update(table["label"].to_numpy().tobytes())
    return digest.hexdigest()
