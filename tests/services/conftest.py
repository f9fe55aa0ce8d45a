"""The account under test: on the simulated exchange, or on an Alpaca account on loopback."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.alpaca.bench import Bench, alpaca_account, alpaca_bench
from support.alpaca.stream import TradeUpdates, trade_updates
from support.dying import Onlooker, Wires, looking_on, wires
from support.servers import fresh_database
from support.trading import Kit, trading_kit
from support.virtual_time import virtual_time
from support.window import IN_TIME, WINDOW

from trading_pipeline.adapters.store.ledger import migrate
from trading_pipeline.embedded import ServerUrls
from trading_pipeline.services.account import TradingAccount


@pytest.fixture(scope="module")
def database(servers: ServerUrls) -> Iterator[str]:
    """One database of virtual time for all cases of a file: each has an account of its own."""
    with fresh_database(servers) as url:
        virtual_time(url)
        migrate(url)
        yield url


@pytest.fixture
def opened(database: str, redis_url: str) -> Iterator[Wires]:
    """Connections for the processes of all cases of a test."""
    with wires(database, redis_url) as shared:
        yield shared


@pytest.fixture
def onlooker(database: str, redis_url: str) -> Iterator[Onlooker]:
    """Somebody who sees what they leave."""
    with looking_on(database, redis_url) as looking:
        yield looking


@pytest.fixture
def kit(database_url: str, redis_url: str) -> Iterator[Kit]:
    """An account on real servers, its book initialised, its exchange standing at the test session."""
    with trading_kit(database_url, redis_url) as opened:
        yield opened


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    """An Alpaca account on loopback."""
    with alpaca_bench(redis_url) as running:
        yield running


@pytest.fixture
def updates(bench: Bench) -> Iterator[TradeUpdates]:
    """Its stream."""
    with trade_updates(bench.exchange) as running:
        yield running


@pytest.fixture
def account(database_url: str, redis_url: str, bench: Bench) -> Iterator[TradingAccount]:
    """Our account on it, with a book."""
    with alpaca_account(database_url, redis_url, bench) as opened:
        yield opened


@pytest.fixture
def early(bench: Bench) -> None:
    """An instant in the window; use it for the whole file, so that an account is opened at it."""
    bench.waits.instant = IN_TIME


@pytest.fixture
def bound(account: TradingAccount) -> TradingAccount:
    """Our account with a window."""
    return replace(account, window=WINDOW)
