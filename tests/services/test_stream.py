"""The stream process keeps what it is told, sweeps for what it is not, and ends only for a key that is not taken."""

from decimal import Decimal
from functools import partial

import pytest
from support.alpaca.bench import Bench
from support.alpaca.server import KEY_ID, SECRET
from support.alpaca.stream import TradeUpdates
from support.trading import ACCOUNT, RUN, order
from support.waiting import running, until

from trading_pipeline.adapters.alpaca.websocket import StreamConfig
from trading_pipeline.adapters.broker.alpaca.stream import AlpacaStream
from trading_pipeline.adapters.broker.alpaca.updates import trade_update
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ConfigError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.stream import Pace, StreamService
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare

READ = partial(trade_update, calendar=xnys())
NEVER = 1e9


def _service(account: TradingAccount, updates: TradeUpdates, *, sweep: float = NEVER) -> StreamService:
    config = StreamConfig(url=updates.url, key_id=KEY_ID, secret=SECRET)
    pace = Pace(look=0.05, sweep=sweep, first_wait=0.05, longest_wait=0.2)
    return StreamService(account, AlpacaStream(config), READ, pace=pace)


def _send(account: TradingAccount, *symbols: str) -> list[str]:
    sent = SubmissionService(account, RUN).submit_all([order(symbol) for symbol in symbols])
    return [one.order.client_order_id for one in sent]


def _ended(account: TradingAccount, *ids: str) -> bool:
    return all(one.state.terminal for one in account.ledger.orders.get_many(ids).values())


@pytest.mark.parametrize("binary", [True, False], ids=["binary frames", "text frames"])
def test_the_stream_books_without_a_sweep(
    account: TradingAccount, bench: Bench, updates: TradeUpdates, *, binary: bool
) -> None:
    """Doubled, held back and given in another order: each execution once."""
    updates.binary = binary
    service = _service(account, updates)
    with running(service):
        updates.wait_for_listener()
        apple, microsoft = _send(account, "AAPL", "MSFT")
        updates.plan("duplicate", "hold", "hold", "hold")
        bench.exchange.fill(apple, 3)
        bench.exchange.fill(apple)
        bench.exchange.fill(microsoft, 4)
        bench.exchange.end(microsoft, "canceled")
        updates.release()
        until(lambda: _ended(account, apple, microsoft))
    assert 0 == service.found_by_sweep
    assert [] == compare(account)


def test_what_is_told_while_it_is_disconnected_is_swept(
    account: TradingAccount, bench: Bench, updates: TradeUpdates
) -> None:
    """Every connection is followed by a sweep, for a stream replays nothing."""
    (apple,) = _send(account, "AAPL")
    service = _service(account, updates)
    with running(service):
        updates.wait_for_listener()
        updates.plan("lose")
        bench.exchange.fill(apple)
        bench.waits.sleep(30)
        updates.disconnect()
        updates.wait_for_listener(2)
        until(lambda: _ended(account, apple))
    assert OrderState.FILLED is account.ledger.orders.get_many([apple])[apple].state
    assert 1 == service.found_by_sweep
    assert [] == compare(account)


def test_a_mute_stream_is_found_by_a_sweep_and_opened_anew(
    account: TradingAccount, bench: Bench, updates: TradeUpdates
) -> None:
    """The connection stands and answers pings, but tells nothing: an alert says so."""
    (apple,) = _send(account, "AAPL")
    swept = bench.server.count("GET", "/v2/orders")
    service = _service(account, updates, sweep=0.2)
    with running(service):
        updates.wait_for_listener()
        updates.mute = True
        # Two sweeps of an open order: the second is not the one that follows connecting.
        until(lambda: bench.server.count("GET", "/v2/orders") >= swept + 2)
        bench.exchange.fill(apple)
        bench.waits.sleep(30)
        updates.wait_for_listener(2)
        until(lambda: _ended(account, apple))
    assert "stream_mute" in {alert["kind"] for alert in account.ledger.alerts.latest()}
    assert {"AAPL": Decimal(10)} == account.broker.positions()
    assert [] == compare(account)


def test_an_end_that_only_a_sweep_saw_shows_a_mute_stream_too(
    account: TradingAccount, bench: Bench, updates: TradeUpdates
) -> None:
    """The order shows that it is filled before its execution is shown: no later sweep finds anything new."""
    (apple,) = _send(account, "AAPL")
    service = _service(account, updates, sweep=0.2)
    with running(service):
        updates.wait_for_listener()
        updates.mute = True
        until(lambda: bench.server.count("GET", "/v2/orders") >= 5)
        bench.exchange.lag("activities")
        bench.exchange.fill(apple)
        bench.waits.sleep(30)
        updates.wait_for_listener(2)
        bench.exchange.catch_up()
        until(lambda: _ended(account, apple))
    assert "stream_mute" in {alert["kind"] for alert in account.ledger.alerts.latest()}


def test_a_malformed_frame_stops_nothing(account: TradingAccount, bench: Bench, updates: TradeUpdates) -> None:
    """It is a dead letter, and the next one is booked."""
    service = _service(account, updates)
    with running(service):
        updates.wait_for_listener()
        (apple,) = _send(account, "AAPL")
        updates.plan("malformed", None)
        bench.exchange.fill(apple, 4)
        bench.exchange.fill(apple)
        until(lambda: bool(account.ledger.fills.of_order(apple)) and bool(account.ledger.inbox.dead(ACCOUNT)))
    assert [Decimal(6)] == [row["qty"] for row in account.ledger.fills.of_order(apple)]


def test_a_key_that_is_not_taken_ends_it(account: TradingAccount, updates: TradeUpdates) -> None:
    """Trying again would not help; the message says which variables to look at."""
    updates.admits = False
    with pytest.raises(ConfigError, match=r"does not take the key PKTEST.*ALPACA_API_KEY_ID"):
        _service(account, updates).run()
