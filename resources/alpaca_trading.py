"""The Alpaca account that orders go to, where they go to one."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.pricing import PriceRules
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.prices import MarketPrices, market_prices

if TYPE_CHECKING:
    from trading_pipeline.adapters.broker.alpaca.broker import AlpacaBroker


class AlpacaTradingResource(dg.ConfigurableResource[Any]):
    """Connects to the pinned Alpaca account; `live` means real money.

    `data_url` and `data_feed` are where the prices of order time come from, `price_max_age_seconds` and
    `price_max_spread_bps` (1/100 percent of the midpoint) what they must keep to.
    """

    key_id: str = Field(repr=False)
    secret: str = Field(repr=False)
    url: str
    account_id: str
    live: bool
    requests_per_minute: int
    redis_url: str = Field(repr=False)
    data_url: str = ""
    data_feed: str = "sip"
    price_max_age_seconds: int = 30
    price_max_spread_bps: int = 200
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

    @contextmanager
    def prices(self, lake: Lake) -> Iterator[MarketPrices]:
        """Give the prices of order time, and of the lake's closes while the exchange is closed."""
        from trading_pipeline.adapters.market_data.alpaca.bars import Feed  # noqa: PLC0415
        from trading_pipeline.adapters.market_data.alpaca.opening import AlpacaFeedConfig  # noqa: PLC0415

        config = AlpacaFeedConfig(
            key_id=self.key_id,
            secret=self.secret,
            url=self.data_url,
            feed=Feed(self.data_feed),
            requests_per_minute=self.requests_per_minute,
        )
        rules = PriceRules(
            max_age=timedelta(seconds=self.price_max_age_seconds), max_spread_bps=self.price_max_spread_bps
        )
        with market_prices(config, redis_url=self.redis_url, lake=lake, calendar=xnys(), rules=rules) as prices:
            yield prices

    @property
    def broker(self) -> "AlpacaBroker":
        """The account as a broker."""
        if self._broker is None:
            msg = "the Alpaca account is open only while a run executes"
            raise RuntimeError(msg)
        return self._broker
