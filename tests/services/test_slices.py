"""Slices of a large order leave when they are due, once each, and never two to catch up: on an Alpaca account."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from threading import Barrier

import pytest
from support.alpaca.bench import OPEN, Bench
from support.alpaca.server import Fault
from support.slices import Prices, Volumes, request
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, order, quotes
from support.virtual_time import shift_time

from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.adapters.store.ledger.slices import ParentRecord, SliceRecord
from trading_pipeline.core.orders.model import Purpose, Side
from trading_pipeline.core.orders.twap import WhenLate
from trading_pipeline.core.risk.limits import LimitChange
from trading_pipeline.errors import NoPrice, OperatorError, OrderConflict, SessionNotTradable
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.single_orders import OrderChange, close_position, replace_order
from trading_pipeline.services.slices import SliceService
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.twap import parent_row, parent_rows, preview, slice_rows, start

TEN_SECONDS = timedelta(seconds=10)


@dataclass
class Line:
    """A parent that is worked, its sender, and the time, which the test moves."""

    account: TradingAccount
    bench: Bench
    prices: Prices = field(default_factory=Prices)
    volumes: Volumes | None = None
    parent: ParentRecord | None = None

    def start(self, **asked: object) -> ParentRecord:
        """Start a parent of twelve slices, ten seconds apart, unless something else is asked for."""
        wanted = request(**{"qty": 120, "minutes": 2, "slices": 12, "grace_seconds": 300} | asked)
        self.parent, _ = start(self.account, wanted, ACTION, RUN)
        return self.parent

    def service(self) -> SliceService:
        """Begin as a new process would."""
        return SliceService(self.account, RUN, self.prices, self.volumes)

    def run(self, seconds: int, *, service: SliceService | None = None) -> None:
        """Let a sender look every second for so long."""
        sender = service or self.service()
        for _ in range(seconds):
            sender.send_due()
            self.bench.waits.sleep(1)

    def pause(self, seconds: int) -> None:
        """Let time pass while nobody looks."""
        self.bench.waits.sleep(seconds)

    @property
    def sent(self) -> list[datetime]:
        """When the exchange got orders."""
        return [one.submitted_at for one in self.bench.exchange.accepted]

    @property
    def slices(self) -> list[SliceRecord]:
        """The slices as they stand."""
        assert self.parent is not None
        return self.account.ledger.slices.of_parent(self.parent.parent_id)

    @property
    def states(self) -> list[str]:
        """Where they stand."""
        return [one.state for one in self.slices]

    def require_once(self) -> None:
        """Each slice became one order at the broker at most, and all orders there are those of the slices."""
        arrived = [one.client_order_id for one in self.bench.exchange.accepted]
        assert len(arrived) == len(set(arrived))
        assert set(arrived) <= {one.client_order_id for one in self.slices}

    def require_no_burst(self) -> None:
        """One order an interval of the plan, and none close to the one before."""
        slots = [(at - self.slices[0].due_at) // TEN_SECONDS for at in self.sent]
        assert len(slots) == len(set(slots))
        assert all(later - earlier >= TEN_SECONDS * 0.9 for earlier, later in pairwise(self.sent))
        self.require_once()


@pytest.fixture
def line(account: TradingAccount, bench: Bench) -> Line:
    """An account on loopback."""
    return Line(account, bench)


def test_every_slice_leaves_at_its_time(line: Line) -> None:
    """All of the parent, in slices of one size, ten seconds apart."""
    line.start()
    line.run(125)
    assert [OPEN + at * TEN_SECONDS for at in range(12)] == line.sent
    assert ["accepted"] * 12 == line.states
    assert 120 == sum(one.qty for one in line.bench.exchange.accepted)
    assert [one.due_at for one in line.slices] == [one.sent_at for one in line.slices]
    assert {Purpose.SLICE} == {one.intent.purpose for one in line.account.ledger.orders.live(ACCOUNT)}
    assert "12 accepted" == parent_row(line.account, line.parent)["slices"]


def test_what_fills_shows_with_its_slice(line: Line) -> None:
    """Derived from the order."""
    line.start(qty=20, minutes=1, slices=2)
    line.run(2)
    (first,) = line.bench.exchange.accepted
    line.bench.exchange.fill(first.client_order_id)
    settle(line.account, SESSION)
    assert [("filled", Decimal(10)), ("planned", Decimal(0))] == [(one.state, one.filled) for one in line.slices]


def test_a_sender_that_slept_for_a_minute_sends_one_slice_an_interval(line: Line) -> None:
    """Six slices are late and within their grace: each interval one leaves, to the end of the last one's grace."""
    line.start()
    line.run(15)
    assert 2 == len(line.sent)
    line.pause(60)
    line.run(400)
    line.require_no_burst()
    assert ["accepted"] * 12 == line.states


def test_slices_that_expire_when_late_are_not_sent_after_a_pause(line: Line) -> None:
    """Those of the pause are over, explained; those after it leave in time."""
    line.start(when_late=WhenLate.EXPIRE)
    line.run(15)
    line.pause(60)
    line.run(60)
    line.require_no_burst()
    assert ["accepted"] * 2 + ["expired"] * 5 + ["accepted"] * 5 == line.states
    assert "due at 2023-09-05 14:00:20 UTC and not sent by 2023-09-05 14:00:30: nobody looked for it" in (
        line.slices[2].reason
    )


def test_a_process_that_starts_again_two_hours_later_sends_nothing(line: Line) -> None:
    """All that was left has expired, for good."""
    line.start()
    line.run(15)
    line.pause(2 * 3600)
    line.run(60)
    assert 2 == len(line.sent)
    assert ["accepted"] * 2 + ["expired"] * 10 == line.states
    assert all("nobody looked for it" in one.reason for one in line.slices[2:])
    assert ("done", 20) == (
        parent_row(line.account, line.parent)["state"],
        parent_row(line.account, line.parent)["ordered"],
    )


def test_nothing_is_left_of_a_parent_in_the_next_session(line: Line) -> None:
    """However long its grace."""
    line.start(grace_seconds=24 * 3600)
    line.run(15)
    line.pause(24 * 3600)
    line.run(30)
    assert ["accepted"] * 2 + ["expired"] * 10 == line.states
    assert "not sent by 2023-09-05 19:50:00" in line.slices[-1].reason
    assert 2 == len(line.sent)
    assert None is line.service().next_at()


HALTS = {
    "kill switch": ("engage_kill_switch", "disengage_kill_switch", "kill_switch_engaged"),
    "gate": ("close_gate", "open_gate", "gate_closed"),
}


@pytest.mark.parametrize("halt", HALTS)
def test_a_halt_holds_the_next_slice_and_its_end_lets_it_go(line: Line, halt: str) -> None:
    """Within its grace; then one slice an interval again."""
    stop, resume, code = HALTS[halt]
    line.start()
    line.run(15)
    operations = RiskOperations(line.account)
    getattr(operations, stop)(ACTION)
    line.run(30)
    assert 2 == len(line.sent)
    assert ("refused", True) == (line.states[2], code in line.slices[2].waited_for)
    getattr(operations, resume)(ACTION)
    line.run(300)
    line.require_no_burst()
    assert ["accepted"] * 12 == line.states


def test_a_slice_whose_price_aged_in_a_halt_waits_for_a_newer_one(line: Line) -> None:
    """It was made at a quote that is too old when the halt ends, and nobody quotes then."""
    line.account = replace(line.account, prices=line.prices)
    line.prices.source = "midpoint:test"
    line.start()
    line.run(15)
    operations = RiskOperations(line.account)
    operations.close_gate(ACTION)
    line.run(60)
    line.prices.missing = "the newest quote of AAPL is 90 s old"
    operations.open_gate(ACTION)
    line.run(30)
    assert 2 == len(line.sent)
    assert "reference_stale" in line.slices[2].waited_for
    assert line.prices.missing in line.slices[2].waited_for
    line.prices.missing = ""
    line.run(300)
    line.require_no_burst()
    assert ["accepted"] * 12 == line.states


@pytest.mark.parametrize(
    ("verb", "arguments", "code"),
    [
        pytest.param("engage_kill_switch", (), "kill_switch_engaged", id="kill switch"),
        pytest.param("trip_circuit_breaker", (), "breaker_tripped", id="breaker"),
        pytest.param("close_gate", (), "gate_closed", id="gate"),
        pytest.param("quarantine_symbol", ("AAPL", None), "symbol_quarantined", id="quarantine"),
        pytest.param("block_symbol", ("AAPL",), "symbol_blocked", id="block"),
    ],
)
def test_a_slice_that_a_halt_outlasts_expires_with_the_verdict(
    line: Line, verb: str, arguments: tuple[object, ...], code: str
) -> None:
    """Nothing leaves after the halt, and each slice says why."""
    line.start(qty=30, minutes=1, slices=3, grace_seconds=40)
    line.run(5)
    getattr(RiskOperations(line.account), verb)(*arguments, ACTION)
    line.run(150)
    assert 1 == len(line.sent)
    assert ["accepted", "expired", "expired"] == line.states
    assert all(code in one.reason for one in line.slices[1:])
    assert [] == line.account.ledger.orders.unsent(ACCOUNT)


def test_a_limit_that_refuses_a_slice_ends_that_slice_alone(line: Line) -> None:
    """Its verdict is kept, the next one is judged anew."""
    line.start()
    operations = RiskOperations(line.account)
    operations.change_risk_limits([LimitChange(limit="max_order_shares", value=5)], ACTION)
    line.run(5)
    assert ("expired", "the guard refused: order_shares: 10 shares against a limit of 5 shares") == (
        line.states[0],
        line.slices[0].reason,
    )
    operations.change_risk_limits([LimitChange(limit="max_order_shares", value=5_000)], ACTION)
    line.run(10)
    assert ["expired", "accepted"] == line.states[:2]
    row = slice_rows(line.account, line.parent)[0]
    assert row["reason"].startswith("the guard refused: order_shares")


def test_the_guards_rates_are_waited_for_and_then_the_slice_goes(line: Line) -> None:
    """As long as the guard says."""
    RiskOperations(line.account).change_risk_limits([LimitChange(limit="max_orders_per_minute", value=1)], ACTION)
    SubmissionService(line.account, RUN).submit(order("MSFT"))
    line.start(qty=10, minutes=1, slices=1)
    line.service().send_due()
    (one,) = line.slices
    assert "orders_per_minute" in one.waited_for
    assert one.retry_at is not None
    assert timedelta() < one.retry_at - OPEN <= timedelta(minutes=1)
    RiskOperations(line.account).change_risk_limits([LimitChange(limit="max_orders_per_minute", value=500)], ACTION)
    line.run(65)
    assert ["accepted"] == line.states


def test_without_a_price_a_slice_waits_and_goes_once_there_is_one(line: Line) -> None:
    """No order is made meanwhile."""
    line.start()
    line.prices.missing = "the newest quote of AAPL is 90 s old"
    line.run(20)
    assert ([], "waiting") == (line.sent, line.states[0])
    assert [] == line.account.ledger.orders.unsent(ACCOUNT)
    assert (
        f"no price: AAPL has no price: {NoPrice.STALE} (the newest quote of AAPL is 90 s old)" == line.slices[0].reason
    )
    line.prices.missing = ""
    line.run(300)
    line.require_no_burst()
    assert ["accepted"] * 12 == line.states


def test_without_a_price_to_the_end_a_slice_expires_with_the_reason(line: Line) -> None:
    """And nothing is sent."""
    line.start(qty=10, minutes=1, slices=1, grace_seconds=30)
    line.prices.missing = "no quote of AAPL"
    line.run(40)
    assert (["expired"], []) == (line.states, line.sent)
    assert line.slices[0].reason.endswith("(no quote of AAPL)")


def test_the_price_of_an_order_is_that_of_its_moment(line: Line) -> None:
    """Source and instant are kept with it."""
    line.start(qty=20, minutes=1, slices=2)
    line.run(5)
    line.prices.price = Decimal("101.5")
    line.run(40)
    references = [one.intent.reference for one in line.account.ledger.orders.live(ACCOUNT)]
    assert [(Decimal(100), OPEN), (Decimal("101.5"), OPEN + timedelta(seconds=30))] == [
        (one.price, one.as_of) for one in references
    ]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(status=500, body="oops"), id="500 before acceptance"),
        pytest.param(Fault(status=504, after=True), id="504 after acceptance"),
        pytest.param(Fault(kind="reset", after=True), id="reset after acceptance"),
        pytest.param(Fault(kind="hang", after=True), id="hang after acceptance"),
        pytest.param(Fault(status=429), id="429"),
    ],
)
def test_a_fault_of_the_broker_makes_no_second_order_of_a_slice(line: Line, fault: Fault, database_url: str) -> None:
    """Lost answers are looked up, refusals for now are tried again; the others go on at their pace."""
    line.start(qty=30, minutes=1, slices=3)
    line.bench.server.plan_for("POST", "/v2/orders", fault)
    for _ in range(8):
        line.run(20)
        shift_time(database_url, 20)
    line.require_once()
    assert len(line.bench.exchange.accepted) == line.states.count("accepted")
    assert line.states.count("accepted") + line.states.count("expired") == 3
    assert line.states[1:] == ["accepted", "accepted"]


def test_cancelling_stops_the_next_slice(line: Line) -> None:
    """What works at the broker is cancelled too; the rest is never sent."""
    line.start()
    line.run(15)
    done = RiskOperations(line.account).cancel_parent(line.parent.parent_id, ACTION)
    line.run(60)
    assert 2 == len(line.sent)
    assert ["canceled"] * 12 == line.states
    assert 2 == len(done.canceled)
    assert ["canceled"] == [row["state"] for row in parent_rows(line.account)]
    assert "cancel_parent" == line.account.ledger.books.history(ACCOUNT, 1)[0]["action"]


@pytest.mark.parametrize("verb", ["cancel_all_orders", "flatten", "close_position"])
def test_cancelling_everything_cancels_parents(line: Line, verb: str) -> None:
    """A slice would open again what was just closed."""
    line.start()
    line.run(15)
    operations = RiskOperations(line.account)
    if verb == "flatten":
        operations.flatten_positions(ACTION, quotes)
    elif verb == "close_position":
        close_position(line.account, "AAPL", ACTION, quotes)
    else:
        operations.cancel_all_orders(ACTION)
    line.run(60)
    assert 2 == len(line.sent)
    assert ["canceled"] * 12 == line.states


def test_a_slice_is_not_replaced(line: Line) -> None:
    """Its parent counts its shares."""
    line.start()
    line.run(2)
    order_id = line.slices[0].client_order_id
    with pytest.raises(OperatorError, match=f"is a slice of {line.parent.parent_id}"):
        replace_order(line.account, order_id, OrderChange(qty=20), ACTION, quotes)


def test_a_cancelled_parent_gives_up_an_order_that_was_not_sent(line: Line) -> None:
    """One that the guard refused so far."""
    line.start()
    RiskOperations(line.account).engage_kill_switch(ACTION)
    line.run(5)
    assert "refused" == line.states[0]
    line.account.ledger.slices.cancel(line.parent.parent_id, ACTION)
    RiskOperations(line.account).disengage_kill_switch(ACTION)
    line.run(30)
    assert ([], ["expired"] + ["canceled"] * 11) == (line.sent, line.states)
    assert "its parent was cancelled by ada" in line.slices[0].reason


def test_the_traded_volume_caps_a_slice_and_the_rest_is_carried_on(line: Line) -> None:
    """Ten percent of what was traded, never more than the share of the average volume."""
    line.volumes = Volumes(shares=50)
    line.start(max_volume_bps=1_000)
    sender = line.service()
    line.run(15, service=sender)
    assert [5, 5] == [one.qty for one in line.bench.exchange.accepted]
    line.volumes.shares = 0
    line.run(10, service=sender)
    assert ("carried", 3) == (line.states[2], len(line.states) - 9)
    assert "0 shares were traded since the slice before: 20 shares go on to later slices" == line.slices[2].reason
    line.volumes.shares = 1_000_000
    line.run(100, service=sender)
    assert [5, 5, 30, 10] == [int(one.qty) for one in line.bench.exchange.accepted][:4]
    assert 120 == sum(one.qty for one in line.bench.exchange.accepted)
    line.require_no_burst()
    assert line.volumes.asked[1][0] == line.volumes.asked[0][1]


def test_where_the_traded_volume_is_unknown_a_slice_keeps_to_the_average_day(line: Line) -> None:
    """What an interval of it allows, which the plan was bounded by."""
    line.volumes = Volumes(shares=None)
    line.start(max_volume_bps=1)
    line.run(125)
    assert [4] * 12 == [one.qty for one in line.bench.exchange.accepted]


def test_what_no_later_slice_takes_is_never_sent(line: Line) -> None:
    """The last one carries nothing on."""
    line.volumes = Volumes(shares=10)
    line.start(max_volume_bps=1_000)
    line.run(125)
    assert [1] * 12 == [one.qty for one in line.bench.exchange.accepted]


def test_two_senders_at_once_send_each_slice_once(line: Line, database_url: str, redis_url: str, bench: Bench) -> None:
    """Four processes look at the same instants, each with connections of its own."""
    line.start()
    barrier = Barrier(4)

    def send(_: int) -> int:
        with _process(line, database_url, redis_url, bench) as other:
            sender = SliceService(other, RUN, Prices())
            done = 0
            for _ in range(12):
                barrier.wait()
                done += sum(one.state == "accepted" for one in sender.send_due())
                if barrier.wait() == 0:
                    bench.waits.sleep(10)
            return done

    with ThreadPoolExecutor(4) as crowd:
        assert 12 == sum(crowd.map(send, range(4)))
    line.require_once()
    assert [OPEN + at * TEN_SECONDS for at in range(12)] == line.sent


@contextmanager
def _process(line: Line, database_url: str, redis_url: str, bench: Bench) -> Iterator[TradingAccount]:
    client = connect(redis_url)
    try:
        with Ledger(database_url) as ledger:
            guard = RiskGuard(client, ACCOUNT)
            yield replace(line.account, ledger=ledger, guard=guard, broker=bench.broker())
    finally:
        client.close()


def test_what_a_run_finishes_of_others_are_not_slices(line: Line) -> None:
    """A slice left cleared is its sender's: who resumes the account does not know whether it is too late."""
    line.start()
    line.bench.server.plan_for("POST", "/v2/orders", Fault(status=429))
    line.service().send_due()
    assert ["cleared"] == line.states[:1]
    line.pause(3_600)
    SubmissionService(line.account, RUN).resume()
    assert [] == line.sent


BACKFILL = Provenance(run_id="run", backfill="abcd", sessions=(SESSION,))
RANGE = Provenance(run_id="run", sessions=(SESSION, date(2023, 8, 31)))


@pytest.mark.parametrize("provenance", [BACKFILL, RANGE], ids=["backfill", "range"])
def test_a_backfill_neither_starts_a_parent_nor_sends_a_slice(line: Line, provenance: Provenance) -> None:
    """The services refuse it, whoever asks."""
    with pytest.raises(SessionNotTradable, match="never made by a range or a backfill"):
        start(line.account, request(), ACTION, provenance)
    with pytest.raises(SessionNotTradable, match="never made by a range or a backfill"):
        SliceService(line.account, provenance, Prices())
    assert [] == line.account.ledger.slices.latest(ACCOUNT, 5)


def test_the_simulated_exchange_is_refused_by_name_and_can_be_planned_for(kit: Kit) -> None:
    """It has no time of day; a plan needs none."""
    assert 4 == len(preview(kit.account, request()).slices)
    with pytest.raises(SessionNotTradable, match="fills at the next open and knows no time of day"):
        start(kit.account, request(), ACTION, RUN)
    with pytest.raises(SessionNotTradable, match="fills at the next open and knows no time of day"):
        SliceService(kit.account, RUN, Prices())


def test_who_starts_the_same_again_gets_the_parent_that_works(line: Line) -> None:
    """Another request of the same order is refused, and a wanted repeat is a parent of its own."""
    first = line.start()
    line.pause(30)
    assert first == line.start()
    with pytest.raises(OrderConflict, match="by another request"):
        line.start(minutes=3)
    assert first.parent_id != line.start(repeat=1).parent_id


def test_a_parent_across_zero_is_refused_with_its_two_parts(line: Line) -> None:
    """The broker takes no such order, and the slice in the middle would be one."""
    line.start(qty=10, minutes=1, slices=1)
    line.run(2)
    line.bench.exchange.fill(line.bench.exchange.accepted[0].client_order_id)
    settle(line.account, SESSION)
    with pytest.raises(OperatorError, match="sell 10 first, the other 5 once it is flat"):
        line.start(side=Side.SELL, qty=15)
