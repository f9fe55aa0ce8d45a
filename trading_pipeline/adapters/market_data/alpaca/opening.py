"""Opens Alpaca's market data: alpaca-py's clients, one budget, one folder of pages."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient

from trading_pipeline.adapters.alpaca.budget import RequestBudget
from trading_pipeline.adapters.alpaca.transport import AlpacaReader
from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.market_data.alpaca.actions import AlpacaActions
from trading_pipeline.adapters.market_data.alpaca.bars import AlpacaBars, Feed
from trading_pipeline.adapters.market_data.alpaca.pages import StagedPages
from trading_pipeline.core.sessions import SessionCalendar

_REDIS_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlpacaFeedConfig:
    """Which key asks which server for which trades, and how often a minute."""

    key_id: str
    secret: str
    url: str
    feed: Feed
    requests_per_minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlpacaDataConfig(AlpacaFeedConfig):
    """The same, and where unfinished pages are kept."""

    staging: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AlpacaMarketData:
    """Bars and corporate actions behind one key and one budget."""

    bars: AlpacaBars
    actions: AlpacaActions


@contextmanager
def alpaca_market_data(
    config: AlpacaDataConfig, *, redis_url: str, calendar: SessionCalendar
) -> Iterator[AlpacaMarketData]:
    """Give Alpaca's market data. Nothing is sent until something is asked for."""
    clock = SystemClock()
    counter = redis.Redis.from_url(redis_url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS)
    budget = RequestBudget(
        counter, key_id=config.key_id, api="data", per_minute=config.requests_per_minute, sleep=time.sleep
    )
    of_bars = StockHistoricalDataClient(config.key_id, config.secret, raw_data=True, url_override=config.url)
    of_actions = CorporateActionsClient(config.key_id, config.secret, raw_data=True, url_override=config.url)
    try:
        yield AlpacaMarketData(
            bars=AlpacaBars(
                AlpacaReader(of_bars, budget=budget, clock=clock),
                pages=StagedPages(config.staging, clock),
                calendar=calendar,
                clock=clock,
                feed=config.feed,
            ),
            actions=AlpacaActions(AlpacaReader(of_actions, budget=budget, clock=clock), clock=clock),
        )
    finally:
        counter.close()
