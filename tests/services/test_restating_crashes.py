"""A crash at every commit, every step of the guard and every request of a restatement, and whoever comes after it.

No person is needed: there is one restatement, ledger, book and broker hold the same, the order sized before it is
cancelled, and no order of the symbol is sent in between.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from support.actions import HELD_OVER, SPLIT, act
from support.alpaca.bench import Bench
from support.dying import Crash, Deadline, DyingBroker, Onlooker, Wires
from support.session_lake import decide
from support.trading import ACTION, SESSION, order

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.model import TimeInForce
from trading_pipeline.core.risk.halts import Gate
from trading_pipeline.core.risk.limits import LimitChange, RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.action_locks import restate_or_lock
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebalance import rebalance
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.restating import restate_as_the_broker
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.tie_out import tie_out
from trading_pipeline.services.verification import compare

BOUGHT = xnys().previous(HELD_OVER)
RUN = Provenance(run_id="run")

Retry = Callable[[TradingAccount, Lake], None]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Twenty shares of AAPL are wanted, sized the day before its split, and five of MSFT."""
    made = Lake(Path(tmp_path_factory.mktemp("lake")))
    decide(made, BOUGHT, {"AAPL": 100.0, "MSFT": 330.25}, {"AAPL": 20, "MSFT": 5})
    act(made, **SPLIT, ex_date=HELD_OVER)
    return made


def morning(account: TradingAccount, lake: Lake) -> None:
    """Do what comes before the orders of the day, and what ends the lock when the old order is gone."""
    with account.ledger.lane(account.account):
        restate_or_lock(account, lake, BOUGHT, {}, frozenset({"AAPL", "MSFT"}))
        SubmissionService(account, RUN).resume()
    reconcile(account, ACTION)


def run_again(account: TradingAccount, lake: Lake) -> None:
    """The run is repeated."""
    rebalance(account, lake, BOUGHT, provenance=RUN)


def daemon_first(account: TradingAccount, lake: Lake) -> None:
    """The sensor reconciles before the run is repeated."""
    restate_as_the_broker(account, lake)
    reconcile(account, ACTION)
    run_again(account, lake)


def _who_comes(boundaries: Sequence[tuple[int, str]], *, late: bool) -> Iterator[tuple[tuple[int, str], Retry]]:
    """Let the run be repeated at each, and the sensor come before it at half: late at those that early omits."""
    for number, boundary in enumerate(boundaries):
        yield boundary, run_again
        if number % 2 == late:
            yield boundary, daemon_first


def _of(name: str, wanted: NewOrder) -> NewOrder:
    return replace(wanted, intent=replace(wanted.intent, account=name, strategy_id=name))


def _hold(account: TradingAccount, bench: Bench) -> None:
    """Buy ten shares, ask for eight more at a lower price until cancelled, and let the session end."""
    RiskOperations(account).initialize_risk_book(RiskLimits(), ACTION)
    own = LimitChange(limit="max_position_shares", value=100, symbol="AAPL")
    RiskOperations(account).change_risk_limits([own], ACTION)
    waiting = order("AAPL", qty=8, limit_price=Decimal(90))
    waiting = replace(waiting, intent=replace(waiting.intent, time_in_force=TimeInForce.GTC))
    service = SubmissionService(account, RUN)
    service.submit_all([_of(account.account, one) for one in (order("AAPL"), waiting)])
    bench.exchange.fill_all()
    settle(account, SESSION)
    bench.waits.instant = datetime(2023, 9, 5, 21, tzinfo=UTC)
    assert tie_out(account, ACTION).agrees
    bench.waits.instant = datetime(2023, 9, 6, 12, tzinfo=UTC)


def _require_kept_back(account: TradingAccount) -> None:
    """Ask for shares of the symbol while the restatement is under way."""
    if account.ledger.restatements.awaiting(account.account):
        asked = _of(account.account, order("AAPL", qty=3, session=BOUGHT))
        assert SubmissionService(account, RUN).submit(asked).refused


@dataclass(frozen=True)
class Case:
    """An account of its own on the shared servers; its broker splits before the restatement, or after it."""

    name: str
    wires: Wires
    bench: Bench
    lake: Lake
    late: bool

    def process(self, until: Deadline) -> AbstractContextManager[TradingAccount]:
        """A process of its own, with a deadline at one of its boundaries."""
        broker = DyingBroker(self.bench.broker(), until, [])
        return self.wires.process(self.name, broker, self.bench.waits, until)

    def play(self, deadline: Deadline, retry: Retry) -> dict[str, object]:
        """Restate into the deadline, if there is one, let somebody retry, and return what there is then."""
        self._prepare()
        with self.process(deadline) as first:
            if deadline.at is None:
                morning(first, self.lake)
            else:
                with pytest.raises(Crash):
                    morning(first, self.lake)
        with self.process(Deadline()) as other:
            _require_kept_back(other)
            retry(other, self.lake)
            _require_kept_back(other)
            if self.late:
                self.bench.exchange.restate("AAPL", "40")
            done = reconcile(other, ACTION)
            run_again(other, self.lake)
            return _outcome(other, self.bench) | {"gate": done.record.gate, "unexplained": done.unexplained}

    def _prepare(self) -> None:
        self.bench.begin_anew()
        self.bench.exchange.prices |= {"AAPL": Decimal(100)}
        with self.process(Deadline()) as account:
            _hold(account, self.bench)
        self.bench.exchange.prices |= {"AAPL": Decimal(25)}
        if not self.late:
            self.bench.exchange.restate("AAPL", "40")


def _outcome(account: TradingAccount, bench: Bench) -> dict[str, object]:
    name, ledger, book = account.account, account.ledger, account.guard.snapshot()
    assert book is not None
    now = ledger.books.get(name).read_at
    return {
        "restatements": [(row["before"], row["after"], row["limits"]) for row in ledger.restatements.all(name)],
        "ledger": {symbol: (one.qty, one.cost) for symbol, one in ledger.fills.positions(name).items()},
        "book": dict(book.positions),
        "broker": bench.exchange.positions(),
        "limits": [
            one.effective(now, "AAPL").max_position_shares for one in (ledger.books.get(name).limit_set, book.limit_set)
        ],
        "accepted": sorted((one.symbol, int(one.qty), one.status) for one in bench.exchange.accepted),
        "reserved": [one.symbol for one in book.reservations.values()],
        "kept": (ledger.books.quarantined(name), dict(book.quarantined), ledger.restatements.awaiting(name)),
        "outside": ledger.restatements.outside_book(name),
        "differences": compare(account),
    }


@pytest.mark.parametrize("late", [False, True])
def test_a_crash_anywhere_in_a_restatement_is_finished_by_whoever_comes_next(
    opened: Wires, onlooker: Onlooker, bench: Bench, lake: Lake, *, late: bool
) -> None:
    """Each boundary that leaves something new is crashed at; the broker has split before the restatement, or after."""
    kind = "late" if late else "early"
    Case(f"{kind}-warm-up", opened, bench, lake, late).play(Deadline(), run_again)
    undisturbed = onlooker.recorder(f"{kind}-calm", bench.there)
    expected = Case(f"{kind}-calm", opened, bench, lake, late).play(undisturbed, run_again)
    assert (Gate.OPEN, (), []) == tuple(expected[one] for one in ("gate", "unexplained", "differences"))
    assert [("AAPL", 8, "canceled"), ("AAPL", 10, "filled"), ("MSFT", 5, "accepted")] == expected["accepted"]
    assert {"AAPL": 40} == expected["book"]
    assert ([400, 400], ({}, {}, {})) == (expected["limits"], expected["kept"])
    assert {"before redis", "after redis", "before cancel", "after cancel"} < set(undisturbed.seen)
    assert {"committed", "after redis", "after cancel"} <= {boundary for _, boundary in undisturbed.kept}
    for (at, boundary), retry in _who_comes(undisturbed.kept, late=late):
        found = Case(f"{kind}-{at}-{retry.__name__}", opened, bench, lake, late).play(Deadline(at), retry)
        assert expected == found, f"crashed at boundary {at} ({boundary}), retried: {retry.__name__}"
