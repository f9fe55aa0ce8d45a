"""Writes what is known of a training into an MLflow run: settings, figures and files; it does not register models."""

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

from trading_pipeline.core.training import TrainedModel

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

MODEL_FILE = "model.txt"
FEATURES_FILE = "features.json"
REFERENCE_FILE = "drift_reference.json"
METRICS_IN_A_BATCH = 1000
"""MLflow takes no more at once."""


def log_figures(client: "MlflowClient", run_id: str, trained: TrainedModel) -> None:
    """Log settings, summary metrics, and IC and rank IC with one step per validation session."""
    from mlflow.entities import Param  # noqa: PLC0415  seconds to import

    settings = trained.config.as_params() | {"features": str(len(trained.feature_set.features))}
    client.log_batch(run_id, params=[Param(key, value) for key, value in settings.items()])
    metrics = _metrics(trained)
    for start in range(0, len(metrics), METRICS_IN_A_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_IN_A_BATCH])


def log_artifacts(client: "MlflowClient", run_id: str, trained: TrainedModel, plots: Mapping[str, bytes]) -> None:
    """Store model text, features and their distribution, IC by session, importance and plots as files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / MODEL_FILE).write_bytes(trained.model_text.encode())
        (folder / FEATURES_FILE).write_text(trained.feature_set.definitions, encoding="utf-8")
        (folder / REFERENCE_FILE).write_text(trained.reference.write_json(), encoding="utf-8")
        trained.ic.write_csv(folder / "ic.csv")
        trained.importance.write_csv(folder / "importance.csv")
        (folder / "plots").mkdir()
        for file_name, image in plots.items():
            (folder / "plots" / file_name).write_bytes(image)
        client.log_artifacts(run_id, str(folder))


def _metrics(trained: TrainedModel) -> "list[Metric]":
    """Each summary figure once, and each coefficient at the midnight (UTC) of its session."""
    from mlflow.entities import Metric  # noqa: PLC0415  seconds to import

    instants = [int(datetime.combine(day, time(), UTC).timestamp() * 1000) for day in trained.ic["session"]]
    series = [
        Metric(name, value, instants[step], step)
        for name in ("ic", "rank_ic")
        for step, value in enumerate(trained.ic[name])
        if value is not None
    ]
    return series + [Metric(name, value, instants[-1], 0) for name, value in trained.metrics.items()]
