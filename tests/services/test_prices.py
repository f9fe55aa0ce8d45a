"""Prices at order time: the market's while it is open, the last close while it is not, and never one for the other."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.core.pricing import PriceRules, Quote, Seen
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import NoPrice, PriceUnavailable, TransientError
from trading_pipeline.services.prices import CACHED_FOR, MarketPrices

HALF_DAY = date(2023, 11, 24)
OPENED = xnys().open_at(HALF_DAY)
NOON = OPENED + timedelta(hours=2, minutes=30)
CLOSE = ReferencePrice(price=Decimal(90), source="close:2023-11-22", as_of=datetime(2023, 11, 22, 21, tzinfo=UTC))


@dataclass
class Told:
    """A source that tells what a test says, or fails."""

    seen: Mapping[str, Seen] = field(default_factory=dict)
    away: bool = False
    asked: list[list[str]] = field(default_factory=list)

    def latest(self, symbols: Collection[str]) -> Mapping[str, Seen]:
        """Tell."""
        self.asked.append(sorted(symbols))
        if self.away:
            raise TransientError("no answer in 8 s")
        return {symbol: one for symbol, one in self.seen.items() if symbol in symbols}


def _seen(at: datetime, *, halted: bool = False) -> Seen:
    quote = Quote(bid=Decimal("99.99"), ask=Decimal("100.01"), at=at, source="test")
    return Seen(quote=quote, halted=halted)


def _prices(*sources: Told, closes: Mapping[str, ReferencePrice] | None = None) -> MarketPrices:
    known = {"AAPL": CLOSE} if closes is None else closes

    def of_session(session: date, symbols: Collection[str]) -> Mapping[str, ReferencePrice]:
        assert session in {date(2023, 11, 22), HALF_DAY}
        return {symbol: price for symbol, price in known.items() if symbol in symbols}

    return MarketPrices(sources, closes=of_session, calendar=xnys(), rules=PriceRules())


def _reason(answer: ReferencePrice | PriceUnavailable) -> NoPrice:
    assert isinstance(answer, PriceUnavailable)
    return answer.reason


def test_while_the_exchange_is_open_a_price_is_quoted() -> None:
    """With its own time and source."""
    source = Told({"AAPL": _seen(NOON)})
    (price,) = _prices(source).prices(["AAPL"], NOON).values()
    assert ReferencePrice(price=Decimal("100.0000"), source="midpoint:test", as_of=NOON) == price


@pytest.mark.parametrize(
    "at",
    [OPENED - timedelta(seconds=1), xnys().close_at(HALF_DAY), xnys().close_at(HALF_DAY) + timedelta(minutes=30)],
    ids=["before the open", "at a half day's close", "after it"],
)
def test_while_it_is_closed_a_price_is_the_last_close(at: datetime) -> None:
    """Nobody is asked for quotes that bind nobody; a symbol without a close has no price."""
    source = Told({"AAPL": _seen(at), "MSFT": _seen(at)})
    prices = _prices(source).prices(["AAPL", "MSFT"], at)
    assert CLOSE == prices["AAPL"]
    assert NoPrice.NO_CLOSE is _reason(prices["MSFT"])
    assert [] == source.asked


def test_a_close_never_stands_in_for_a_quote() -> None:
    """In session an old quote is no price, though the close is known."""
    prices = _prices(Told({"AAPL": _seen(NOON - timedelta(seconds=31))})).prices(["AAPL"], NOON)
    assert NoPrice.STALE is _reason(prices["AAPL"])
    assert "AAPL" in str(prices["AAPL"])


@pytest.mark.parametrize("source", ["midpoint:test", "trade:test"])
def test_a_price_counts_until_it_is_too_old_and_in_its_session_only(source: str) -> None:
    """Whenever it was looked up; a close ages in sessions, which the guard counts."""
    prices, allowed = _prices(), PriceRules().max_age
    noon = ReferencePrice(price=Decimal(100), source=source, as_of=NOON)
    assert prices.still_counts(noon, NOON + allowed)
    assert not prices.still_counts(noon, NOON + allowed + timedelta(seconds=1))
    assert not prices.still_counts(noon, xnys().close_at(HALF_DAY))
    assert prices.still_counts(CLOSE, NOON)


def test_the_second_source_is_asked_for_what_the_first_does_not_know() -> None:
    """And for nothing else; what no source names is absent, what none could be asked for is out of reach."""
    kept = Told({"AAPL": _seen(NOON), "MSFT": _seen(NOON - timedelta(minutes=5))})
    asked = Told({"MSFT": _seen(NOON)})
    prices = _prices(kept, asked).prices(["AAPL", "MSFT", "GONE"], NOON)
    assert {"AAPL", "MSFT"} == {symbol for symbol, one in prices.items() if isinstance(one, ReferencePrice)}
    assert NoPrice.ABSENT is _reason(prices["GONE"])
    assert [["GONE", "MSFT"]] == asked.asked


def test_a_source_that_fails_gives_way_to_the_next_and_its_reason_is_told() -> None:
    """Which may have the price; the last reason stands otherwise."""
    away, good = Told(away=True), Told({"AAPL": _seen(NOON)})
    assert isinstance(_prices(away, good).prices(["AAPL"], NOON)["AAPL"], ReferencePrice)
    refused = _prices(away).prices(["AAPL"], NOON)["AAPL"]
    assert NoPrice.UNREACHABLE is _reason(refused)
    assert "no answer in 8 s" in str(refused)


def test_a_halt_told_by_one_source_is_not_overruled_by_another() -> None:
    """The slower one may not know of it yet."""
    other = Told({"AAPL": _seen(NOON)})
    prices = _prices(Told({"AAPL": _seen(NOON, halted=True)}), other).prices(["AAPL"], NOON)
    assert NoPrice.HALTED is _reason(prices["AAPL"])
    assert [] == other.asked


def test_a_price_is_given_again_for_a_second_and_never_beyond_its_age() -> None:
    """Many slices of one second are one request."""
    tenth = CACHED_FOR / 10
    source = Told({"AAPL": _seen(NOON - timedelta(seconds=30) + 8 * tenth)})
    prices = _prices(source)
    first = prices.prices(["AAPL"], NOON)["AAPL"]
    assert first == prices.prices(["AAPL"], NOON + 8 * tenth)["AAPL"]
    assert 1 == len(source.asked)
    assert NoPrice.STALE is _reason(prices.prices(["AAPL"], NOON + 9 * tenth)["AAPL"])
    source.seen = {"AAPL": _seen(NOON)}
    assert isinstance(prices.prices(["AAPL"], NOON + 9 * tenth)["AAPL"], ReferencePrice)
    assert first != prices.prices(["AAPL"], NOON + 20 * tenth)["AAPL"]


def test_a_halt_is_seen_when_the_price_of_before_it_is_a_second_old() -> None:
    """No longer than that is a price given again."""
    source = Told({"AAPL": _seen(NOON)})
    prices = _prices(source)
    assert isinstance(prices.prices(["AAPL"], NOON)["AAPL"], ReferencePrice)
    source.seen = {"AAPL": _seen(NOON, halted=True)}
    later = NOON + timedelta(seconds=1, microseconds=1)
    assert NoPrice.HALTED is _reason(prices.prices(["AAPL"], later)["AAPL"])
