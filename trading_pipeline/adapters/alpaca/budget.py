"""The budget of requests of one Alpaca key, shared through Redis by every process that uses the key."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from importlib import resources
from typing import cast

import redis

from trading_pipeline.errors import NotYet, ServerUnavailable

_MS_A_SECOND = 1000
_BURST_SHARE = 10
"""A tenth of a minute's budget may be asked for at once; the rest of it comes evenly."""
_COUNTED_SECONDS = 62
"""How long a minute of the server may be: it counts what arrives, and requests travel unevenly."""


class RequestBudget:
    """Hands out requests evenly: never more than `per_minute` in any minute, what was asked for at once included.

    Args:
        client: Redis, with a time-out.
        key_id: the API key, of which only a digest is stored.
        api: which budget of the key: Alpaca counts `trading` and `data` apart.
        per_minute: requests a minute.
        sleep: waits seconds; injected for tests.
    """

    def __init__(
        self, client: redis.Redis, *, key_id: str, api: str, per_minute: int, sleep: Callable[[float], None]
    ) -> None:
        if per_minute < 1:
            msg = f"a budget must allow at least one request a minute, not {per_minute}"
            raise ValueError(msg)
        digest = hashlib.sha256(key_id.encode()).hexdigest()[:16]
        self._key = f"alpaca:{{{digest}}}:{api}:budget"
        self._script = client.register_script((resources.files(__package__) / "budget.lua").read_text())
        burst = max(per_minute // _BURST_SHARE, 1)
        # At least one a minute: a burst of one and nothing after it would be a budget for one request ever.
        self._arguments = (burst, max(per_minute - burst, 1) * 60 / _COUNTED_SECONDS)
        self._sleep = sleep

    def take(self, *, patience_seconds: float) -> float:
        """Wait for a place and take it; return the seconds waited.

        Raises:
            NotYet: no place within `patience_seconds`; nothing was taken.
            ServerUnavailable: Redis did not answer: without the count nobody may ask.
        """
        waited = 0.0
        while (wait := self._ask() / _MS_A_SECOND) > 0:
            if waited + wait > patience_seconds:
                raise NotYet(
                    f"Alpaca's request budget is used up: the next place is {wait:.1f} s away, after {waited:.1f} s of "
                    f"waiting; fewer processes, or a higher ALPACA_REQUESTS_PER_MINUTE",
                    wait_seconds=wait,
                )
            self._sleep(wait)
            waited += wait
        return waited

    def close_until(self, instant: datetime) -> None:
        """Let nobody ask before an aware instant: the server has said so.

        Raises:
            ServerUnavailable: Redis did not answer.
        """
        self._ask(int(instant.timestamp() * _MS_A_SECOND))

    def _ask(self, *closed_until_ms: int) -> int:
        try:
            return cast("int", self._script(keys=[self._key], args=[*self._arguments, *closed_until_ms]))
        except redis.RedisError as error:
            raise ServerUnavailable(
                f"Redis did not answer for Alpaca's request budget: {error}; check REDIS_URL and the server"
            ) from error
