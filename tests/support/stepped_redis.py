"""A Redis client that can be stopped at every command it sends."""

from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry


class SteppedRedis(redis.Redis):
    """Sends the commands of a pipeline one by one through `execute_command`, where a test may come in between.

    A server runs them like that as well: other clients' commands, or its end, may come between any two.
    """

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Return a pipeline that is no transaction, which would be one step."""
        assert not transaction
        return _OneByOne(self, shard_hint)


class _OneByOne(Pipeline):
    def __init__(self, client: SteppedRedis, shard_hint: str | None) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, False, shard_hint)
        self._client = client

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        replies = []
        for args, options in self.command_stack:
            try:
                replies.append(self._client.execute_command(*args, **options))
            except redis.ResponseError as error:
                if raise_on_error:
                    raise
                replies.append(error)
        self.reset()
        return replies


class InterruptedRedis(SteppedRedis):
    """Does something right before the command of a number, counted from 0; until it is told so, nothing."""

    seen = 0
    at: int | None = None
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def interrupt(self, at: int, meanwhile: Callable[[], object]) -> None:
        """Count anew, and do this before the command of that number."""
        self.seen, self.at, self.meanwhile = 0, at, meanwhile

    def execute_command(self, *args: object, **options: object) -> object:
        """Send a command, after what was to come in between."""
        if self.seen == self.at:
            self.at = None
            self.meanwhile()
        self.seen += 1
        return super().execute_command(*args, **options)


def interrupted(url: str) -> InterruptedRedis:
    """Open a client as a guard wants it."""
    return InterruptedRedis.from_url(url, socket_timeout=5, retry=Retry(NoBackoff(), 0), decode_responses=True)
