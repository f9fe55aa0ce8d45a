"""The recipe of a model: everything but the data; equal recipes and data give equal models."""

from dataclasses import dataclass, fields
from typing import Any

from trading_pipeline.core.labels import LabelKind


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a model is trained.

    Attributes:
        label_kind: the return to predict.
        validation_sessions: sessions at the end kept for early stopping and the information coefficients.
        num_rounds: most trees.
        early_stopping_rounds: trees without improvement on the validation sessions after which training ends.
        learning_rate: shrinkage of each tree.
        num_leaves: most leaves of a tree.
        min_data_in_leaf: fewest rows in a leaf.
        feature_fraction: share of the features each tree may use.
        bagging_fraction: share of the rows each tree sees.
        lambda_l2: ridge penalty on leaf values.
        seed: of every random choice.
        num_threads: of LightGBM; part of the recipe because it is written into the model.
    """

    label_kind: LabelKind = LabelKind.OPEN_TO_OPEN
    validation_sessions: int = 252
    num_rounds: int = 400
    early_stopping_rounds: int = 50
    learning_rate: float = 0.03
    num_leaves: int = 31
    min_data_in_leaf: int = 100
    feature_fraction: float = 0.7
    bagging_fraction: float = 0.8
    lambda_l2: float = 10.0
    seed: int = 17
    num_threads: int = 2

    def __post_init__(self) -> None:
        for name in ("validation_sessions", "num_rounds", "early_stopping_rounds", "num_threads"):
            if getattr(self, name) < 1:
                message = f"{name} must be at least 1, not {getattr(self, name)}"
                raise ValueError(message)

    def lightgbm_params(self) -> dict[str, Any]:
        """Return the parameters for LightGBM, with every source of randomness pinned."""
        return {
            "objective": "regression",
            "metric": "l2",
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.lambda_l2,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.num_threads,
            "verbosity": -1,
        }

    def as_params(self) -> dict[str, str]:
        """Return every setting as text, for the record of the training run."""
        return {item.name: str(getattr(self, item.name)) for item in fields(self)}
