"""Opens an Alpaca account for trading: alpaca-py's client, one budget, and a name nobody overlooks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import redis
import structlog
from alpaca.trading.client import TradingClient

from trading_pipeline.adapters.alpaca.budget import RequestBudget
from trading_pipeline.adapters.alpaca.transport import AlpacaReader, Bounds
from trading_pipeline.adapters.broker.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.broker.alpaca.writer import AlpacaWriter
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.sessions import SessionCalendar

READ_BOUNDS: Final = Bounds(
    connect_seconds=3.0, read_seconds=10.0, total_seconds=20.0, attempts=4, longest_wait_seconds=10.0
)
"""Whoever asks about an account waits less long than whoever loads history."""
_REDIS_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlpacaAccountConfig:
    """Which account is traded, with which key, at which server; `live` means real money."""

    key_id: str
    secret: str = field(repr=False)
    url: str
    account_id: str
    live: bool
    requests_per_minute: int

    @property
    def name(self) -> str:
        """What kind of account this is, for people."""
        return "ALPACA LIVE ACCOUNT, REAL MONEY" if self.live else "Alpaca paper account"


@contextmanager
def alpaca_broker(
    config: AlpacaAccountConfig, *, redis_url: str, calendar: SessionCalendar, clock: Clock
) -> Iterator[AlpacaBroker]:
    """Give the account's broker. Nothing is asked until something is needed; then the account itself comes first."""
    say = log.warning if config.live else log.info
    say(f"orders go to the {config.name}", account_id=config.account_id, url=config.url)
    counter = redis.Redis.from_url(redis_url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS)
    budget = RequestBudget(
        counter, key_id=config.key_id, api="trading", per_minute=config.requests_per_minute, sleep=time.sleep
    )
    # Two clients: what may be asked again waits longer than what is sent once.
    of_reads, of_writes = (
        TradingClient(config.key_id, config.secret, raw_data=True, url_override=config.url.rstrip("/"))
        for _ in range(2)
    )
    try:
        yield AlpacaBroker(
            config.name,
            reader=AlpacaReader(of_reads, budget=budget, clock=clock, bounds=READ_BOUNDS),
            writer=AlpacaWriter(of_writes, budget=budget, clock=clock),
            account_id=config.account_id,
            calendar=calendar,
            clock=clock,
        )
    finally:
        counter.close()
