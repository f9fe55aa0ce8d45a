"""The MLflow model registry."""

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from trading_pipeline.adapters.models import ModelRegistry
from trading_pipeline.adapters.store.urls import MLFLOW_SCHEMA, sqlalchemy_url


class ModelRegistryResource(dg.ConfigurableResource[Any]):
    """Opens the registry, by default in schema `mlflow` of the database.

    MLflow itself is imported only when it is used.
    """

    database_url: str = Field(repr=False)
    tracking_uri: str | None = None
    experiment: str
    artifact_root: str
    model_name: str

    def registry(self) -> ModelRegistry:
        """Return the registry."""
        uri = self.tracking_uri or sqlalchemy_url(self.database_url, MLFLOW_SCHEMA)
        return ModelRegistry(uri, self.experiment, Path(self.artifact_root))
