"""An account on loopback with shares and working orders, on which processes of operators and daemons die in turn.

It is prepared once for many cases: each leaves it as it found it, but for shares that were filled meanwhile.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from itertools import count

from support.alpaca.bench import Bench, alpaca_bench
from support.dying import Deadline, DyingBroker, Onlooker, Recorder, Wires, looking_on, wires
from support.trading import ACTION, BROAD, RUN, intent
from support.virtual_time import shift_time
from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.model import ReferencePrice, Side
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import settle_in_lane
from trading_pipeline.services.submission import Submission, SubmissionService
from trading_pipeline.services.verification import compare

LIMIT = Decimal("100.50")
"""What the orders that go on working ask for: the market is far from it."""
DAEMON = Provenance(run_id="daemon")


@dataclass
class Floor:
    """The account, what serves it, and every order that was handed to the broker."""

    name: str
    database_url: str
    bench: Bench
    wires: Wires
    onlooker: Onlooker
    sent: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def process(self, deadline: Deadline | None = None) -> AbstractContextManager[TradingAccount]:
        """A process of its own, with a deadline at one of its boundaries or none."""
        until = deadline or Deadline()
        broker = DyingBroker(self.bench.broker(), until, self.sent)
        return self.wires.process(self.name, broker, self.bench.waits, until)

    def recorder(self) -> Recorder:
        """Follow a process, and see where a crash of it leaves something of its own."""
        return self.onlooker.recorder(self.name, self.bench.there)

    def begin_anew(self, name: str, limits: RiskLimits = BROAD) -> None:
        """Go on with another account, of which the broker knows nothing yet: what is looked up stays little."""
        self.name = name
        self.bench.begin_anew()
        self.sent.clear()
        with self.process() as account:
            RiskOperations(account).initialize_risk_book(limits, ACTION)

    def wanted(self, symbol: str, side: Side = Side.BUY, qty: int = 10, limit_price: Decimal | None = None) -> NewOrder:
        """An order unlike all before it."""
        one = intent(symbol, side, qty, limit_price=limit_price, repeat=next(self.numbers))
        return NewOrder(intent=replace(one, account=self.name, strategy_id=self.name))

    def submit(self, *wanted: NewOrder) -> list[Submission]:
        """Send orders that nothing is in the way of, or that something is, and return what became of them."""
        with self.process() as account:
            return SubmissionService(account, RUN).submit_all(wanted)

    def require_refusal(self) -> None:
        """Check that a submission which starts now does not pass, and forget its order."""
        wanted = self.wanted("NVDA")
        (one,) = self.submit(wanted)
        order_id = wanted.intent.client_order_id
        assert one.refused, f"order {order_id} passed"
        assert order_id not in self.sent
        self.wires.ledger.sending.withdraw(order_id, "it was to be refused")

    def quotes(self, session: date, symbols: Collection[str]) -> dict[str, ReferencePrice]:
        """Price every symbol as of now, whatever session it is."""
        del session
        now = self.bench.waits.now()
        return {one: ReferencePrice(price=Decimal(100), source="test", as_of=now) for one in symbols}

    def audited(self, verb: str, before: int = 0) -> list[tuple[str, str]]:
        """Return who did a thing and why, the oldest first, without the first `before` times."""
        told = self.wires.ledger.books.history(self.name, 100_000)
        done = [(one["operator"], one["reason"]) for one in reversed(told) if one["action"] == verb]
        return done[before:]

    def require_agreement(self, account: TradingAccount, where: str) -> None:
        """Check that ledger, book and broker say the same, and that no order was sent twice."""
        assert [] == [one.describe() for one in compare(account)], where
        assert not account.ledger.fills.unposted(self.name), where
        assert not account.ledger.orders.unreleased(self.name), where
        assert set(Counter(self.sent).values()) <= {1}, where
        ids = [one.client_order_id for one in self.bench.exchange.accepted]
        assert sorted(set(ids)) == sorted(ids), where

    def wait(self, seconds: float) -> None:
        """Let time pass, so that nothing that was read before stands for what is."""
        self.bench.waits.sleep(seconds)
        shift_time(self.database_url, seconds)

    def held(self) -> dict[str, Decimal]:
        """Return the shares at the broker."""
        return self.bench.exchange.positions()


def looked_at(account: TradingAccount) -> None:
    """Do what a daemon does that comes by: bring the broker's news home, and finish what was left."""
    session = account.broker.current_session
    assert session is not None
    with account.ledger.lane(account.account):
        settle_in_lane(account, session)
        SubmissionService(account, DAEMON).resume()


@contextmanager
def open_floor(name: str, database_url: str, redis_url: str, limits: RiskLimits = BROAD) -> Iterator[Floor]:
    """Open an account with a book and nothing in it."""
    with (
        looking_on(database_url, redis_url) as onlooker,
        alpaca_bench(redis_url) as bench,
        wires(database_url, redis_url) as opened,
    ):
        onlooker.redis.flushall()
        floor = Floor(name, database_url, bench, opened, onlooker)
        with floor.process() as account:
            RiskOperations(account).initialize_risk_book(limits, ACTION)
        yield floor
