"""A reader over alpaca-py's real client, talking to a local server; clocks and waits under the test's control."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import redis
from alpaca.common.rest import RESTClient
from alpaca.data.historical import StockHistoricalDataClient
from support.alpaca.data_api import bar_routes
from support.alpaca.server import KEY_ID, SECRET, AlpacaServer, alpaca_server

from trading_pipeline.adapters.alpaca.budget import RequestBudget
from trading_pipeline.adapters.alpaca.transport import AlpacaReader, Bounds
from trading_pipeline.core.sessions import xnys

NOW = datetime(2024, 7, 10, 8, 30, tzinfo=UTC)
SYMBOLS = ("AAPL", "BRK.B", "MSFT", "NVDA")


@dataclass
class Waits:
    """A clock that moves only when somebody waits."""

    instant: datetime = NOW
    waited: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        """Return the instant reached by waiting."""
        return self.instant

    def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.waited.append(seconds)
        self.instant += timedelta(seconds=seconds)


@pytest.fixture
def waits() -> Waits:
    """The clock of the reader; sleeping moves it and takes no time."""
    return Waits()


@pytest.fixture
def daily() -> pl.DataFrame:
    """Bars of four symbols over ten sessions, a half day among them, stamped midnight New York as Alpaca does."""
    days = xnys().between(datetime(2024, 6, 25).date(), datetime(2024, 7, 9).date())  # noqa: DTZ001 - a date
    rows = [
        {
            "symbol": symbol,
            "timestamp": datetime(day.year, day.month, day.day, 4, tzinfo=UTC),
            "open": 100.0 + at,
            "high": 102.5 + at,
            "low": 99.25 + at,
            "close": 101.0 + at + number,
            "volume": 1_000_000 + 7 * at,
            "vwap": 100.5 + at,
        }
        for number, symbol in enumerate(SYMBOLS)
        for at, day in enumerate(days)
    ]
    return pl.DataFrame(rows).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))


@pytest.fixture
def server(daily: pl.DataFrame, waits: Waits) -> Iterator[AlpacaServer]:
    """Alpaca's market data on loopback, seven rows a page at most."""
    with alpaca_server(bar_routes({"1Day": daily}, now=waits.now, short_pages=7)) as running:
        yield running


@pytest.fixture
def make_reader(server: AlpacaServer, redis_url: str, waits: Waits) -> Iterator[Callable[..., AlpacaReader]]:
    """Make readers of the server; each argument replaces a default."""
    opened: list[redis.Redis] = []

    def make(
        *,
        secret: str = SECRET,
        per_minute: int = 60_000,
        bounds: Bounds | None = None,
        client: RESTClient | None = None,
    ) -> AlpacaReader:
        counter = redis.Redis.from_url(redis_url, socket_timeout=5)
        opened.append(counter)
        budget = RequestBudget(counter, key_id=KEY_ID, api="data", per_minute=per_minute, sleep=waits.sleep)
        historical = client or StockHistoricalDataClient(KEY_ID, secret, raw_data=True, url_override=server.url)
        return AlpacaReader(
            historical,
            budget=budget,
            clock=waits,
            bounds=bounds or Bounds(read_seconds=0.3, total_seconds=0.6),
            sleep=waits.sleep,
        )

    yield make
    for counter in opened:
        counter.close()
