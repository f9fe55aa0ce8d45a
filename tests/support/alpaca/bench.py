"""An Alpaca account on loopback, and the real client's broker on it; time moves only when a test moves it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import redis
from alpaca.trading.client import TradingClient

from support.alpaca.exchange import ACCOUNT_ID, PaperExchange
from support.alpaca.server import KEY_ID, SECRET, AlpacaServer, alpaca_server
from support.alpaca.trading_api import TradingApi
from support.trading import ACCOUNT, ACTION, intent, valuation
from support.virtual_time import virtual_time
from trading_pipeline.adapters.alpaca.budget import RequestBudget
from trading_pipeline.adapters.alpaca.transport import AlpacaReader, Bounds
from trading_pipeline.adapters.broker.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.broker.alpaca.writer import AlpacaWriter
from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import Ledger, migrate
from trading_pipeline.core.orders.model import OrderIntent
from trading_pipeline.core.risk.clearance import Clearance, ClearanceRequest, MarketFacts
from trading_pipeline.core.risk.issuing import issue_clearance
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations

OPEN = datetime(2023, 9, 5, 14, 0, tzinfo=UTC)
"""Half an hour into the session after `support.trading.SESSION`, whose orders work in it."""
QUICK = Bounds(
    connect_seconds=2, read_seconds=1.5, total_seconds=2, attempts=3, first_wait_seconds=1, budget_patience_seconds=5
)
"""A server that hangs costs a test so much. Less, and a machine that stands still for a moment is a lost answer."""


def alpaca_variables(server: AlpacaServer, database_url: str, redis_url: str) -> dict[str, str]:
    """Return what a process of its own trades this account by."""
    return {
        "DRY_RUN": "false",
        "ALPACA_BASE_URL": server.url,
        "ALPACA_DATA_URL": server.url,
        "ALPACA_API_KEY_ID": KEY_ID,
        "ALPACA_API_SECRET_KEY": SECRET,
        "ALPACA_ACCOUNT_ID": ACCOUNT_ID,
        "ACCOUNT": ACCOUNT,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
    }


@dataclass
class Waits:
    """A clock that moves only when somebody waits."""

    instant: datetime = OPEN
    waited: list[float] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    def now(self) -> datetime:
        """Return the instant reached by waiting."""
        return self.instant

    def pause(self, duration: timedelta) -> None:
        """Move the clock, and let happen what happens meanwhile."""
        self.sleep(duration.total_seconds())
        self.meanwhile()

    def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.waited.append(seconds)
        self.instant += timedelta(seconds=seconds)

    def monotonic(self) -> float:
        """Return the seconds since the beginning."""
        return self.instant.timestamp()


@dataclass
class Bench:
    """The account, its server and ways to make brokers of it."""

    exchange: PaperExchange
    server: AlpacaServer
    counter: redis.Redis
    waits: Waits

    def begin_anew(self) -> None:
        """Serve another account with money, no orders and four symbols, from the first instant on."""
        self.waits.instant = OPEN
        self.exchange = _opened(self.waits)
        self.server.application = TradingApi(self.exchange)

    def there(self) -> object:
        """Return all that is at the broker, and the instant: who comes later may find another thing to do."""
        return self.waits.instant, repr(self.exchange.books)

    def broker(self, *, account_id: str = ACCOUNT_ID, secret: str = SECRET, per_minute: int = 60_000) -> AlpacaBroker:
        """Open a broker as a process of its own would."""
        client = TradingClient(KEY_ID, secret, raw_data=True, url_override=self.server.url)
        budget = self._budget(per_minute)
        return AlpacaBroker(
            "Alpaca paper",
            reader=AlpacaReader(client, budget=budget, clock=self.waits, bounds=QUICK, sleep=self.waits.sleep),
            writer=self.writer(secret=secret, per_minute=per_minute),
            account_id=account_id,
            calendar=xnys(),
            clock=self.waits,
            monotonic=self.waits.monotonic,
        )

    def writer(self, *, url: str | None = None, secret: str = SECRET, per_minute: int = 60_000) -> AlpacaWriter:
        """Open what sends."""
        client = TradingClient(KEY_ID, secret, raw_data=True, url_override=url or self.server.url)
        return AlpacaWriter(client, budget=self._budget(per_minute), clock=self.waits, bounds=QUICK)

    def broker_client(self) -> TradingClient:
        """Open a client of somebody else's, who trades the account by hand."""
        return TradingClient(KEY_ID, SECRET, raw_data=True, url_override=self.server.url)

    def _budget(self, per_minute: int) -> RequestBudget:
        return RequestBudget(self.counter, key_id=KEY_ID, api="trading", per_minute=per_minute, sleep=self.waits.sleep)


def send(broker: AlpacaBroker, wanted: OrderIntent | None = None) -> BrokerOrder:
    """Send an order as if the guard had cleared it."""
    order = wanted or intent()
    return broker.submit(order, cleared(order))


def cleared(order: OrderIntent) -> Clearance:
    """Issue what the guard would."""
    market = MarketFacts(reference_ticks=None, reference_age_seconds=None)
    request = ClearanceRequest.of(order, market=market, epoch=1, min_sequence=0)
    return issue_clearance(request, epoch=1, sequence=1)


def _opened(waits: Waits) -> PaperExchange:
    prices = {"AAPL": Decimal("189.46"), "MSFT": Decimal("330.25"), "NVDA": Decimal("485.09"), "F": Decimal("0.95")}
    return PaperExchange(now=waits.now, prices=prices)


@contextmanager
def alpaca_bench(redis_url: str, waits: Waits | None = None) -> Iterator[Bench]:
    """Give an account with money, no orders and four symbols."""
    waits = waits or Waits()
    exchange = _opened(waits)
    counter = redis.Redis.from_url(redis_url, socket_timeout=5)
    try:
        with alpaca_server(application=TradingApi(exchange)) as server:
            yield Bench(exchange, server, counter, waits)
    finally:
        counter.close()


@contextmanager
def alpaca_account(database_url: str, redis_url: str, bench: Bench) -> Iterator[TradingAccount]:
    """Open an account with an initialised book on the bench's server."""
    virtual_time(database_url)
    migrate(database_url)
    client = connect(redis_url)
    try:
        with Ledger(database_url) as ledger:
            account = TradingAccount(
                account=ACCOUNT,
                strategy_id="tested",
                ledger=ledger,
                guard=RiskGuard(client, ACCOUNT),
                broker=bench.broker(),
                calendar=xnys(),
                clock=bench.waits,
                valuation=valuation(),
            )
            RiskOperations(account).initialize_risk_book(RiskLimits(), ACTION)
            yield account
    finally:
        client.close()
