"""Alpaca's market data, where it is the source of bars."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from trading_pipeline.core.sessions import xnys

if TYPE_CHECKING:
    from trading_pipeline.adapters.market_data.alpaca.opening import AlpacaMarketData


class AlpacaDataResource(dg.ConfigurableResource[Any]):
    """Connects to Alpaca's market data; `staging` keeps the pages of a retrieval that did not finish."""

    key_id: str = Field(repr=False)
    secret: str = Field(repr=False)
    url: str
    feed: str
    requests_per_minute: int
    staging: str
    redis_url: str = Field(repr=False)
    _data: "AlpacaMarketData | None" = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["AlpacaDataResource"]:
        """Prepare the clients, and disconnect after use."""
        del context
        # alpaca-py takes seconds to import: a process that only loads definitions never pays for it.
        from trading_pipeline.adapters.market_data.alpaca.bars import Feed  # noqa: PLC0415
        from trading_pipeline.adapters.market_data.alpaca.opening import (  # noqa: PLC0415
            AlpacaDataConfig,
            alpaca_market_data,
        )

        config = AlpacaDataConfig(
            key_id=self.key_id,
            secret=self.secret,
            url=self.url,
            feed=Feed(self.feed),
            requests_per_minute=self.requests_per_minute,
            staging=Path(self.staging),
        )
        with alpaca_market_data(config, redis_url=self.redis_url, calendar=xnys()) as data:
            self._data = data
            yield self

    @property
    def data(self) -> "AlpacaMarketData":
        """Bars and corporate actions."""
        if self._data is None:
            msg = "Alpaca's market data are open only while a run executes"
            raise RuntimeError(msg)
        return self._data
