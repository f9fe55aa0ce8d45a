"""The Alpaca account that orders go to, where they go to one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.core.sessions import xnys

if TYPE_CHECKING:
    from trading_pipeline.adapters.broker.alpaca.broker import AlpacaBroker


class AlpacaTradingResource(dg.ConfigurableResource[Any]):
    """Connects to the pinned Alpaca account; `live` means real money."""

    key_id: str = Field(repr=False)
    secret: str = Field(repr=False)
    url: str
    account_id: str
    live: bool
    requests_per_minute: int
    redis_url: str = Field(repr=False)
    _broker: "AlpacaBroker | None" = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["AlpacaTradingResource"]:
        """Prepare the client, and disconnect after use."""
        del context
        # alpaca-py takes seconds to import: a process that only loads definitions never pays for it.
        from trading_pipeline.adapters.broker.alpaca.opening import (  # noqa: PLC0415
            AlpacaAccountConfig,
            alpaca_broker,
        )

        config = AlpacaAccountConfig(
            key_id=self.key_id,
            secret=self.secret,
            url=self.url,
            account_id=self.account_id,
            live=self.live,
            requests_per_minute=self.requests_per_minute,
        )
        with alpaca_broker(config, redis_url=self.redis_url, calendar=xnys(), clock=SystemClock()) as broker:
            self._broker = broker
            yield self

    @property
    def broker(self) -> "AlpacaBroker":
        """The account as a broker."""
        if self._broker is None:
            msg = "the Alpaca account is open only while a run executes"
            raise RuntimeError(msg)
        return self._broker
