"""Sessions traded on a paper account left alone: processes of the product, a local Alpaca that misbehaves as drawn."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import redis

from support.alpaca.exchange import ACCOUNT_ID, PaperExchange
from support.alpaca.mishaps import MISHAPS, WASH, When
from support.alpaca.server import KEY_ID, SECRET, AlpacaServer, alpaca_server
from support.alpaca.stream import TradeUpdates, trade_updates
from support.alpaca.trading_api import TradingApi
from support.paper import processes
from support.paper.market import SYMBOLS, Market
from support.paper.processes import Setup, Work
from support.shared_time import SharedTime
from support.virtual_time import virtual_time
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.ledger import Ledger, OrderRecord, migrate
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.sessions import xnys
from trading_pipeline.instance.home import prepare_dagster_home

ACCOUNT = "paper"
COLUMNS = ("session", "orders", "accepted per intent", "what went wrong", "kill -9", "tie-out")
FIRST = date(2023, 9, 5)
HISTORY = 25
"""Sessions of bars before the first one."""
MOST_ATTEMPTS, MOST_KILLED = 8, 4
"""Times that a step is begun at most, and of those how many may be killed."""
PATIENCE_SECONDS = 60
SCHEDULED = timedelta(hours=5)
"""How long before the open the schedule asks for a session's orders: all attempts lie in the window for them."""
LOOK = timedelta(seconds=61)
"""Between two attempts: more than the grace time of a lost answer."""
Intent = tuple[date, str, str]
"""Day, symbol and side: what an order is for, whatever id it carries and however many shares it asks for."""
_UNDECIDED = frozenset({OrderState.PENDING_NEW, OrderState.CLEARED, OrderState.SUBMITTED_UNCONFIRMED})
_ENDED_SHORT = frozenset({OrderState.EXPIRED, OrderState.REJECTED, OrderState.CANCELED, OrderState.REFUSED})


@dataclass(frozen=True, kw_only=True)
class Day:
    """What became of one session.

    Attributes:
        wanted: the target, held what the account had after the close, shares by symbol.
        outcome: what the newest record of the session says became of it, nothing where there is none.
        unexplained: symbols in which they differ though no order of the session ended short and no record of it says
            that they were left out.
        accepted: orders the exchange accepted, by intent: symbol and side.
        mishaps: what struck, and kills how many processes were killed.
        tied_out: whether the newest tie-out of the evening agrees.
        differences: what any of them found.
    """

    session: date
    orders: tuple[OrderRecord, ...]
    wanted: dict[str, int]
    held: dict[str, Decimal]
    outcome: str
    unexplained: tuple[str, ...]
    accepted: Counter[Intent]
    mishaps: tuple[str, ...]
    kills: int
    tied_out: bool
    differences: tuple[str, ...]

    def row(self) -> tuple[str, ...]:
        """Return it in the order of `COLUMNS`."""
        states = Counter(order.state.value for order in self.orders)
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or self.outcome
        accepted = ", ".join(map(str, sorted(set(self.accepted.values())))) or "none"
        agrees = "agrees" if self.tied_out and not self.differences else "; ".join(self.differences) or "missing"
        return (str(self.session), told, accepted, "; ".join(self.mishaps) or "none", str(self.kills), agrees)


class PaperRun:
    """A supervisor: starts what a deployment would, and starts it again when it ended badly."""

    def __init__(
        self,
        setup: Setup,
        exchange: PaperExchange,
        server: AlpacaServer,
        updates: TradeUpdates,
        ledger: Ledger,
        guard: RiskGuard,
        market: Market,
        *,
        seed: int,
        killing: bool,
    ) -> None:
        self._setup, self.exchange, self._server, self._updates = setup, exchange, server, updates
        self.ledger, self.guard, self._market = ledger, guard, market
        self._chance, self._killing = random.Random(f"run {seed}"), killing
        self._time = setup.time
        self._services: dict[Work, ForkServerProcess] = {}
        self._kills = 0
        self._struck: list[str] = []

    def trade(self, count: int) -> list[Day]:
        """Trade so many sessions and return what became of each."""
        days = []
        session = xnys().previous(FIRST)
        for _ in range(count):
            day = xnys().next(session)
            days.append(self._trade_one(session, day))
            self._market.arrive([day])
            session = day
        return days

    def accepted(self) -> Counter[str]:
        """Count what the exchange accepted by the id that the client gave it."""
        return Counter(one.client_order_id for one in self.exchange.accepted)

    def strangers(self) -> list[str]:
        """Return what the account took for somebody else's: nobody else trades it."""
        foreign = [one.execution_id for one in self.ledger.externals.fills(ACCOUNT)]
        return [*foreign, *self.ledger.externals.ids(ACCOUNT)]

    def untold(self) -> list[str]:
        """Return the product's own alerts of sessions that were neither traded nor explained."""
        rows = self.ledger.query("select message from ledger.alerts where kind = 'session_unexplained'")
        return [row["message"] for row in rows]

    def _trade_one(self, session: date, day: date) -> Day:
        self._kills, self._struck = 0, []
        self.exchange.prices.update(self._market.prices)
        wanted = self._market.decide(session)
        self._time.advance_to(xnys().open_at(day) - SCHEDULED)
        self._keep_running()
        self._submit(session)
        self._time.advance_to(xnys().open_at(day) + timedelta(minutes=1))
        for _ in range(3):
            self._strike(When.SETTLE)
            self._fill()
            self._updates.release(self._chance.random())
            self._step(processes.look)
        self._time.advance_to(xnys().close_at(day))
        self._fill()
        self.exchange.close_session()
        self._time.advance_to(xnys().close_at(day) + timedelta(minutes=30))
        self._step(processes.look)
        self._time.advance_to(datetime.combine(day, time(16, 45), xnys().zone))
        self._step(processes.close_session)
        return self._day(session, day, wanted)

    def _submit(self, session: date) -> None:
        """Start the job until every order of the session is decided."""
        for attempt in range(MOST_ATTEMPTS):
            self._strike(When.SEND)
            done = self._attempt(processes.submit, session, spared=attempt >= MOST_KILLED)
            orders = self.ledger.orders.of_session(ACCOUNT, session)
            if done and not any(order.state in _UNDECIDED for order in orders):
                return
            self._time.pause(LOOK)
        raise AssertionError(f"orders of {session} are undecided: {[(o.intent.symbol, o.state) for o in orders]}")

    def _step(self, work: Work, *arguments: object) -> None:
        """Do one thing of a session, again until it succeeds."""
        for attempt in range(MOST_ATTEMPTS):
            if self._attempt(work, *arguments, spared=attempt >= MOST_KILLED):
                return
            self._time.pause(LOOK)
        log = (self._setup.folder / f"{work.__name__}.log").read_text()
        raise AssertionError(f"{work.__name__} never succeeded:\n{log[-3000:]}")

    def _attempt(self, work: Work, *arguments: object, spared: bool) -> bool:
        """Run a process to its end, or to the blow that is drawn for it; keep the others running."""
        self._keep_running()
        process = processes.start(self._setup, work, *arguments)
        if self._killing and not spared and self._chance.random() < 0.5:
            process.join(self._chance.uniform(0.02, 1.2))
            if process.is_alive():
                self._kill(process)
        process.join(PATIENCE_SECONDS)
        if process.is_alive():
            self._kill(process)
            raise AssertionError(f"{work.__name__} did not end within {PATIENCE_SECONDS} s")
        return process.exitcode == 0

    def _keep_running(self) -> None:
        """Start the services that do not run; kill one of them when it is drawn."""
        for work in (processes.stream, processes.sweep_on):
            running = self._services.get(work)
            if running is not None and running.is_alive() and self._killing and self._chance.random() < 0.25:
                self._kill(running)
                running.join()
            if running is None or not running.is_alive():
                self._services[work] = processes.start(self._setup, work)

    def _kill(self, process: ForkServerProcess) -> None:
        process.kill()
        self._kills += 1

    def end(self) -> None:
        """End the services."""
        for process in self._services.values():
            process.kill()
            process.join()

    def _strike(self, when: When) -> None:
        if self._chance.random() < 0.7:
            mishap = self._chance.choice([one for one in (*MISHAPS, WASH) if one.when is when])
            self._struck.append(mishap.name)
            mishap.strike(self.exchange, self._server, self._updates)

    def _fill(self) -> None:
        """Execute a part of what works, at the prices of the session."""
        for order in [one for one in self.exchange.books.orders.values() if one.working]:
            part = self._chance.randint(0, int(order.remaining))
            if part:
                self.exchange.fill(order.client_order_id, part)

    def _day(self, session: date, day: date, wanted: dict[str, int]) -> Day:
        orders = self.ledger.orders.of_session(ACCOUNT, session)
        held = {symbol: one.qty for symbol, one in self.ledger.fills.positions(ACCOUNT).items() if one.qty}
        short = {one.intent.symbol for one in orders if one.state in _ENDED_SHORT}
        records = self.ledger.session_records.of_sessions(ACCOUNT, [session])
        said = short | {symbol for symbol in SYMBOLS for one in records if f"{symbol} left out: " in one.reason}
        answers = self.ledger.query(
            "select agrees, differences from ledger.tie_outs where session = %(day)s order by id", day=day
        )
        return Day(
            session=day,
            orders=tuple(orders),
            wanted=wanted,
            held=held,
            outcome=records[-1].outcome.value if records else "",
            unexplained=tuple(one for one in SYMBOLS if wanted[one] != held.get(one, 0) and one not in said),
            accepted=self._accepted_on(day),
            mishaps=tuple(self._struck),
            kills=self._kills,
            tied_out=bool(answers) and answers[-1]["agrees"],
            differences=tuple(text for row in answers for text in row["differences"]),
        )

    def _accepted_on(self, day: date) -> Counter[Intent]:
        zone = xnys().zone
        days = [(one.submitted_at.astimezone(zone).date(), one) for one in self.exchange.accepted]
        return Counter((at, one.symbol, one.side) for at, one in days if at == day)


@contextmanager
def paper_run(folder: Path, database_url: str, redis_url: str, *, seed: int, killing: bool) -> Iterator[PaperRun]:
    """Open an account with money and no orders, and what a run on it needs."""
    virtual_time(database_url)
    migrate(database_url)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    clock = SharedTime(folder / "time", database_url)
    clock.begin(xnys().close_at(xnys().previous(FIRST)) + timedelta(hours=2))
    with ExitStack() as stack:
        lake = Lake(folder / "lake")
        market = Market(lake, seed)
        past = [xnys().shift(FIRST, -back) for back in range(HISTORY, 0, -1)]
        market.arrive(past)
        exchange = PaperExchange(now=clock.now, prices=dict(market.prices))
        server = stack.enter_context(alpaca_server(application=TradingApi(exchange)))
        updates = stack.enter_context(trade_updates(exchange))
        environment = prepare_dagster_home(folder, database_url, redis_url) | {
            "DRY_RUN": "false",
            "ACCOUNT": ACCOUNT,
            "ALPACA_BASE_URL": server.url,
            "ALPACA_STREAM_URL": updates.url,
            "ALPACA_API_KEY_ID": KEY_ID,
            "ALPACA_API_SECRET_KEY": SECRET,
            "ALPACA_ACCOUNT_ID": ACCOUNT_ID,
            "ALPACA_REQUESTS_PER_MINUTE": "60000",
            "CAPITAL": "100000",
            "UNIVERSE": ",".join(SYMBOLS),
        }
        setup = Setup(environment=environment, folder=folder, database_url=database_url)
        processes.start(setup, processes.initialise).join(PATIENCE_SECONDS)
        ledger = stack.enter_context(Ledger(database_url))
        client = connect(redis_url)
        stack.callback(client.close)
        run = PaperRun(
            setup, exchange, server, updates, ledger, RiskGuard(client, ACCOUNT), market, seed=seed, killing=killing
        )
        stack.callback(run.end)
        yield run
