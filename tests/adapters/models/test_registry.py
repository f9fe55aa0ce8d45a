"""The registry on a real PostgreSQL, one database for all of its tests: making MLflow's tables takes seconds."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import MappingProxyType

import polars as pl
import psycopg
import pytest
from support.servers import drop_database

from trading_pipeline.adapters.models import ModelRegistry, ModelVersion
from trading_pipeline.adapters.store.urls import MLFLOW_SCHEMA, sqlalchemy_url
from trading_pipeline.core.features import Feature, FeatureSet
from trading_pipeline.core.features.drift import drift_reference
from trading_pipeline.core.training import TrainedModel, TrainingConfig, model_digest
from trading_pipeline.embedded import ServerUrls
from trading_pipeline.errors import ConfigError, ModelError, ModelUnavailable, ServerUnavailable

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")
"""MLflow's, not ours."""

DATABASE = "model_registry"
SESSIONS = [date(2024, 7, day) for day in (1, 2, 3)]
TRAINED = TrainedModel(
    model_text="tree\nversion=v4\n",
    feature_set=FeatureSet(
        name="two", features=(Feature(name="A", expression="$close"), Feature(name="B", expression="$open"))
    ),
    config=TrainingConfig(),
    trained_through=SESSIONS[-1],
    labels_known_at=date(2024, 7, 8),
    data_digest="d" * 64,
    ic=pl.DataFrame({"session": SESSIONS, "ic": [0.1, None, 0.3], "rank_ic": [0.2, None, -0.2]}),
    metrics=MappingProxyType({"ic_mean": 0.2, "trees": 7}),
    importance=pl.DataFrame({"feature": ["A", "B"], "gain": [2.0, 1.0]}),
    reference=drift_reference(pl.DataFrame({"A": [1.0, 2.0, None], "B": [3.0, 3.0, 3.0]}), ["A", "B"]),
)
PLOTS = {"ic.svg": b"<svg/>"}


@pytest.fixture(scope="module")
def tracking_uri(servers: ServerUrls) -> Iterator[str]:
    """A database with a schema for MLflow."""
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"create database {DATABASE}")
    url = servers.database_url.rpartition("/")[0] + f"/{DATABASE}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create schema {MLFLOW_SCHEMA}")
    yield sqlalchemy_url(url, MLFLOW_SCHEMA)
    drop_database(servers, DATABASE)


@pytest.fixture
def registry(tracking_uri: str, tmp_path: Path, request: pytest.FixtureRequest) -> ModelRegistry:
    """A registry with an experiment and files of the test's own."""
    return ModelRegistry(tracking_uri, request.node.name, tmp_path)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A registered model of the test's own."""
    return request.node.name


def test_registered_model_is_champion_and_loads_as_it_was(registry: ModelRegistry, name: str) -> None:
    """All that decides whether a model may be used comes back with it."""
    version = registry.register(TRAINED, name=name, plots=PLOTS)
    assert version == registry.champion(name)
    assert TRAINED.model_text == registry.load(version)
    assert TRAINED.feature_set.features == registry.feature_set(version).features
    assert TRAINED.reference.equals(registry.drift_reference(version))
    assert (
        ModelVersion(
            name=name,
            version="1",
            run_id=version.run_id,
            source=version.source,
            digest=TRAINED.digest,
            feature_set_hash=TRAINED.feature_set_hash,
            trained_through=TRAINED.trained_through,
            labels_known_at=TRAINED.labels_known_at,
            label_kind=TRAINED.label_kind,
            data_digest=TRAINED.data_digest,
        )
        == version
    )


def test_run_holds_settings_figures_and_files(
    registry: ModelRegistry, name: str, tracking_uri: str, tmp_path: Path
) -> None:
    """Coefficients have a step per session, those that are undefined have none."""
    from mlflow import MlflowClient

    version = registry.register(TRAINED, name=name, plots=PLOTS)
    client = MlflowClient(tracking_uri=tracking_uri)
    run = client.get_run(version.run_id)
    assert {"ic_mean": 0.2, "trees": 7.0, "ic": 0.3, "rank_ic": -0.2} == run.data.metrics
    assert [(0, 0.1), (2, 0.3)] == [
        (item.step, item.value) for item in client.get_metric_history(run.info.run_id, "ic")
    ]
    assert "open_to_open" == run.data.params["label_kind"]
    assert "FINISHED" == run.info.status
    files = {path.relative_to(tmp_path / name).parts[2:] for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        ("model.txt",),
        ("features.json",),
        ("drift_reference.json",),
        ("ic.csv",),
        ("importance.csv",),
        ("plots", "ic.svg"),
    } == files


def test_same_content_is_stored_once(registry: ModelRegistry, name: str) -> None:
    """A retry or a repeated training gives the version that is there."""
    first = registry.register(TRAINED, name=name, plots=PLOTS)
    assert first == registry.register(TRAINED, name=name, plots=PLOTS)


@pytest.mark.parametrize("change", [{"model_text": "tree\nversion=v5\n"}, {"data_digest": "e" * 64}])
def test_other_content_is_a_new_version_and_champion(
    registry: ModelRegistry, name: str, change: dict[str, str]
) -> None:
    """Another model, or the same text from other data, is told apart."""
    first = registry.register(TRAINED, name=name, plots={})
    second = registry.register(replace(TRAINED, **change), name=name, plots={})
    assert ("1", "2") == (first.version, second.version)
    assert second == registry.champion(name)


def test_promoted_version_is_champion_until_another_is(registry: ModelRegistry, name: str) -> None:
    """An operator can go back, and registering the newer one again goes forward."""
    first = registry.register(TRAINED, name=name, plots={})
    newer = replace(TRAINED, model_text="tree\nversion=v6\n")
    second = registry.register(newer, name=name, plots={})
    assert first == registry.promote(name, first.version)
    assert first == registry.champion(name)
    assert second == registry.register(newer, name=name, plots={})
    assert second == registry.champion(name)


def test_no_model_at_all_says_what_to_run(registry: ModelRegistry, name: str) -> None:
    """Nothing registered is an error with advice."""
    with pytest.raises(ModelUnavailable, match="train_model"):
        registry.champion(name)


@pytest.mark.parametrize("version", ["9", "latest"])
def test_promoting_a_version_that_is_not_there_changes_nothing(
    registry: ModelRegistry, name: str, version: str
) -> None:
    """The champion stays."""
    first = registry.register(TRAINED, name=name, plots={})
    with pytest.raises(ModelUnavailable, match=f"no version {version}"):
        registry.promote(name, version)
    assert first == registry.champion(name)


def test_changed_file_is_not_served(registry: ModelRegistry, name: str, tmp_path: Path) -> None:
    """A model that is not what was registered predicts nothing."""
    version = registry.register(TRAINED, name=name, plots={})
    next(tmp_path.rglob("model.txt")).write_text("tree\nversion=v7\n")
    with pytest.raises(ModelError, match="not the text that was registered") as caught:
        registry.load(version)
    assert model_digest("tree\nversion=v7\n") == caught.value.fields["actual"]


def test_lost_file_says_so(registry: ModelRegistry, name: str, tmp_path: Path) -> None:
    """The file is named."""
    version = registry.register(TRAINED, name=name, plots={})
    next(tmp_path.rglob("model.txt")).unlink()
    with pytest.raises(ModelUnavailable, match=r"lost its file .*model\.txt"):
        registry.load(version)


def test_failed_registration_leaves_no_version_and_can_be_repeated(registry: ModelRegistry, name: str) -> None:
    """A run that broke off half way is marked as failed and is not found again."""
    with pytest.raises(ModelUnavailable):
        registry.register(TRAINED, name=name, plots={"missing/folder.svg": b""})
    with pytest.raises(ModelUnavailable):
        registry.champion(name)
    assert "1" == registry.register(TRAINED, name=name, plots={}).version


def test_version_registered_by_someone_else_is_refused(registry: ModelRegistry, name: str, tracking_uri: str) -> None:
    """Without its tags nobody knows when a model may be used."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    client.create_registered_model(name)
    client.create_model_version(name, "file:///tmp/elsewhere")
    with pytest.raises(ModelError, match="lacks the tags"):
        registry.promote(name, "1")


def test_database_that_does_not_answer_is_reported_at_once(tmp_path: Path) -> None:
    """A retry is safe, and nobody waits for MLflow's own attempts."""
    nowhere = ModelRegistry("postgresql+psycopg2://user@127.0.0.1:1/none", "x", tmp_path)
    with pytest.raises(ServerUnavailable, match="does not answer"):
        nowhere.champion("any")


def test_url_without_a_driver_is_a_configuration_error(tmp_path: Path) -> None:
    """The message says what to write."""
    with pytest.raises(ConfigError, match="psycopg2"):
        ModelRegistry("postgresql://user@127.0.0.1/db", "x", tmp_path).champion("any")


def test_importing_the_package_does_not_import_mlflow() -> None:
    """Code locations load without paying for the registry."""
    check = "import sys, trading_pipeline.adapters.models; sys.exit('mlflow' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", check], check=False).returncode
