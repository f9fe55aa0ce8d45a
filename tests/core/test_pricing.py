"""What makes a quote or a trade fit for an order: its time, its sides, its width. Nothing else ever is a price."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.core.pricing import PriceRules, Quote, Seen, Trade, price_of
from trading_pipeline.errors import NoPrice, PriceUnavailable

OPENED = datetime(2023, 9, 5, 13, 30, tzinfo=UTC)
NOW = OPENED + timedelta(hours=1)
RULES = PriceRules()


def _quote(bid: str, ask: str, *, age: float = 1, **other: bool) -> Quote:
    return Quote(bid=Decimal(bid), ask=Decimal(ask), at=NOW - timedelta(seconds=age), source="test", **other)


def _trade(price: str, *, age: float = 1) -> Trade:
    return Trade(price=Decimal(price), at=NOW - timedelta(seconds=age), source="test")


def _price(
    quote: Quote | NoPrice = NoPrice.EMPTY, trade: Trade | NoPrice = NoPrice.EMPTY, **other: bool
) -> ReferencePrice | PriceUnavailable:
    return price_of("AAPL", Seen(quote=quote, trade=trade, **other), at=NOW, opened=OPENED, rules=RULES)


def test_a_sane_quote_gives_its_midpoint_with_its_source_and_time() -> None:
    """The trade is not looked at."""
    expected = ReferencePrice(price=Decimal("100.0050"), source="midpoint:test", as_of=NOW - timedelta(seconds=1))
    assert expected == _price(_quote("100.00", "100.01"), _trade("250"))


@pytest.mark.parametrize(
    ("quote", "why"),
    [
        (_quote("100", "99.99"), NoPrice.CROSSED),
        (_quote("0", "100"), NoPrice.ONE_SIDED),
        (_quote("100", "0"), NoPrice.ONE_SIDED),
        (_quote("0", "0"), NoPrice.NO_SIDE),
        (_quote("99", "101.1"), NoPrice.WIDE),
        (_quote("100", "100.01", firm=False), NoPrice.NOT_FIRM),
        (_quote("100", "100.01", age=30.001), NoPrice.STALE),
        (_quote("100", "100.01", age=-2.001), NoPrice.FUTURE),
        (NoPrice.MALFORMED, NoPrice.MALFORMED),
        (NoPrice.ABSENT, NoPrice.ABSENT),
    ],
)
def test_a_quote_that_is_not_fit_gives_way_to_the_last_trade_or_to_nothing(
    quote: Quote | NoPrice, why: NoPrice
) -> None:
    """A fresh trade within its sides stands in; without one the reason is told."""
    refused = _price(quote)
    assert isinstance(refused, PriceUnavailable)
    assert (refused.symbol, refused.reason) == ("AAPL", why)
    assert "AAPL has no price" in refused.message
    price = _price(quote, _trade("100"))
    assert isinstance(price, ReferencePrice)
    assert (price.price, price.source) == (Decimal(100), "trade:test")


@pytest.mark.parametrize("age", [30, 0, -2])
def test_ages_at_the_bounds_are_good(age: float) -> None:
    """30 seconds old, and 2 seconds ahead of our clock."""
    assert isinstance(_price(_quote("100", "100.01", age=age)), ReferencePrice)


def test_a_locked_market_is_sane() -> None:
    """Bid and ask may be equal."""
    price = _price(_quote("100", "100"))
    assert isinstance(price, ReferencePrice)
    assert Decimal(100) == price.price


@pytest.mark.parametrize(
    ("quote", "trade"),
    [
        (_quote("0", "100"), "102.01"),
        (_quote("100", "0"), "97.99"),
        (_quote("100", "99"), "90"),
    ],
)
def test_a_trade_outside_the_quote_is_no_price(quote: Quote, trade: str) -> None:
    """A side that is there bounds it, also when the other is empty or the quote is crossed."""
    refused = _price(quote, _trade(trade))
    assert isinstance(refused, PriceUnavailable)
    assert "outside the quote" in refused.message


def test_what_is_of_before_the_open_is_no_price() -> None:
    """Young enough, but of another market."""
    at = OPENED + timedelta(seconds=5)
    early = Quote(bid=Decimal(100), ask=Decimal("100.01"), at=OPENED - timedelta(seconds=1), source="test")
    refused = price_of("AAPL", Seen(quote=early), at=at, opened=OPENED, rules=RULES)
    assert isinstance(refused, PriceUnavailable)
    assert NoPrice.OTHER_SESSION is refused.reason


def test_a_halt_outweighs_everything() -> None:
    """Told by a trading state, or by the conditions of the quote."""
    for refused in (
        _price(_quote("100", "100.01"), _trade("100"), halted=True),
        _price(_quote("100", "100.01", halted=True), _trade("100")),
    ):
        assert isinstance(refused, PriceUnavailable)
        assert NoPrice.HALTED is refused.reason


@pytest.mark.parametrize("side", ["NaN", "sNaN", "Infinity", "-Infinity", "-0.01"])
def test_no_number_that_is_no_price_can_be_in_a_quote_or_trade(side: str) -> None:
    """They cannot even be made."""
    with pytest.raises(ValueError, match="finite price"):
        Quote(bid=Decimal(side), ask=Decimal(100), at=NOW, source="test")
    with pytest.raises(ValueError, match="finite price"):
        Trade(price=Decimal(side), at=NOW, source="test")


_SIDES = st.decimals(0, 1_000, places=4)
_TIMES = st.integers(-10, 60).map(lambda age: NOW - timedelta(seconds=age))
_QUOTES = st.sampled_from(list(NoPrice)) | st.builds(
    Quote, bid=_SIDES, ask=_SIDES, at=_TIMES, source=st.just("q"), firm=st.booleans(), halted=st.booleans()
)
_TRADES = st.sampled_from(list(NoPrice)) | st.builds(
    Trade, price=st.decimals("0.0001", 1_000, places=4), at=_TIMES, source=st.just("t")
)


@given(quote=_QUOTES, trade=_TRADES, halted=st.booleans())
def test_a_price_is_always_one_that_somebody_quoted_or_paid_in_time(
    quote: Quote | NoPrice, trade: Trade | NoPrice, *, halted: bool
) -> None:
    """Whatever is told: a finite price above 0, within the sides or of the trade, of the session; or a reason."""
    answer = _price(quote, trade, halted=halted)
    if isinstance(answer, PriceUnavailable):
        assert answer.message
        return
    assert not halted
    assert answer.price.is_finite()
    assert answer.price > 0
    assert timedelta(seconds=-2) <= NOW - answer.as_of <= RULES.max_age
    if answer.source == "midpoint:q":
        assert isinstance(quote, Quote)
        assert 0 < quote.bid <= answer.price + Decimal("0.0001")
        assert answer.price <= quote.ask + Decimal("0.0001")
    else:
        assert isinstance(trade, Trade)
        assert (trade.price, "trade:t") == (answer.price, answer.source)
