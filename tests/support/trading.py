"""A whole trading account on real servers, and a broker that misbehaves on purpose."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from support.virtual_time import shift_time, virtual_time
from trading_pipeline.adapters.broker.matching import ExchangeCosts, OpeningBar
from trading_pipeline.adapters.broker.protocol import Broker, BrokerOrder, Execution
from trading_pipeline.adapters.broker.simulated import SimulatedExchange
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import Ledger, NewOrder, migrate
from trading_pipeline.core.orders.model import OrderIntent, OrderType, Purpose, ReferencePrice, Side
from trading_pipeline.core.risk.clearance import Clearance
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.valuation import Quotes, Valuation

ACCOUNT = "test-account"
SESSION = date(2023, 9, 1)
ACTION = OperatorAction(operator="ada", reason="the reason a test has to act")
RUN = Provenance(run_id="run", sessions=())
RICH = Decimal(100_000_000)
"""Capital that no loss of a test makes a dent in."""
FREE = ExchangeCosts(slippage_bps=Decimal(0), commission_per_share=Decimal(0), minimum_commission=Decimal(0))
BROAD = RiskLimits(
    max_order_shares=10**6,
    max_position_shares=10**7,
    max_position_notional=Decimal(10**10),
    max_gross_notional=Decimal(10**10),
    max_long_notional=Decimal(10**10),
    max_net_notional=Decimal(10**10),
    max_orders_per_session=10**6,
    max_notional_per_session=Decimal(10**10),
    max_orders_per_second=10**6,
    max_orders_per_minute=10**6,
)
"""Limits that no benchmark reaches."""


def intent(
    symbol: str = "AAPL",
    side: Side = Side.BUY,
    qty: int = 10,
    *,
    session: date = SESSION,
    price: Decimal = Decimal(100),
    limit_price: Decimal | None = None,
    purpose: Purpose = Purpose.REBALANCE,
    repeat: int = 0,
) -> OrderIntent:
    """Build a valid intent; what a test cares about is said at the call."""
    return OrderIntent(
        account=ACCOUNT,
        strategy_id="tested",
        session=session,
        trade_session=xnys().next(session),
        symbol=symbol,
        side=side,
        qty=qty,
        reference=ReferencePrice(price=price, source="test", as_of=xnys().close_at(session)),
        order_type=OrderType.MARKET if limit_price is None else OrderType.LIMIT,
        limit_price=limit_price,
        purpose=purpose,
        repeat=repeat,
    )


def order(*arguments: object, **named: object) -> NewOrder:
    """Build a new order around `intent`."""
    return NewOrder(intent=intent(*arguments, **named))


def flat_market(price: Decimal = Decimal(100)) -> Callable[[date, Collection[str]], dict[str, OpeningBar]]:
    """Give every symbol the same price and plenty of volume, every session."""
    return lambda _, symbols: {
        symbol: OpeningBar(open=price, high=price, low=price, volume=100_000_000) for symbol in symbols
    }


@dataclass
class ManualClock:
    """A clock the test moves, and the database's with it."""

    database_url: str
    instant: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        """Return what it was set to."""
        return self.instant

    def pause(self, duration: timedelta) -> None:
        """Let time pass without waiting for it."""
        self.advance(duration.total_seconds())

    def advance(self, seconds: float) -> None:
        """Move both on."""
        self.instant += timedelta(seconds=seconds)
        shift_time(self.database_url, seconds)


class FaultyBroker:
    """A real broker behind a line that fails as told: before the order arrives, or after."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.sent: list[str] = []
        self.cancel_failures: list[Exception] = []
        self.foreign: list[BrokerOrder] = []
        self.hides_executions = False
        self.hides_averages = False

    def submit(self, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Raise what was planned for before, submit, raise what was planned for after."""
        if self.before:
            raise self.before.pop(0)
        self.sent.append(intent.client_order_id)
        answer = self._broker.submit(intent, clearance)
        if self.after:
            raise self.after.pop(0)
        return answer

    def cancel(self, client_order_id: str) -> BrokerOrder | None:
        """Raise what was planned, else cancel."""
        if self.cancel_failures:
            raise self.cancel_failures.pop(0)
        return self._broker.cancel(client_order_id)

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """Pass on, without the average price if that is hidden."""
        return self.find_many([client_order_id]).get(client_order_id)

    def find_many(self, client_order_ids: Collection[str]) -> dict[str, BrokerOrder]:
        """Pass on, without average prices if they are hidden."""
        found = self._broker.find_many(client_order_ids)
        return {key: replace(one, average_price=None) for key, one in found.items()} if self.hides_averages else found

    def open_orders(self) -> list[BrokerOrder]:
        """Show what others placed as well."""
        return [*self._broker.open_orders(), *self.foreign]

    def executions(self, client_order_ids: Sequence[str]) -> list[Execution]:
        """Pass on, unless they are hidden."""
        return [] if self.hides_executions else self._broker.executions(client_order_ids)

    def __getattr__(self, name: str) -> object:
        return getattr(self._broker, name)


@dataclass
class Kit:
    """An account with its parts at hand."""

    account: TradingAccount
    broker: FaultyBroker
    exchange: SimulatedExchange
    clock: ManualClock
    operations: RiskOperations

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        return self.account.ledger

    @property
    def guard(self) -> RiskGuard:
        """The guard."""
        return self.account.guard

    def positions(self) -> dict[str, Decimal]:
        """Shares by symbol, as the ledger has them."""
        return {symbol: one.qty for symbol, one in self.ledger.fills.positions(ACCOUNT).items()}


@contextmanager
def trading_kit(
    database_url: str,
    redis_url: str,
    *,
    limits: RiskLimits | None = None,
    costs: ExchangeCosts = FREE,
    openings: Callable[[date, Collection[str]], dict[str, OpeningBar]] | None = None,
    initialise: bool = True,
) -> Iterator[Kit]:
    """Open an account whose exchange stands at `SESSION` and whose book is initialised."""
    virtual_time(database_url)
    migrate(database_url)
    exchange = SimulatedExchange(
        database_url, account=ACCOUNT, calendar=xnys(), openings=openings or flat_market(), costs=costs
    )
    client, broker, clock = connect(redis_url), FaultyBroker(exchange), ManualClock(database_url)
    try:
        with Ledger(database_url) as ledger:
            account = TradingAccount(
                account=ACCOUNT,
                strategy_id="tested",
                ledger=ledger,
                guard=RiskGuard(client, ACCOUNT),
                broker=broker,
                calendar=xnys(),
                clock=clock,
                valuation=valuation(),
            )
            exchange.advance(SESSION)
            operations = RiskOperations(account)
            if initialise:
                operations.initialize_risk_book(limits or RiskLimits(), ACTION)
            yield Kit(account=account, broker=broker, exchange=exchange, clock=clock, operations=operations)
    finally:
        exchange.close()
        client.close()


def hold(kit: Kit, symbol: str = "AAPL", side: Side = Side.BUY, qty: int = 10) -> None:
    """Fill an order at the next open, and let the account hear of it."""
    session = kit.exchange.current_session or SESSION
    SubmissionService(kit.account, RUN).submit(order(symbol, side, qty, session=session))
    settle(kit.account, xnys().next(session))


def quotes(session: date, symbols: Collection[str]) -> dict[str, ReferencePrice]:
    """Price every symbol at 100 dollars, at the close of the session."""
    return quotes_at(Decimal(100))(session, symbols)


def quotes_at(price: Decimal) -> Quotes:
    """Price every symbol at this, at the close of whatever session is asked for."""
    return lambda session, symbols: {
        symbol: ReferencePrice(price=price, source="test", as_of=xnys().close_at(session)) for symbol in symbols
    }


def valuation(price: Decimal = Decimal(100), *, capital: Decimal = RICH) -> Valuation:
    """Value every share at one price; a hundred million of each trade a day; all data are fresh."""
    return Valuation(
        capital=capital,
        quotes=quotes_at(price),
        volumes=lambda _, symbols: dict.fromkeys(symbols, 100_000_000),
        newest_fresh=lambda session: session,
    )
