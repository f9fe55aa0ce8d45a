"""A guard on the shared Redis, and Redis servers that a test may break."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from support.redis_servers import StartRedis, redis_servers

from tests.adapters.guards.builders import ACCOUNT, EMPTY
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client on an empty Redis."""
    with closing(connect(redis_url)) as opened:
        yield opened


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """A client on the same Redis that gives and takes bytes: the book's records are no text."""
    with closing(redis.Redis.from_url(redis_url)) as opened:
        yield opened


@pytest.fixture
def unborn(client: redis.Redis) -> RiskGuard:
    """A guard whose account has no book."""
    return RiskGuard(client, ACCOUNT)


@pytest.fixture
def guard(unborn: RiskGuard) -> RiskGuard:
    """A guard with an empty book of epoch 1 and the usual limits."""
    unborn.rebuild(EMPTY)
    return unborn


@pytest.fixture
def start_redis() -> Iterator[StartRedis]:
    """Start Redis servers of the test's own: `start_redis(*options) -> (url, process)`."""
    with redis_servers() as start:
        yield start
