"""The quote process listens to what somebody needs, over lost connections too; what it keeps counts while it lives."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import redis
from support.alpaca.data_api import quote_json, trade_json
from support.alpaca.quotes import QuoteFeed, quote_feed
from support.alpaca.server import KEY_ID, SECRET
from support.waiting import running, until

from trading_pipeline.adapters.alpaca.websocket import StreamConfig
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.market_data.alpaca.quote_stream import AlpacaQuoteStream
from trading_pipeline.adapters.market_data.kept_quotes import ALIVE_FOR, KeptQuotes
from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.core.pricing import PriceRules, Quote
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ConfigError, NoPrice, PriceUnavailable, ServerUnavailable, TransientError
from trading_pipeline.services.prices import MarketPrices
from trading_pipeline.services.quotes import QuotePace, QuoteService

AT = datetime(2023, 9, 5, 14, 30, tzinfo=UTC)


@pytest.fixture
def feed() -> Iterator[QuoteFeed]:
    """A stream on loopback."""
    with quote_feed() as opened:
        yield opened


@pytest.fixture
def kept(redis_url: str) -> Iterator[KeptQuotes]:
    """What the process keeps, as another process reads it."""
    with closing(connect(redis_url)) as client:
        yield KeptQuotes(client, "alpaca/sip")


def _service(
    feed: QuoteFeed,
    keeper: KeptQuotes,
    needs: dict[str, Callable[[], Collection[str]]],
    *,
    secret: str = SECRET,
    open_now: bool = False,
    silence: float = 20.0,
) -> QuoteService:
    config = StreamConfig(url=feed.url, key_id=KEY_ID, secret=secret, silence_seconds=silence)
    stream = AlpacaQuoteStream(config)
    pace = QuotePace(look=0.05, needs=0.05, first_wait=0.05, longest_wait=0.2, silence=0.3)
    return QuoteService(stream, keeper, needs, most=3, trading=lambda: open_now, pace=pace)


def _quote(symbol: str, bid: str, ask: str, at: datetime = AT) -> str:
    return quote_json(bid, ask, at, T='"q"', S=f'"{symbol}"')


def _trade(symbol: str, price: str, at: datetime = AT) -> str:
    return trade_json(price, at, T='"t"', S=f'"{symbol}"')


def _status(symbol: str, code: str) -> str:
    return f'{{"T": "s", "S": "{symbol}", "sc": "{code}", "sm": "said", "t": "2023-09-05T14:30:00Z", "z": "C"}}'


def test_a_symbol_that_another_source_needs_is_not_dropped(feed: QuoteFeed, kept: KeptQuotes) -> None:
    """A position is sold while the symbol is still wanted: it is listened to until nobody needs it."""
    held, wanted = {"AAPL", "MSFT"}, {"AAPL"}
    with running(_service(feed, kept, {"position": lambda: set(held), "target": lambda: set(wanted)})):
        until(lambda: feed.listened["quotes"] == {"AAPL", "MSFT"})
        held.clear()
        until(lambda: feed.listened["quotes"] == {"AAPL"})
        wanted.clear()
        until(lambda: not feed.listened["quotes"])
    assert [("subscribe", ("AAPL", "MSFT")), ("unsubscribe", ("MSFT",)), ("unsubscribe", ("AAPL",))] == feed.said


def test_what_is_told_is_a_price_while_the_process_lives(feed: QuoteFeed, kept: KeptQuotes, redis_url: str) -> None:
    """Exact to the digit, without asking anybody else; of what is no quote there is no price; afterwards nothing."""
    prices = MarketPrices([kept], closes=lambda *_: {}, calendar=xnys(), rules=PriceRules())
    with running(_service(feed, kept, {"manual": lambda: {"AAPL", "MSFT", "F"}})):
        until(lambda: len(feed.listened["quotes"]) == 3)
        feed.send("certainly { not json")
        feed.tell(_quote("AAPL", "100.1", "100.30000000000001"), _quote("MSFT", "NaN", "1"), _trade("MSFT", "330.25"))
        feed.tell(_quote("F", "0.94", "0.96"), _status("F", "H"))
        until(lambda: kept.latest(["F"]).get("F") is not None and kept.latest(["F"])["F"].halted)
        seen = kept.latest(["AAPL", "MSFT", "F", "NVDA"])
        assert {"AAPL", "MSFT", "F"} == set(seen)
        quote = seen["AAPL"].quote
        assert isinstance(quote, Quote)
        assert (Decimal("100.1"), Decimal("100.30000000000001"), AT) == (quote.bid, quote.ask, quote.at)
        found = prices.prices(["AAPL", "MSFT", "F"], AT + timedelta(seconds=5))
        assert "midpoint:alpaca/sip" == _source(found["AAPL"])
        assert "trade:alpaca/sip" == _source(found["MSFT"])
        assert NoPrice.HALTED is _reason(found["F"])
        feed.tell(_status("F", "T"))
        until(lambda: not kept.latest(["F"])["F"].halted)
    assert {} == kept.latest(["AAPL"])
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert 0 == client.exists("quotes:{alpaca/sip}:alive")


def test_a_lost_connection_is_opened_anew_and_asks_for_everything_again(feed: QuoteFeed, kept: KeptQuotes) -> None:
    """What was told before is forgotten: it may have changed unheard."""
    with running(_service(feed, kept, {"manual": lambda: {"AAPL"}})):
        until(lambda: feed.listened["quotes"] == {"AAPL"})
        feed.tell(_quote("AAPL", "100", "100.01"))
        until(lambda: "AAPL" in kept.latest(["AAPL"]))
        feed.disconnect()
        until(lambda: feed.connected == 2 and feed.listened["quotes"] == {"AAPL"})
        until(lambda: kept.latest(["AAPL"]) == {})
        feed.tell(_quote("AAPL", "101", "101.01"))
        until(lambda: "AAPL" in kept.latest(["AAPL"]))


def test_a_stream_that_tells_nothing_while_the_exchange_is_open_is_opened_anew(
    feed: QuoteFeed, kept: KeptQuotes
) -> None:
    """Its connection stands and its pings are answered; what was kept counts no more, and all is asked for again."""
    with running(_service(feed, kept, {"manual": lambda: {"AAPL"}}, open_now=True)):
        until(lambda: feed.listened["quotes"] == {"AAPL"})
        feed.tell(_quote("AAPL", "100", "100.01"))
        until(lambda: "AAPL" in kept.latest(["AAPL"]))
        until(lambda: feed.connected >= 3)
    assert {("subscribe", ("AAPL",))} == set(feed.said)
    assert len(feed.said) >= 2


def test_a_server_that_answers_no_pings_is_connected_to_anew(feed: QuoteFeed, kept: KeptQuotes) -> None:
    """Its connection stands, and the exchange is closed: only the pings show that nobody is there."""
    with running(_service(feed, kept, {"manual": lambda: {"AAPL"}}, silence=0.6)):
        until(lambda: feed.listened["quotes"] == {"AAPL"})
        with feed.deaf():
            until(lambda: feed.connected == 2)
        until(lambda: feed.said == [("subscribe", ("AAPL",))] * 2)
        feed.tell(_quote("AAPL", "101", "101.01"))
        until(lambda: "AAPL" in kept.latest(["AAPL"]))


@pytest.mark.parametrize(("open_now", "symbols"), [(False, {"AAPL"}), (True, set[str]())])
def test_silence_is_no_fault_while_the_exchange_is_closed_or_nothing_is_asked_for(
    open_now: bool, symbols: set[str], feed: QuoteFeed, kept: KeptQuotes
) -> None:
    """Three times as long as would be a fault, by the looks that were made."""
    looks: list[int] = []

    def needed() -> set[str]:
        looks.append(len(looks))
        return symbols

    needs: dict[str, Callable[[], Collection[str]]] = {"manual": needed}
    with running(_service(feed, kept, needs, open_now=open_now)):
        until(lambda: len(looks) > 18)
    assert 1 == feed.connected


def test_a_source_that_cannot_tell_needs_what_it_needed_before(feed: QuoteFeed, kept: KeptQuotes) -> None:
    """A ledger that is away takes no quotes from what is held, whatever the others say."""
    away, wanted = threading.Event(), {"F"}

    def positions() -> Collection[str]:
        if away.is_set():
            raise ServerUnavailable("the ledger is away")
        return {"AAPL"}

    with running(_service(feed, kept, {"position": positions, "target": lambda: set(wanted)})):
        until(lambda: feed.listened["quotes"] == {"AAPL", "F"})
        away.set()
        wanted.clear()
        until(lambda: feed.listened["quotes"] == {"AAPL"})
        feed.disconnect()
        until(lambda: feed.connected == 2 and feed.listened["quotes"] == {"AAPL"})


def test_more_symbols_than_there_are_places_go_without(feed: QuoteFeed, kept: KeptQuotes) -> None:
    """Positions first; the server is never asked for more than it takes."""
    feed.most = 3
    needs = {"position": lambda: {"MSFT", "NVDA"}, "manual": lambda: {"AAPL", "F"}}
    with running(_service(feed, kept, needs)):
        until(lambda: feed.listened["quotes"] == {"MSFT", "NVDA", "AAPL"})
    assert 1 == feed.connected


def test_a_key_that_is_not_taken_ends_the_process_by_name(feed: QuoteFeed, kept: KeptQuotes) -> None:
    """Trying again would not help; as many connections as the key allows may end."""
    with pytest.raises(ConfigError, match="does not take the key"):
        _service(feed, kept, {}, secret=KEY_ID).run()
    feed.refuses = (406, "connection limit exceeded")
    stream = AlpacaQuoteStream(StreamConfig(url=feed.url, key_id=KEY_ID, secret=SECRET))
    with pytest.raises(TransientError, match="406"), stream.open():
        pytest.fail("it was let in")


def test_what_is_kept_counts_for_seconds_after_a_process_was_killed(kept: KeptQuotes, redis_url: str) -> None:
    """It could not say that it ended: nobody is told of the quote's end by its silence for longer."""
    kept.begin()
    kept.listening()
    kept.keep([{"T": "q", "S": "AAPL", "bp": Decimal(100), "ap": Decimal("100.01"), "t": AT.isoformat()}])
    assert {"AAPL"} == set(kept.latest(["AAPL"]))
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert 0 < client.pttl("quotes:{alpaca/sip}:alive") <= ALIVE_FOR.total_seconds() * 1000
        client.pexpire("quotes:{alpaca/sip}:alive", 0)
    assert {} == kept.latest(["AAPL"])


def _source(price: ReferencePrice | PriceUnavailable) -> str:
    assert isinstance(price, ReferencePrice)
    return price.source


def _reason(price: ReferencePrice | PriceUnavailable) -> NoPrice:
    assert isinstance(price, PriceUnavailable)
    return price.reason


@pytest.mark.parametrize(
    "message",
    [
        {"T": "q", "S": "AAPL", "bp": Decimal(100), "ap": Decimal("100.01"), "t": Decimal("1.5")},
        {"T": "q", "S": "AAPL", "bp": Decimal(1), "ap": Decimal(2), "t": AT.isoformat(), "c": [Decimal("1.5")]},
        {"T": "q", "S": "AAPL", "bp": Decimal(1), "ap": Decimal(2), "t": AT.isoformat(), "c": "R"},
        {"T": ["q"], "S": "AAPL"},
        {"T": "q", "S": ["AAPL"]},
        {"T": "s", "S": "AAPL", "sc": Decimal("1.5")},
    ],
)
def test_a_message_of_another_form_is_no_price_and_no_end(kept: KeptQuotes, message: dict[str, object]) -> None:
    """Numbers, lists and fractions where text belongs."""
    kept.begin()
    kept.listening()
    kept.keep([message])
    for seen in kept.latest(["AAPL"]).values():
        assert not isinstance(seen.quote, Quote)
        assert not seen.halted


def test_a_server_that_answers_no_key_in_time_is_asked_again(feed: QuoteFeed) -> None:
    """404 is its word for a time-out of ours; another form of an answer is no verdict about the key either."""
    stream = AlpacaQuoteStream(StreamConfig(url=feed.url, key_id=KEY_ID, secret=SECRET))
    for code in (404, ["402"]):
        feed.refuses = (code, "auth timeout")
        with pytest.raises(TransientError), stream.open():
            pytest.fail("it was let in")


class _Noted(threading.Event):
    """Notes how long somebody would wait, and ends everything at the sixth time."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        if len(self.waits) == 6:
            self.set()
        return self.is_set()


def test_a_server_that_takes_the_key_and_refuses_the_symbols_is_asked_less_and_less(
    feed: QuoteFeed, kept: KeptQuotes
) -> None:
    """Each connection is refused at once: the waits double up to the longest."""
    feed.most = 0
    service = _service(feed, kept, {"manual": lambda: {"AAPL"}})
    service._stop = noted = _Noted()
    service.run()
    assert [0.1, 0.2, 0.2, 0.2, 0.2, 0.2] == noted.waits
    assert 6 == feed.connected
