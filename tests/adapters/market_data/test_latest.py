"""The latest quotes and trades over the real client: exact numbers, many symbols a request, all kinds of nonsense."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from support.alpaca.data_api import LATEST_QUOTES, LATEST_TRADES, latest_routes, quote_json, trade_json
from support.alpaca.server import KEY_ID, SECRET, AlpacaServer, Fault, alpaca_server

from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.market_data.alpaca.bars import Feed
from trading_pipeline.adapters.market_data.alpaca.latest import AlpacaLatest, alpaca_latest
from trading_pipeline.adapters.market_data.alpaca.opening import AlpacaFeedConfig
from trading_pipeline.core.pricing import Quote, Seen, Trade
from trading_pipeline.errors import ConfigError, NoPrice, TransientError

AT = datetime(2023, 9, 5, 14, 30, 0, 123456, tzinfo=UTC)


@contextmanager
def _opened(
    redis_url: str, quotes: Mapping[str, Any], trades: Mapping[str, Any]
) -> Iterator[tuple[AlpacaLatest, AlpacaServer]]:
    with alpaca_server(latest_routes(quotes, trades)) as server:
        config = AlpacaFeedConfig(
            key_id=KEY_ID, secret=SECRET, url=server.url, feed=Feed.SIP, requests_per_minute=10_000
        )
        with alpaca_latest(config, redis_url=redis_url, clock=SystemClock()) as latest:
            yield latest, server


def test_numbers_are_exact_and_times_have_their_zone(redis_url: str) -> None:
    """A price that no float holds arrives as it was written; nanoseconds are cut to microseconds."""
    quotes = {"AAPL": quote_json("100.1", "100.30000000000001", AT), "MSFT": None}
    with _opened(redis_url, quotes, {"AAPL": trade_json("0.1", AT)}) as (latest, server):
        seen = latest.latest(["AAPL", "MSFT", "GONE"])
    expected = Quote(bid=Decimal("100.1"), ask=Decimal("100.30000000000001"), at=AT, source="alpaca/sip")
    assert Seen(quote=expected, trade=Trade(price=Decimal("0.1"), at=AT, source="alpaca/sip")) == seen["AAPL"]
    assert Seen(quote=NoPrice.EMPTY, trade=NoPrice.ABSENT) == seen["MSFT"]
    assert Seen(quote=NoPrice.ABSENT, trade=NoPrice.ABSENT) == seen["GONE"]
    assert [(LATEST_QUOTES, "sip"), (LATEST_TRADES, "sip")] == [
        (path, query["feed"]) for _, path, query in server.journal
    ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"bp": "NaN"}, NoPrice.MALFORMED),
        ({"bp": "-1"}, NoPrice.MALFORMED),
        ({"bp": '"100"'}, NoPrice.MALFORMED),
        ({"bp": "null"}, NoPrice.MALFORMED),
        ({"ap": "Infinity"}, NoPrice.MALFORMED),
        ({"t": '"2023-09-05T14:30:00"'}, NoPrice.NAIVE),
        ({"t": '"yesterday"'}, NoPrice.MALFORMED),
        ({"t": "17"}, NoPrice.MALFORMED),
    ],
)
def test_what_is_no_quote_is_told_as_none(redis_url: str, changes: Mapping[str, str], why: NoPrice) -> None:
    """NaN, negative, text for a number, times that are none or have no zone: a reason, never a price."""
    with _opened(redis_url, {"AAPL": quote_json("100", "100.01", AT, **changes)}, {}) as (latest, _):
        assert why is latest.latest(["AAPL"])["AAPL"].quote


def test_conditions_tell_halts_and_quotes_that_bind_nobody(redis_url: str) -> None:
    """They are part of the quote."""
    quotes = {
        "AAPL": quote_json("100", "100.01", AT, c='["M"]'),
        "MSFT": quote_json("100", "100.01", AT, c='["N"]'),
    }
    with _opened(redis_url, quotes, {}) as (latest, _):
        seen = latest.latest(["AAPL", "MSFT"])
    halted, slow = seen["AAPL"].quote, seen["MSFT"].quote
    assert isinstance(halted, Quote)
    assert isinstance(slow, Quote)
    assert (halted.halted, halted.firm) == (True, True)
    assert (slow.halted, slow.firm) == (False, False)


def test_many_symbols_are_few_requests(redis_url: str) -> None:
    """Two for every two hundred."""
    symbols = [f"S{number}" for number in range(401)]
    with _opened(redis_url, {name: quote_json("1", "1.01", AT) for name in symbols}, {}) as (latest, server):
        seen = latest.latest(symbols)
    assert symbols == sorted(seen, key=lambda name: int(name[1:]))
    assert 6 == len(server.journal)


def test_a_symbol_that_the_server_refuses_keeps_no_other_from_its_price(redis_url: str) -> None:
    """Alpaca refuses the whole request for one symbol it does not take."""
    quotes = {"AAPL": quote_json("100", "100.01", AT), "MSFT": quote_json("300", "300.01", AT)}
    with _opened(redis_url, quotes, {}) as (latest, _):
        seen = latest.latest(["AAPL", "BAD!", "MSFT"])
    assert isinstance(seen["AAPL"].quote, Quote)
    assert isinstance(seen["MSFT"].quote, Quote)
    assert NoPrice.ABSENT is seen["BAD!"].quote


def test_a_server_that_fails_is_asked_twice_and_a_key_that_is_refused_once(redis_url: str) -> None:
    """An order does not wait minutes for its price."""
    with _opened(redis_url, {}, {}) as (latest, server):
        server.plan(Fault(status=500))
        assert {"AAPL"} == set(latest.latest(["AAPL"]))
        server.plan(Fault(status=503), Fault(status=503))
        with pytest.raises(TransientError):
            latest.latest(["AAPL"])
        asked = len(server.journal)
        server.plan(Fault(status=401, body='{"message": "unauthorized."}'))
        with pytest.raises(ConfigError):
            latest.latest(["AAPL"])
        assert asked + 1 == len(server.journal)
