"""A trained model with what is needed to judge and to reproduce it; it holds text and tables, no library objects."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from trading_pipeline.core.features import FeatureSet
from trading_pipeline.core.labels import LabelKind
from trading_pipeline.core.training.config import TrainingConfig


def model_digest(model_text: str) -> str:
    """Return the identity of a model: SHA-256 in hex of its text."""
    return hashlib.sha256(model_text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedModel:
    """The outcome of one training.

    Attributes:
        model_text: the model as LightGBM writes it.
        feature_set: what it was trained on; its names are the columns it reads, in order.
        config: the recipe.
        trained_through: the last session whose label was used, for training or validation.
        labels_known_at: the session at whose close that label was known; earlier sessions must not use the model.
        data_digest: SHA-256 in hex of every value it was trained and validated on.
        ic: `session`, `ic`, `rank_ic` (Float64, null where undefined) of the validation sessions.
        metrics: summary figures by name.
        importance: `feature`, `gain` (Float64), the most important first.
        reference: the distribution of each feature it was trained and validated on, for `feature_drift`.
    """

    model_text: str
    feature_set: FeatureSet
    config: TrainingConfig
    trained_through: date
    labels_known_at: date
    data_digest: str
    ic: pl.DataFrame
    metrics: Mapping[str, float]
    importance: pl.DataFrame
    reference: pl.DataFrame

    @property
    def digest(self) -> str:
        """The identity of the model: SHA-256 in hex of its text."""
        return model_digest(self.model_text)

    @property
    def feature_set_hash(self) -> str:
        """The identity of the features it was trained on."""
        return self.feature_set.hash

    @property
    def label_kind(self) -> LabelKind:
        """The return it predicts."""
        return self.config.label_kind
