"""The shared budget against a real Redis."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import redis

from trading_pipeline.adapters.alpaca.budget import RequestBudget
from trading_pipeline.errors import ServerUnavailable, TransientError


def budget_of(url: str, *, key_id: str = "K", api: str = "data", per_minute: int = 600) -> RequestBudget:
    client = redis.Redis.from_url(url, socket_timeout=2)
    return RequestBudget(client, key_id=key_id, api=api, per_minute=per_minute, sleep=time.sleep)


def taken(budget: RequestBudget) -> int:
    """Take without waiting until there is no place."""
    count = 0
    while True:
        try:
            budget.take(patience_seconds=0)
        except TransientError:
            return count
        count += 1


def test_processes_share_one_bucket(redis_url: str) -> None:
    """Sixteen takers at once get together what one would get: the burst, and what a moment refills."""
    budgets = [budget_of(redis_url, per_minute=120) for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        counts = list(pool.map(taken, budgets))
    assert 12 <= sum(counts) <= 14


@pytest.mark.parametrize("per_minute", [1, 2, 20])
def test_no_minute_sees_more_than_the_budget(redis_url: str, per_minute: int) -> None:
    """A burst after a rest, then whoever asks whenever there is a place: the burst is no gift on top of the minute."""
    budget = budget_of(redis_url, per_minute=per_minute)
    client = redis.Redis.from_url(redis_url, socket_timeout=2)
    count = taken(budget)
    (bucket,) = client.keys("alpaca:*:budget")
    for _ in range(59):
        client.hincrby(bucket, "at", -1000)  # a second passes
        count += taken(budget)
    assert per_minute >= count >= per_minute * 4 // 5
    client.hincrby(bucket, "at", -62_000)
    assert taken(budget) >= 1, "the next minute has a place again"


def test_keys_and_apis_have_buckets_of_their_own(redis_url: str) -> None:
    """Trading is not slowed by market data, nor one key by another."""
    assert 1 == taken(budget_of(redis_url, per_minute=6))
    assert 1 == taken(budget_of(redis_url, per_minute=6, api="trading"))
    assert 1 == taken(budget_of(redis_url, per_minute=6, key_id="other"))


def test_a_closed_budget_opens_at_its_instant(redis_url: str) -> None:
    """What the server said to one process holds for all, and an earlier instant does not shorten it."""
    first, second = budget_of(redis_url), budget_of(redis_url)
    first.close_until(datetime.now(UTC) + timedelta(seconds=30))
    first.close_until(datetime.now(UTC) + timedelta(seconds=1))
    with pytest.raises(TransientError) as refused:
        second.take(patience_seconds=5)
    assert refused.value.fields["wait_seconds"] == pytest.approx(30, abs=2)


def test_without_redis_nobody_asks() -> None:
    """An unknown count is a no."""
    with pytest.raises(ServerUnavailable, match="request budget"):
        budget_of("redis://127.0.0.1:1").take(patience_seconds=1)


@pytest.mark.parametrize("per_minute", [0, -1])
def test_a_budget_of_nothing_is_refused(redis_url: str, per_minute: int) -> None:
    """It would wait for ever."""
    with pytest.raises(ValueError, match="at least one"):
        budget_of(redis_url, per_minute=per_minute)
