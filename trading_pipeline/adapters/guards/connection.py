"""The guard's connection to Redis: bounded in time, to a server that forgets nothing. It must not repeat a command."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from trading_pipeline.errors import ConfigError, ServerUnavailable


def connect(url: str, *, timeout_seconds: float = 2.0) -> redis.Redis:
    """Make the client a `RiskGuard` wants. Nothing is sent yet; the caller closes it.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with user and password if there are any.
        timeout_seconds: how long connecting, and then each answer, may take.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def require_bounded(client: redis.Redis) -> None:
    """Refuse a client that can wait for ever, or that repeats a command whose answer was lost.

    Raises:
        ConfigError: no time-out, or retries.
    """
    settings = client.get_connection_kwargs()
    retry = client.get_retry()
    if settings.get("socket_timeout") is None or (retry is not None and retry.get_retries() != 0):
        raise ConfigError(
            "the guard needs a Redis client with a time-out and without retries: make it with guards.connection.connect"
        )


def check_durable(client: redis.Redis) -> None:
    """Check that the server neither evicts keys nor loses them when it stops.

    Raises:
        ConfigError: `maxmemory-policy` is not noeviction, or the append-only file is off.
        ServerUnavailable: the server did not answer.
    """
    try:
        policy = client.info("memory")["maxmemory_policy"]
        append_only = client.info("persistence")["aof_enabled"]
    except redis.RedisError as error:
        raise ServerUnavailable(f"Redis did not describe itself: {error}; check REDIS_URL and the server") from error
    if policy != "noeviction":
        raise ConfigError(
            f"Redis evicts keys ({policy}), so a risk book could vanish: set `maxmemory-policy noeviction`",
            policy=policy,
        )
    if int(append_only) != 1:
        raise ConfigError(
            "Redis would forget the risk book when it stops: set `appendonly yes`", append_only=append_only
        )
