"""The latest quotes and trades of Alpaca, many symbols in one request; what they are worth is decided elsewhere."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import redis
from alpaca.data.historical import StockHistoricalDataClient

from trading_pipeline.adapters.alpaca.budget import RequestBudget
from trading_pipeline.adapters.alpaca.transport import AlpacaReader, Bounds
from trading_pipeline.adapters.market_data.alpaca.bars import Feed
from trading_pipeline.adapters.market_data.alpaca.opening import AlpacaFeedConfig
from trading_pipeline.adapters.market_data.alpaca.ticks import quote_of, trade_of
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.pricing import Seen
from trading_pipeline.errors import DataQualityError, NoPrice

SYMBOLS_A_REQUEST: Final = 200
AT_ORDER_TIME: Final = Bounds(
    connect_seconds=3, read_seconds=5, total_seconds=8, attempts=2, longest_wait_seconds=2, budget_patience_seconds=5
)
"""An order does not wait minutes for its price: within its own age it must have been asked, answered and judged."""

T = TypeVar("T")


class AlpacaLatest:
    """Asks for the latest quotes and trades of one feed, which is said in every request and in every source."""

    def __init__(self, reader: AlpacaReader, feed: Feed) -> None:
        self._reader, self._feed = reader, feed

    @property
    def source(self) -> str:
        """Who tells of these prices."""
        return f"alpaca/{self._feed.value}"

    def latest(self, symbols: Collection[str]) -> dict[str, Seen]:
        """Return what is known of each symbol, in two requests for up to `SYMBOLS_A_REQUEST` of them.

        A symbol that the answer does not name, or that the server refuses by itself, is told as absent.

        Raises:
            TransientError: Alpaca did not answer in time.
            ConfigError: credentials or subscription.
            DataQualityError: an answer of another form.
        """
        ordered = sorted(set(symbols))
        seen: dict[str, Seen] = {}
        for at in range(0, len(ordered), SYMBOLS_A_REQUEST):
            batch = ordered[at : at + SYMBOLS_A_REQUEST]
            quotes, trades = self._ask("quotes", batch), self._ask("trades", batch)
            for symbol in batch:
                seen[symbol] = Seen(
                    quote=self._one(quotes, symbol, quote_of), trade=self._one(trades, symbol, trade_of)
                )
        return seen

    def _one(self, rows: Mapping[str, Any], symbol: str, read: Callable[[object, str], T | NoPrice]) -> T | NoPrice:
        return read(rows[symbol], self.source) if symbol in rows else NoPrice.ABSENT

    def _ask(self, what: str, symbols: list[str]) -> dict[str, Any]:
        parameters = {"symbols": ",".join(symbols), "feed": self._feed.value}
        try:
            rows = self._reader.get(f"/stocks/{what}/latest", parameters).get(what)
        except DataQualityError as refused:
            # One symbol that the server does not take refuses the whole request: the others are asked for without it.
            if refused.fields.get("status") is None:
                raise
            half = len(symbols) // 2
            return self._ask(what, symbols[:half]) | self._ask(what, symbols[half:]) if half else {}
        if rows is not None and not isinstance(rows, dict):
            raise DataQualityError(f"Alpaca's latest {what} are {type(rows).__name__}, not an object by symbol")
        return rows or {}


@contextmanager
def alpaca_latest(config: AlpacaFeedConfig, *, redis_url: str, clock: Clock) -> Iterator[AlpacaLatest]:
    """Give the latest quotes and trades of a key. Nothing is sent until something is asked for."""
    counter = redis.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2)
    budget = RequestBudget(
        counter, key_id=config.key_id, api="data", per_minute=config.requests_per_minute, sleep=time.sleep
    )
    client = StockHistoricalDataClient(config.key_id, config.secret, raw_data=True, url_override=config.url)
    try:
        yield AlpacaLatest(
            AlpacaReader(client, budget=budget, clock=clock, bounds=AT_ORDER_TIME, exact=True), config.feed
        )
    finally:
        counter.close()
