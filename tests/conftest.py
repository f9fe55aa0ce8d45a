"""Fixtures shared by all tests: one real PostgreSQL and one real Redis for the whole run, clean for every test."""

import shutil
from collections.abc import Iterator

import hypothesis
import pytest
import redis
from support.servers import fresh_database

from trading_pipeline.embedded import ServerUrls, embedded_servers, stop_embedded

# No test judges a time: a process of a busy machine may stand still at any example.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _kernels_are_compiled_once(pytestconfig: pytest.Config) -> Iterator[None]:
    """One folder of machine code for all tests: each pipeline in a folder of its own would compile anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", str(pytestconfig.cache.mkdir("kernels")))
        yield


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerUrls]:
    """Both servers, started by the project's own code."""
    home = tmp_path_factory.mktemp("servers")
    with embedded_servers(home) as urls:
        yield urls
    stop_embedded(home)
    shutil.rmtree(home)


@pytest.fixture
def redis_url(servers: ServerUrls) -> str:
    """A Redis that holds nothing and refuses nothing."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("min-replicas-to-write", 0)
        client.flushall()
        client.script_flush()
    return servers.redis_url


@pytest.fixture
def database_url(servers: ServerUrls) -> Iterator[str]:
    """An empty database of the test's own."""
    with fresh_database(servers) as url:
        yield url
