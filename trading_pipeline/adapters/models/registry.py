"""Registered models in MLflow: which there are, which one is champion, and their text; trains and scores nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from trading_pipeline.adapters.models.connection import connect, registry_errors
from trading_pipeline.adapters.models.run_log import (
    FEATURES_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    log_artifacts,
    log_figures,
)
from trading_pipeline.adapters.models.version import ModelVersion, tags_of
from trading_pipeline.core.features import FeatureSet
from trading_pipeline.core.features.drift import REFERENCE_SCHEMA
from trading_pipeline.core.training import TrainedModel, model_digest
from trading_pipeline.errors import ModelError, ModelUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
"""The alias of the version that predicts."""


class ModelRegistry:
    """The registry of one MLflow database.

    Args:
        tracking_uri: of the database, `postgresql+psycopg2://...`; a search path may stand in its `options`.
        experiment: under which training runs are filed; made on first use.
        artifact_root: folder for the files of the runs.

    Every method raises `ServerUnavailable` when the database does not answer. The first use of an empty database makes
    MLflow's tables, which takes a few seconds.
    """

    def __init__(self, tracking_uri: str, experiment: str, artifact_root: Path) -> None:
        self._tracking_uri = tracking_uri
        self._experiment = experiment
        self._artifact_root = artifact_root

    def register(self, trained: TrainedModel, *, name: str, plots: Mapping[str, bytes]) -> ModelVersion:
        """Store a model with its figures and make it champion.

        A model that is registered already, trained on the same data, is not stored again: its version becomes champion.

        Args:
            trained: the model.
            name: of the registered model.
            plots: images by file name.
        """
        tags = tags_of(trained)
        with registry_errors():
            version = self._find(name, tags) or self._store(trained, name=name, tags=tags, plots=plots)
            self._client.set_registered_model_alias(name, CHAMPION, version.version)
        return version

    def champion(self, name: str) -> ModelVersion:
        """Return the version that predicts.

        Raises:
            ModelUnavailable: there is none.
        """
        advice = f"model {name} has no {CHAMPION}: run the job train_model, or promote_model for an earlier version"
        with registry_errors(absent=advice):
            return ModelVersion.from_registry(self._client.get_model_version_by_alias(name, CHAMPION))

    def version(self, name: str, version: str) -> ModelVersion:
        """Return one version.

        Raises:
            ModelUnavailable: there is no such version.
        """
        with registry_errors(absent=f"model {name} has no version {version}: restore the registry"):
            return ModelVersion.from_registry(self._client.get_model_version(name, version))

    def promote(self, name: str, version: str) -> ModelVersion:
        """Make a version champion and return it.

        Raises:
            ModelUnavailable: there is no such version.
        """
        advice = f"model {name} has no version {version}: choose one that is listed in MLflow, or run train_model"
        with registry_errors(absent=advice):
            promoted = ModelVersion.from_registry(self._client.get_model_version(name, version))
            self._client.set_registered_model_alias(name, CHAMPION, promoted.version)
        return promoted

    def load(self, version: ModelVersion) -> str:
        """Return the text of a model as it was registered.

        Raises:
            ModelUnavailable: its file cannot be read.
            ModelError: the file is not the one that was registered.
        """
        text = self._file(version, MODEL_FILE)
        if model_digest(text) != version.digest:
            raise ModelError(
                f"{_label(version)} is not the text that was registered (digest {version.digest[:12]}): restore its "
                f"file {version.source}/{MODEL_FILE}, or promote another version",
                expected=version.digest,
                actual=model_digest(text),
            )
        return text

    def feature_set(self, version: ModelVersion) -> FeatureSet:
        """Return the features that a model was trained on.

        Raises:
            ModelUnavailable: the file with their definitions cannot be read.
            ModelError: the file holds other features than the model was trained on.
        """
        trained = FeatureSet.from_definitions(version.name, self._file(version, FEATURES_FILE))
        if trained.hash != version.feature_set_hash:
            raise ModelError(
                f"{_label(version)} was trained on feature set {version.feature_set_hash[:12]}, but its file "
                f"{version.source}/{FEATURES_FILE} is {trained.hash[:12]}: restore it, or promote another version",
                expected=version.feature_set_hash,
                actual=trained.hash,
            )
        return trained

    def drift_reference(self, version: ModelVersion) -> pl.DataFrame:
        """Return the distribution of the features that a model was trained on, as `feature_drift` takes it.

        Raises:
            ModelUnavailable: its file cannot be read.
        """
        return pl.read_json(self._file(version, REFERENCE_FILE).encode(), schema=REFERENCE_SCHEMA)

    def _file(self, version: ModelVersion, file_name: str) -> str:
        from mlflow.artifacts import download_artifacts  # noqa: PLC0415  seconds to import

        path = f"{version.source}/{file_name}"
        advice = f"{_label(version)} has lost its file {path}: restore it, or promote another version"
        with registry_errors(absent=advice):
            return Path(download_artifacts(path, tracking_uri=self._tracking_uri)).read_bytes().decode()

    @cached_property
    def _client(self) -> "MlflowClient":
        return connect(self._tracking_uri)

    def _find(self, name: str, tags: Mapping[str, str]) -> ModelVersion | None:
        same = " and ".join(f"tag.{key} = '{tags[key]}'" for key in ("digest", "data_digest"))
        found = self._client.search_model_versions(f"name = '{name}' and {same}", max_results=1)
        return ModelVersion.from_registry(found[0]) if found else None

    def _store(
        self, trained: TrainedModel, *, name: str, tags: Mapping[str, str], plots: Mapping[str, bytes]
    ) -> ModelVersion:
        with self._run(name, tags) as (run_id, source):
            log_figures(self._client, run_id, trained)
            log_artifacts(self._client, run_id, trained, plots)
            if not self._client.search_registered_models(f"name = '{name}'", max_results=1):
                self._client.create_registered_model(name)
            entity = self._client.create_model_version(name, source, run_id, tags=dict(tags))
        return ModelVersion.from_registry(entity)

    @contextmanager
    def _run(self, name: str, tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Open a run and close it as finished or failed; yields its id and the URI of its artifacts."""
        run = self._client.create_run(self._experiment_id(), tags=dict(tags), run_name=f"{name} {tags['digest'][:8]}")
        outcome = "FAILED"
        try:
            yield run.info.run_id, run.info.artifact_uri
            outcome = "FINISHED"
        finally:
            self._client.set_terminated(run.info.run_id, outcome)

    def _experiment_id(self) -> str:
        known = self._client.get_experiment_by_name(self._experiment)
        if known is None:
            location = (self._artifact_root / self._experiment).absolute().as_uri()
            return self._client.create_experiment(self._experiment, artifact_location=location)
        if known.lifecycle_stage == "deleted":
            raise ModelUnavailable(
                f"the MLflow experiment {self._experiment} was deleted: restore it in MLflow or set another name",
                experiment=self._experiment,
            )
        return known.experiment_id


def _label(version: ModelVersion) -> str:
    return f"version {version.version} of model {version.name}"
