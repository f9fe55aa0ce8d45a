"""One pipeline for all tests of the chain: servers of its own, history loaded, model trained."""

import shutil
from collections.abc import Iterator

import pytest
from support.pipeline import HISTORY, Pipeline, errors_of, pipeline

from trading_pipeline.embedded import embedded_servers, stop_embedded


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Bars and features of 21 months, and a champion. Tests read it, or trade on it and say so."""
    home = tmp_path_factory.mktemp("trained")
    with embedded_servers(home) as urls, pipeline(home, urls.database_url, urls.redis_url) as opened:
        assert "" == errors_of(opened.run_range("history", *HISTORY))
        assert "" == errors_of(opened.run("train_model"))
        yield opened
    stop_embedded(home)
    shutil.rmtree(home)
