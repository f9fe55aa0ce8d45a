"""Fixtures shared by all tests: one real PostgreSQL and one real Redis for the whole run, clean for every test."""

import os
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
import redis
from psycopg import sql

from trading_pipeline.embedded import ServerUrls, embedded_servers

_numbers = count(1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerUrls]:
    """Both servers, started by the project's own code."""
    with embedded_servers(tmp_path_factory.mktemp("servers")) as urls:
        yield urls


@pytest.fixture
def redis_url(servers: ServerUrls) -> str:
    """A Redis that holds nothing and refuses nothing."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
        client.script_flush()
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("min-replicas-to-write", 0)
    return servers.redis_url


@pytest.fixture
def database_url(servers: ServerUrls) -> Iterator[str]:
    """An empty database of the test's own."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield servers.database_url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
