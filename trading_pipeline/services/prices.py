"""The prices of orders on a broker of real time: the market's while it is open, the last close while it is not.

While the exchange is open a price comes from quotes and trades, by the rule of `core/pricing.py`: those that
`trading-pipeline quotes` keeps, else those that Alpaca is asked for. Before the open and after the close what is quoted
is thin and binds nobody: orders are then sized at the close of the latest session, whose source says `close:` and whose
age the guard counts in minutes the exchange was open. Neither stands in for the other.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import structlog

from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.market_data.kept_quotes import KeptQuotes
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.prices import session_closes
from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.core.pricing import PriceRules, Seen, of_market, price_of
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import NoPrice, PipelineError, PriceUnavailable

if TYPE_CHECKING:
    from trading_pipeline.adapters.market_data.alpaca.opening import AlpacaFeedConfig

CACHED_FOR = timedelta(seconds=1)
"""A halt that is told meanwhile is seen that much later, so it is short: many slices of one second are one question."""

log = structlog.get_logger(__name__)

Priced = dict[str, ReferencePrice | PriceUnavailable]


class Latest(Protocol):
    """Tells what is known of symbols now; raises a PipelineError when it cannot be reached."""

    def latest(self, symbols: Collection[str]) -> Mapping[str, Seen]:
        """Return what is known; a symbol without anything may be absent."""
        ...


@dataclass(frozen=True, slots=True)
class _Cached:
    price: ReferencePrice
    known_at: datetime


class MarketPrices:
    """A `PriceSource` of a market. A price is given again for `CACHED_FOR`, and never beyond its own age.

    Args:
        sources: where quotes and trades are looked for, one after the other, for the symbols still without a price.
        closes: the closes of a session, by symbol.
        calendar: the exchange's sessions.
        rules: ages and widths.
    """

    def __init__(
        self,
        sources: Collection[Latest],
        *,
        closes: Callable[[date, Collection[str]], Mapping[str, ReferencePrice]],
        calendar: SessionCalendar,
        rules: PriceRules,
    ) -> None:
        self._sources, self._closes, self._calendar, self._rules = sources, closes, calendar, rules
        self._cache: dict[str, _Cached] = {}

    def prices(self, symbols: Collection[str], at: datetime) -> Priced:
        """Return for every symbol its price at an aware instant, or why it has none; see `PriceSource`."""
        opened = self._opened(at)
        return self._at_close(symbols, at) if opened is None else self._of_market(symbols, at, opened)

    def still_counts(self, price: ReferencePrice, at: datetime) -> bool:
        """Tell whether a price may still be used at an aware instant; the age of a close is the guard's to judge."""
        if not of_market(price):
            return True
        opened = self._opened(at)
        return opened is not None and self._young(price, at, opened)

    def _opened(self, at: datetime) -> datetime | None:
        if not self._calendar.is_open(at):
            return None
        return self._calendar.open_at(at.astimezone(self._calendar.zone).date())

    def _at_close(self, symbols: Collection[str], at: datetime) -> Priced:
        session = self._calendar.latest_closed(at)
        closes = self._closes(session, symbols)
        return {
            symbol: closes.get(symbol) or PriceUnavailable(symbol, NoPrice.NO_CLOSE, session.isoformat())
            for symbol in symbols
        }

    def _of_market(self, symbols: Collection[str], at: datetime, opened: datetime) -> Priced:
        found: Priced = {}
        for symbol in symbols:
            kept = self._cache.get(symbol)
            if kept and timedelta() <= at - kept.known_at <= CACHED_FOR and self._young(kept.price, at, opened):
                found[symbol] = kept.price
        for source in self._sources:
            wanted = [symbol for symbol in symbols if not _settled(found.get(symbol))]
            if wanted:
                found |= self._ask(source, wanted, at, opened, found)
        return {symbol: found.get(symbol) or PriceUnavailable(symbol, NoPrice.UNREACHABLE) for symbol in symbols}

    def _ask(self, source: Latest, symbols: list[str], at: datetime, opened: datetime, so_far: Priced) -> Priced:
        try:
            seen = source.latest(symbols)
        except PipelineError as away:
            log.warning("a source of prices did not answer", reason=away.message, symbols=len(symbols))
            return {
                symbol: so_far.get(symbol) or PriceUnavailable(symbol, NoPrice.UNREACHABLE, away.message)
                for symbol in symbols
            }
        answers: Priced = {}
        for symbol in symbols:
            if symbol not in seen:
                answers[symbol] = so_far.get(symbol) or PriceUnavailable(symbol, NoPrice.ABSENT)
                continue
            answers[symbol] = price = price_of(symbol, seen[symbol], at=at, opened=opened, rules=self._rules)
            if isinstance(price, ReferencePrice):
                self._cache[symbol] = _Cached(price, at)
        return answers

    def _young(self, price: ReferencePrice, at: datetime, opened: datetime) -> bool:
        return opened <= price.as_of and at - price.as_of <= self._rules.max_age


def _settled(answer: ReferencePrice | PriceUnavailable | None) -> bool:
    """True where no other source is asked: there is a price, or a halt, which a slower source may not know."""
    return isinstance(answer, ReferencePrice) or (answer is not None and answer.reason is NoPrice.HALTED)


@contextmanager
def market_prices(
    config: "AlpacaFeedConfig", *, redis_url: str, lake: Lake, calendar: SessionCalendar, rules: PriceRules
) -> Iterator[MarketPrices]:
    """Give the prices of Alpaca's market and the lake's closes. Nothing is asked for until a price is wanted."""
    # alpaca-py takes seconds to import: a process that only loads definitions never pays for it.
    from trading_pipeline.adapters.market_data.alpaca.latest import alpaca_latest  # noqa: PLC0415

    with alpaca_latest(config, redis_url=redis_url, clock=SystemClock()) as rest, closing(connect(redis_url)) as client:
        yield MarketPrices(
            [KeptQuotes(client, rest.source), rest],
            closes=lambda session, symbols: session_closes(lake, session, symbols),
            calendar=calendar,
            rules=rules,
        )
