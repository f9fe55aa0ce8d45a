"""The risk guard: every order passes it, and nothing else can make a clearance."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard


class RiskResource(dg.ConfigurableResource[Any]):
    """Connects to the Redis that holds the risk book of an account; `limits` are what a new book gets."""

    redis_url: str = Field(repr=False)
    account: str
    limits: dict[str, str]
    _guard: RiskGuard | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["RiskResource"]:
        """Connect, and disconnect after use."""
        del context
        client = connect(self.redis_url)
        try:
            self._guard = RiskGuard(client, self.account)
            yield self
        finally:
            client.close()

    @property
    def guard(self) -> RiskGuard:
        """The connected guard."""
        if self._guard is None:
            msg = "the risk resource is open only while a run executes"
            raise RuntimeError(msg)
        return self._guard
