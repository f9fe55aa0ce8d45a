"""An Alpaca account on loopback."""

from collections.abc import Iterator

import pytest
from support.alpaca.bench import Bench, alpaca_bench


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    """An account with money, no orders and four symbols."""
    with alpaca_bench(redis_url) as opened:
        yield opened
