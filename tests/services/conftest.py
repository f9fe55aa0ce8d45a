"""The account under test."""

from collections.abc import Iterator

import pytest
from support.trading import Kit, trading_kit


@pytest.fixture
def kit(database_url: str, redis_url: str) -> Iterator[Kit]:
    """An account on real servers, its book initialised, its exchange standing at the test session."""
    with trading_kit(database_url, redis_url) as opened:
        yield opened
