"""The project's own Dagster instance."""

from collections.abc import Iterator

import dagster as dg
import pytest

from trading_pipeline.instance.home import prepare_dagster_home


@pytest.fixture
def instance(
    database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """The project's own instance on an empty database."""
    for name, value in prepare_dagster_home(tmp_path_factory.mktemp("home"), database_url, redis_url).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as opened:
        yield opened
