"""A crash at every commit and every send, before and after, and whoever retries: one order, one ledger, one book."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import product

import pytest
from support.dying import Crash, Deadline, DyingBroker, Onlooker, Wires
from support.trading import ACTION, FREE, SESSION, ManualClock, flat_market, intent

from trading_pipeline.adapters.broker.simulated import SimulatedExchange
from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import settle, settle_in_lane
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare

NEXT = xnys().next(SESSION)


@dataclass
class Case:
    """An account of its own on the shared servers, and the two orders somebody wants of it."""

    name: str
    clock: ManualClock
    wires: Wires
    exchange: SimulatedExchange
    sent: list[str] = field(default_factory=list)

    @property
    def wanted(self) -> list[NewOrder]:
        """A buy and a sell."""
        shapes = [("AAPL", Side.BUY, 10), ("MSFT", Side.SELL, 7)]
        return [NewOrder(intent=replace(intent(*one), account=self.name, strategy_id=self.name)) for one in shapes]

    @contextmanager
    def process(self, deadline: Deadline) -> Iterator[TradingAccount]:
        """A process of its own, with a deadline at one of its boundaries."""
        broker = DyingBroker(self.exchange, deadline, self.sent)
        with self.wires.process(self.name, broker, self.clock, deadline) as account:
            yield account

    def outcome(self, account: TradingAccount) -> dict[str, object]:
        """Return what there is in the end: at the exchange, in the ledger, in the book."""
        stored = [account.ledger.orders.get(new.intent.client_order_id) for new in self.wanted]
        book = account.guard.snapshot()
        assert book is not None
        return {
            "sent once": [self.sent.count(new.intent.client_order_id) for new in self.wanted],
            "orders": [(one.state, one.filled_qty, one.average_fill_price) if one else None for one in stored],
            "ledger": {name: one.qty for name, one in account.ledger.fills.positions(self.name).items()},
            "exchange": self.exchange.positions(),
            "book": {symbol: Decimal(qty) for symbol, qty in book.positions.items() if qty},
            "reserved": dict(book.reservations),
            "unposted": account.ledger.fills.unposted(self.name),
            "unreleased": account.ledger.orders.unreleased(self.name),
            "differences": compare(account),
        }


def the_run(account: TradingAccount, wanted: list[NewOrder]) -> None:
    """Take both through the six steps: submit, then bring home what became of them."""
    SubmissionService(account, Provenance(run_id="first", sessions=(SESSION,))).submit_all(wanted)
    settle(account, NEXT)


def again(account: TradingAccount, wanted: list[NewOrder]) -> None:
    """The run is repeated, or the session materialised again."""
    if account.broker.current_session == SESSION:
        SubmissionService(account, Provenance(run_id="again", sessions=(SESSION,))).submit_all(wanted)


def one_by_one(account: TradingAccount, wanted: list[NewOrder]) -> None:
    """Another process offers the orders singly and the other way round."""
    for new in reversed(wanted):
        again(account, [new])


def daemon_first(account: TradingAccount, wanted: list[NewOrder]) -> None:
    """A second daemon comes across the orders before the run is repeated."""
    if account.broker.current_session == SESSION:
        with account.ledger.lane(account.account):
            settle_in_lane(account, SESSION)
            SubmissionService(account, Provenance(run_id="daemon")).resume()
    again(account, wanted)


RETRIERS: tuple[Callable[[TradingAccount, list[NewOrder]], None], ...] = (again, one_by_one, daemon_first)


@contextmanager
def case(name: str, database_url: str, opened: Wires) -> Iterator[Case]:
    """An account whose book is initialised and whose exchange stands at the test session."""
    market = {"calendar": xnys(), "openings": flat_market(), "costs": FREE}
    with closing(SimulatedExchange(database_url, account=name, **market)) as exchange:
        exchange.advance(SESSION)
        made = Case(name=name, clock=ManualClock(database_url), wires=opened, exchange=exchange)
        with made.process(Deadline()) as account:
            RiskOperations(account).initialize_risk_book(RiskLimits(), ACTION)
        yield made


def play(case: Case, deadline: Deadline, retry: Callable[[TradingAccount, list[NewOrder]], None]) -> dict[str, object]:
    """Run into the deadline, if there is one, let somebody retry, and return the outcome."""
    with case.process(deadline) as first:
        if deadline.at is None:
            the_run(first, case.wanted)
        else:
            with pytest.raises(Crash):
                the_run(first, case.wanted)
    with case.process(Deadline()) as other:
        retry(other, case.wanted)
        settle(other, NEXT)
        return case.outcome(other)


def test_a_crash_anywhere_and_any_retry_end_the_same(database: str, opened: Wires, onlooker: Onlooker) -> None:
    """Every boundary of an undisturbed run that leaves something new is crashed at, once for each retrier."""
    with case("warm-up", database, opened) as first:
        play(first, Deadline(), again)
    undisturbed = onlooker.recorder("calm")
    with case("calm", database, opened) as calm:
        expected = play(calm, undisturbed, again)
    assert ([1, 1], []) == (expected["sent once"], expected["differences"])
    assert {"before redis", "after redis", "before send", "after send"} < set(undisturbed.seen)
    assert {"committed", "after redis", "after send"} <= {boundary for _, boundary in undisturbed.kept}
    for (at, boundary), retry in product(undisturbed.kept, RETRIERS):
        with case(f"{retry.__name__}-{at}", database, opened) as crashed:
            found = play(crashed, Deadline(at), retry)
        assert expected == found, f"crashed at boundary {at} ({boundary}), retried: {retry.__name__}"
