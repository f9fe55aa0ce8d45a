"""A registered version of a model: what tells it apart and when it may be used; it holds no model."""

from dataclasses import dataclass, fields
from datetime import date
from typing import Any, Self

from trading_pipeline.core.labels import LabelKind
from trading_pipeline.core.training import TrainedModel
from trading_pipeline.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version in the registry.

    Attributes:
        name: of the registered model.
        version: its number, as MLflow counts from "1".
        run_id: the training run in MLflow.
        source: URI of the folder with the artifacts.
        digest: SHA-256 in hex of the model text.
        feature_set_hash: of the features it reads.
        trained_through: the last session whose label was used.
        labels_known_at: the session at whose close that label was known; earlier ones must not use the model.
        label_kind: the return it predicts.
        data_digest: SHA-256 in hex of the data it was trained on.
    """

    name: str
    version: str
    run_id: str
    source: str
    digest: str
    feature_set_hash: str
    trained_through: date
    labels_known_at: date
    label_kind: LabelKind
    data_digest: str

    @classmethod
    def from_registry(cls, entity: Any) -> Self:
        """Read MLflow's model version.

        Raises:
            ModelError: it lacks the tags that a version registered here carries.
        """
        tags = dict(entity.tags)
        absent = sorted(TAGS - set(tags))
        if absent:
            raise ModelError(
                f"version {entity.version} of {entity.name} lacks the tags {', '.join(absent)}: it was not registered "
                "by this pipeline; promote another version",
                name=entity.name,
                version=str(entity.version),
                absent=absent,
            )
        return cls(
            name=entity.name,
            version=str(entity.version),
            run_id=entity.run_id,
            source=entity.source,
            digest=tags["digest"],
            feature_set_hash=tags["feature_set_hash"],
            trained_through=date.fromisoformat(tags["trained_through"]),
            labels_known_at=date.fromisoformat(tags["labels_known_at"]),
            label_kind=LabelKind(tags["label_kind"]),
            data_digest=tags["data_digest"],
        )


TAGS = frozenset(item.name for item in fields(ModelVersion)) - {"name", "version", "run_id", "source"}
"""The tags of a version in MLflow."""


def tags_of(trained: TrainedModel) -> dict[str, str]:
    """Return the tags under which a trained model is registered."""
    return {name: str(getattr(trained, name)) for name in sorted(TAGS)}
