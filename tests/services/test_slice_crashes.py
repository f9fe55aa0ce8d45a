"""A crash at every commit, every message to the guard and every send of a slice, and whoever comes next: one order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product

import pytest
from support.alpaca.bench import Bench
from support.dying import Crash, Deadline, DyingBroker, Onlooker, Wires
from support.slices import Prices, request
from support.trading import ACTION, RUN
from support.virtual_time import shift_time

from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.slices import SliceService
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.twap import start
from trading_pipeline.services.verification import compare

GRACE_SECONDS = 40
ENDED = ("accepted", "expired", "canceled")


@dataclass
class Case:
    """An account of its own on the shared servers, of which somebody wants two slices, half a minute apart."""

    name: str
    wires: Wires
    bench: Bench
    sent: list[str] = field(default_factory=list)

    @contextmanager
    def process(self, deadline: Deadline) -> Iterator[TradingAccount]:
        """A process of its own, with a deadline at one of its boundaries."""
        broker = DyingBroker(self.bench.broker(), deadline, self.sent)
        with self.wires.process(self.name, broker, self.bench.waits, deadline) as account:
            yield account

    def run(self, account: TradingAccount) -> None:
        """Start the parent and send its first slice."""
        asked = request(
            account=self.name, strategy_id=self.name, qty=20, minutes=1, slices=2, grace_seconds=GRACE_SECONDS
        )
        start(account, asked, ACTION, RUN)
        SliceService(account, RUN, Prices()).send_due()

    def outcome(self, account: TradingAccount) -> dict[str, object]:
        """Return what there is: sent, in the ledger, and reserved in the book."""
        (parent,) = account.ledger.slices.latest(self.name, 5)
        slices = account.ledger.slices.of_parent(parent.parent_id)
        arrived = {one.client_order_id for one in self.bench.exchange.accepted}
        book = account.guard.snapshot()
        assert book is not None
        assert [] == compare(account)
        return {
            "sent": [self.sent.count(one.client_order_id or "") for one in slices],
            "arrived": [one.client_order_id in arrived for one in slices],
            "states": [one.state for one in slices],
            "ordered": [one.ordered for one in slices],
            "reserved": sorted(book.reservations),
        }


def again(case: Case, account: TradingAccount) -> None:
    """The operator repeats the command, and the sender looks again and again."""
    case.run(account)
    for _ in range(60):
        case.bench.waits.sleep(1)
        SliceService(account, RUN, Prices()).send_due()


def daemon_first(case: Case, account: TradingAccount) -> None:
    """A run of the session comes across the orders before the sender does."""
    with account.ledger.lane(account.account):
        SubmissionService(account, RUN).resume()
    again(case, account)


RETRIERS: tuple[Callable[[Case, TradingAccount], None], ...] = (again, daemon_first)


def _case(name: str, opened: Wires, bench: Bench) -> Case:
    bench.begin_anew()
    case = Case(name, opened, bench)
    with case.process(Deadline()) as account:
        RiskOperations(account).initialize_risk_book(RiskLimits(), ACTION)
    return case


def _crash(case: Case, deadline: Deadline) -> None:
    with case.process(deadline) as first, pytest.raises(Crash):
        case.run(first)


def _boundaries(kind: str, opened: Wires, onlooker: Onlooker, bench: Bench) -> list[tuple[int, str]]:
    """Return every boundary of an undisturbed run that leaves something new."""
    undisturbed = onlooker.recorder(f"{kind}-calm", bench.there)
    # The first warms up: what it loads is no boundary of the second.
    for name, deadline in ((f"{kind}-warm", Deadline()), (f"{kind}-calm", undisturbed)):
        case = _case(name, opened, bench)
        with case.process(deadline) as account:
            case.run(account)
    assert {"before redis", "after redis", "before send", "after send"} < set(undisturbed.seen)
    assert {"committed", "after redis", "after send"} <= {boundary for _, boundary in undisturbed.kept}
    return undisturbed.kept


def test_a_crash_anywhere_and_whoever_comes_next_end_with_one_order_a_slice(
    opened: Wires, onlooker: Onlooker, bench: Bench
) -> None:
    """Within the grace of the slice: both slices leave, once each, in whatever the first process died."""
    for (at, boundary), retry in product(_boundaries("soon", opened, onlooker, bench), RETRIERS):
        case = _case(f"{retry.__name__}-{at}", opened, bench)
        _crash(case, Deadline(at))
        with case.process(Deadline()) as other:
            retry(case, other)
            found = case.outcome(other)
        ids = sorted(set(case.sent))
        expected = {
            "sent": [1, 1],
            "arrived": [True, True],
            "states": ["accepted", "accepted"],
            "ordered": [10, 10],
            "reserved": ids,
        }
        assert expected == found, f"crashed at boundary {at} ({boundary}), then {retry.__name__}"


def test_a_crash_anywhere_and_a_sender_that_comes_too_late_send_nothing_more(
    database: str, opened: Wires, onlooker: Onlooker, bench: Bench
) -> None:
    """What had reached the broker is found or cancelled there, what had not expires: nothing is left in between."""
    for at, boundary in _boundaries("late", opened, onlooker, bench):
        case = _case(f"late-{at}", opened, bench)
        _crash(case, Deadline(at))
        sent = list(case.sent)
        with case.process(Deadline()) as other:
            bench.waits.sleep(3 * GRACE_SECONDS)
            for _ in range(10):
                SliceService(other, RUN, Prices()).send_due()
                bench.waits.sleep(20)
                shift_time(database, 20)
            where = f"crashed at boundary {at} ({boundary})"
            assert sent == case.sent, where
            if other.ledger.slices.latest(case.name, 1):
                found = case.outcome(other)
                assert set(ENDED) >= set(found["states"]), where
                live = [one.client_order_id for one in other.ledger.orders.live(case.name)]
                assert sorted(live) == found["reserved"], where
                working = [one.client_order_id for one in bench.exchange.accepted if one.working]
                assert set(live) <= set(working), where
