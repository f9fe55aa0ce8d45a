"""Fills come home once, and ended orders give their exposure back."""

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import redis
from support.stepped_redis import interrupted
from support.trading import ACCOUNT, ACTION, FREE, RUN, SESSION, Kit, order, trading_kit, valuation

from trading_pipeline.adapters.broker.matching import ExchangeCosts
from trading_pipeline.adapters.broker.protocol import Broker, BrokerOrder, Execution
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.scripts import source
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.prices import opening_bars
from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.executions import Executed
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.halts import Breaker
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import BarsUnavailable, OrderError
from trading_pipeline.services.differences import DifferenceKind
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import verify_book

NEXT = xnys().next(SESSION)


def _book(kit: Kit) -> dict[str, int]:
    snapshot = kit.guard.snapshot()
    assert snapshot is not None
    return {symbol: shares for symbol, shares in snapshot.positions.items() if shares}


def test_fills_move_position_book_and_order_together(kit: Kit) -> None:
    """Ledger, guard and broker agree afterwards."""
    submitted = SubmissionService(kit.account, RUN).submit(order(qty=10)).order
    settlement = settle(kit.account, NEXT)

    assert 1 == len(settlement.booked)
    filled = kit.ledger.orders.get(submitted.client_order_id)
    assert filled is not None
    assert OrderState.FILLED is filled.state
    assert {"AAPL": Decimal(10)} == kit.positions() == kit.exchange.positions()
    assert {"AAPL": 10} == _book(kit)


def test_settling_again_changes_nothing(kit: Kit) -> None:
    """Every replay is harmless."""
    SubmissionService(kit.account, RUN).submit(order(qty=10))
    settle(kit.account, NEXT)
    again = settle(kit.account, NEXT)

    assert ((), ()) == (again.booked, again.ended)
    assert {"AAPL": Decimal(10)} == kit.positions()
    assert {"AAPL": 10} == _book(kit)


def test_a_partial_fill_keeps_its_shares_and_frees_the_rest(database_url: str, redis_url: str) -> None:
    """The unfilled half expires with the day and holds nothing any more."""
    costs = ExchangeCosts(slippage_bps=Decimal(0), partial_rate=Decimal(1))
    with trading_kit(database_url, redis_url, costs=costs) as kit:
        submitted = SubmissionService(kit.account, RUN).submit(order(qty=10)).order
        settle(kit.account, NEXT)

        ended = kit.ledger.orders.get(submitted.client_order_id)
        assert ended is not None
        assert (OrderState.EXPIRED, Decimal(5)) == (ended.state, ended.filled_qty)
        assert Decimal(0) == kit.ledger.orders.exposure(ACCOUNT)["AAPL"].pending
        snapshot = kit.guard.snapshot()
        assert snapshot is not None
        assert () == tuple(snapshot.reservations)


def test_fills_booked_while_the_guard_was_away_are_posted_later(kit: Kit, redis_url: str) -> None:
    """The ledger does not wait for Redis, and Redis learns everything once."""
    SubmissionService(kit.account, RUN).submit(order(qty=10))
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "PAUSE", "2500", "ALL")
        settle(kit.account, NEXT)
        client.execute_command("CLIENT", "UNPAUSE")
    assert {"AAPL": Decimal(10)} == kit.positions()
    assert 1 == len(kit.ledger.fills.unposted(ACCOUNT))

    settle(kit.account, NEXT)
    assert {"AAPL": 10} == _book(kit)
    assert [] == kit.ledger.fills.unposted(ACCOUNT)


def test_a_rebuild_does_not_count_an_unposted_fill_twice(kit: Kit, redis_url: str) -> None:
    """The fill is in the rebuilt position; posting it afterwards is a replay."""
    SubmissionService(kit.account, RUN).submit(order(qty=10))
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    settle(kit.account, NEXT)
    kit.operations.rebuild_risk_book(ACTION)
    settle(kit.account, NEXT)

    assert {"AAPL": 10} == _book(kit)


def test_a_late_fill_of_an_ended_order_is_booked_all_the_same(kit: Kit) -> None:
    """The shares are ours whatever the order's state says."""
    submitted = SubmissionService(kit.account, RUN).submit(order(qty=10)).order
    kit.operations.cancel_all_orders(ACTION)
    late = Fill(
        execution_id="late-1",
        symbol="AAPL",
        side=Side.BUY,
        qty=Decimal(4),
        price=Decimal(100),
        fee=Decimal(0),
        session=NEXT,
    )
    kit.ledger.fills.book(ACCOUNT, submitted.client_order_id, late, datetime.now(UTC))
    settle(kit.account, NEXT)

    ended = kit.ledger.orders.get(submitted.client_order_id)
    assert ended is not None
    assert (OrderState.CANCELED, Decimal(4)) == (ended.state, ended.filled_qty)
    assert {"AAPL": 4} == _book(kit)


def test_late_shares_of_which_no_execution_is_shown_are_booked_from_the_figures(kit: Kit) -> None:
    """An order that ended here has more shares at the broker: they are ours, named, and counted once."""
    order_id = SubmissionService(kit.account, RUN).submit(order(qty=10)).order.client_order_id
    kit.operations.cancel_all_orders(ACTION)
    late = _Late(kit.account.broker, order_id, qty=Decimal(4))
    account = replace(kit.account, broker=late)  # type: ignore[arg-type]
    settle(account, SESSION)
    assert ["synthetic"] == [row["kind"] for row in kit.ledger.fills.of_order(order_id)]
    assert ({"AAPL": Decimal(4)}, {"AAPL": 4}) == (kit.positions(), _book(kit))
    late.shows_executions = True
    settle(account, SESSION)
    assert ["execution"] == [row["kind"] for row in kit.ledger.fills.of_order(order_id)]
    assert ({"AAPL": Decimal(4)}, {"AAPL": 4}) == (kit.positions(), _book(kit))
    stored = kit.ledger.orders.get(order_id)
    assert stored is not None
    assert (OrderState.CANCELED, Decimal(4)) == (stored.state, stored.filled_qty)
    assert ["late_fill"] == _kinds(kit)


class _Late:
    """A broker that filled shares of an order after its end, and shows only the order's figures at first."""

    def __init__(self, broker: Broker, order_id: str, *, qty: Decimal) -> None:
        self._broker, self._order_id, self._qty = broker, order_id, qty
        self.shows_executions = False

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """Show the order with its late shares."""
        return self.find_many([client_order_id]).get(client_order_id)

    def find_many(self, client_order_ids: Collection[str]) -> dict[str, BrokerOrder]:
        """Show each order, that one with its late shares."""
        found = self._broker.find_many(client_order_ids)
        late = {"filled_qty": self._qty, "average_price": Decimal(100)}
        return {key: replace(one, **late) if key == self._order_id else one for key, one in found.items()}

    def executions(self, client_order_ids: Sequence[str]) -> list[Execution]:
        """Show the late execution once it is to be shown."""
        shown = self.shows_executions and self._order_id in client_order_ids
        one = _arrival(self._order_id, "late-1", int(self._qty))
        late = Execution(client_order_id=self._order_id, fill=one.fill, executed_at=one.executed_at)
        return [*self._broker.executions(client_order_ids), *([late] if shown else [])]

    def __getattr__(self, name: str) -> object:
        return getattr(self._broker, name)


def test_an_execution_the_broker_contradicts_keeps_no_other_from_being_booked(kit: Kit) -> None:
    """The corrected one is named and its symbol blocked; every settlement after it goes on."""
    service = SubmissionService(kit.account, RUN)
    corrected = service.submit(order("AAPL", qty=10)).order.client_order_id
    other = service.submit(order("MSFT", qty=5)).order.client_order_id
    kit.exchange.advance(NEXT)
    first = kit.exchange.executions([corrected])[0]
    kit.ledger.fills.book(ACCOUNT, corrected, replace(first.fill, price=Decimal(99)), first.executed_at)

    for _ in range(2):
        settle(kit.account, NEXT)
    assert {"AAPL": Decimal(10), "MSFT": Decimal(5)} == kit.positions()
    assert kit.ledger.orders.get(other).state is OrderState.FILLED
    assert {"AAPL"} == set(kit.ledger.books.blocked(ACCOUNT))
    assert ["execution_conflict"] == [alert["kind"] for alert in kit.ledger.alerts.latest()]


def test_an_execution_of_an_unknown_order_is_refused_by_name(kit: Kit) -> None:
    """Nothing is booked to nobody."""
    stray = Fill(
        execution_id="x", symbol="AAPL", side=Side.BUY, qty=Decimal(1), price=Decimal(1), fee=Decimal(0), session=NEXT
    )
    with pytest.raises(OrderError, match="not in the ledger"):
        kit.ledger.fills.book(ACCOUNT, "0" * 24, stray, datetime.now(UTC))


def test_the_exchange_survives_a_restart(database_url: str, redis_url: str) -> None:
    """Orders wait in PostgreSQL for their session."""
    with trading_kit(database_url, redis_url, costs=FREE) as kit:
        SubmissionService(kit.account, RUN).submit(order(qty=10))
    with trading_kit(database_url, redis_url, costs=FREE, initialise=False) as kit:
        settle(kit.account, NEXT)
        assert {"AAPL": Decimal(10)} == kit.positions()


def test_an_end_waits_for_its_fills_before_it_frees_exposure(kit: Kit, redis_url: str) -> None:
    """Shares that are ours but not yet in the book stay reserved there."""
    submitted = SubmissionService(kit.account, RUN).submit(order(qty=10)).order
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "PAUSE", "2500", "ALL")
        settle(kit.account, NEXT)
        client.execute_command("CLIENT", "UNPAUSE")
    assert [] == kit.ledger.orders.unreleased(ACCOUNT)
    snapshot = kit.guard.snapshot()
    assert snapshot is not None
    assert {submitted.client_order_id} == set(snapshot.reservations)


def test_a_session_without_any_bars_leaves_its_orders_waiting(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Missing data is not a session in which nothing traded."""
    with trading_kit(database_url, redis_url, openings=opening_bars(Lake(tmp_path))) as kit:
        submitted = SubmissionService(kit.account, RUN).submit(order()).order
        with pytest.raises(BarsUnavailable, match=str(NEXT)):
            settle(kit.account, NEXT)
        waiting = kit.exchange.find(submitted.client_order_id)
    assert waiting is not None
    assert OrderState.ACCEPTED is waiting.state


def test_an_order_stays_live_until_every_share_the_broker_filled_is_booked(kit: Kit) -> None:
    """An end that is known before its fills frees nothing."""
    submitted = SubmissionService(kit.account, RUN).submit(order(qty=10)).order
    kit.broker.hides_executions = kit.broker.hides_averages = True
    settle(kit.account, NEXT)
    waiting = kit.ledger.orders.get(submitted.client_order_id)
    snapshot = kit.guard.snapshot()
    assert waiting is not None
    assert snapshot is not None
    assert not waiting.state.terminal
    assert {submitted.client_order_id} == set(snapshot.reservations)

    kit.broker.hides_executions = False
    settle(kit.account, NEXT)
    filled = kit.ledger.orders.get(submitted.client_order_id)
    assert filled is not None
    assert OrderState.FILLED is filled.state


def test_shares_whose_executions_are_missing_are_booked_from_the_average_until_they_come(kit: Kit) -> None:
    """Position, book and order are right at once; the executions take the place without counting twice."""
    order_id = SubmissionService(kit.account, RUN).submit(order(qty=10)).order.client_order_id
    kit.broker.hides_executions = True
    settle(kit.account, NEXT)
    assert ["synthetic"] == [row["kind"] for row in kit.ledger.fills.of_order(order_id)]
    assert {"AAPL": Decimal(10)} == kit.positions()
    assert {"AAPL": 10} == _book(kit)
    assert kit.ledger.orders.get(order_id).state is OrderState.FILLED

    kit.broker.hides_executions = False
    found = verify_book(kit.account).differences
    assert {DifferenceKind.EXECUTION_NOT_BOOKED} == {one.kind for one in found}
    settle(kit.account, NEXT)
    assert ["execution"] == [row["kind"] for row in kit.ledger.fills.of_order(order_id)]
    assert {"AAPL": 10} == _book(kit)
    assert verify_book(kit.account).agrees
    assert kit.ledger.seals.verify().sound


def test_an_average_that_contradicts_the_executions_is_named_and_its_order_stays_live(kit: Kit) -> None:
    """The shares that are missing would have cost less than nothing."""
    order_id = SubmissionService(kit.account, RUN).submit(order(qty=10)).order.client_order_id
    dear = Fill(
        execution_id="x", symbol="AAPL", side=Side.BUY, qty=Decimal(9), price=Decimal(900), fee=Decimal(0), session=NEXT
    )
    kit.ledger.fills.book(ACCOUNT, order_id, dear, datetime.now(UTC))
    kit.broker.hides_executions = True
    settle(kit.account, NEXT)
    assert kit.ledger.orders.get(order_id).state is OrderState.PARTIALLY_FILLED
    assert {"AAPL": Decimal(9)} == kit.positions()
    assert ["execution_conflict"] == [alert["kind"] for alert in kit.ledger.alerts.latest()]


def _arrival(order_id: str, name: str, qty: int, *, symbol: str = "AAPL", side: Side = Side.BUY) -> Executed:
    fill = Fill(
        execution_id=name, symbol=symbol, side=side, qty=Decimal(qty), price=Decimal(100), fee=Decimal(0), session=NEXT
    )
    return Executed(client_order_id=order_id, fill=fill, executed_at=datetime.now(UTC))


def _kinds(kit: Kit) -> list[str]:
    return [row["kind"] for row in kit.ledger.alerts.latest()]


def test_a_late_fill_and_an_overfill_are_named_although_a_crash_followed_their_booking(kit: Kit) -> None:
    """Once each: neither a later settlement nor the one after it repeats them, or blocks what a person let trade."""
    service = SubmissionService(kit.account, RUN)
    ended = service.submit(order("AAPL", qty=10)).order.client_order_id
    kit.operations.cancel_all_orders(ACTION)
    overfilled = service.submit(order("MSFT", qty=5)).order.client_order_id
    kit.exchange.cancel(overfilled)
    kit.clock.advance(1)
    # Booked, and the process died before it did anything else.
    kit.ledger.fills.book_many(ACCOUNT, [_arrival(ended, "late", 4), _arrival(overfilled, "much", 7, symbol="MSFT")])

    for _ in range(2):
        settle(kit.account, SESSION)
        assert ["late_fill", "overfill"] == sorted(_kinds(kit))
    assert {"AAPL", "MSFT"} == set(kit.ledger.books.blocked(ACCOUNT))

    kit.operations.unblock_symbol("MSFT", ACTION)
    settle(kit.account, SESSION)
    assert {"AAPL"} == set(kit.ledger.books.blocked(ACCOUNT))


def test_a_loss_is_judged_although_a_crash_followed_its_booking(kit: Kit) -> None:
    """Booked at 100, worth 1: the next settlement, which books nothing, trips the breaker."""
    order_id = SubmissionService(kit.account, RUN).submit(order(qty=10)).order.client_order_id
    settle(kit.account, NEXT)
    kit.ledger.fills.book_many(ACCOUNT, [_arrival(order_id, "unjudged", 10)])

    poor = replace(kit.account, valuation=valuation(Decimal(1), capital=Decimal(2100)))
    settle(poor, NEXT)
    assert Breaker.TRIPPED is kit.ledger.books.get(ACCOUNT).breaker
    assert None is kit.ledger.monitors.unwatched_fill(ACCOUNT)


def test_a_fill_of_another_symbol_than_its_order_keeps_no_other_from_being_told(kit: Kit) -> None:
    """It is named and its symbol blocked, its order's exposure stays held, and the rest settles."""
    service = SubmissionService(kit.account, RUN)
    wrong = service.submit(order("AAPL", qty=10)).order.client_order_id
    right = service.submit(order("MSFT", qty=5)).order.client_order_id
    arrived = [_arrival(wrong, "a", 10, symbol="XOM"), _arrival(right, "b", 5, symbol="MSFT")]
    kit.ledger.fills.book_many(ACCOUNT, arrived)
    for order_id in (wrong, right):
        kit.exchange.cancel(order_id)

    for _ in range(2):
        settle(kit.account, SESSION)
    snapshot = kit.guard.snapshot()
    assert snapshot is not None
    assert {"MSFT": 5} == _book(kit)
    assert {wrong} == set(snapshot.reservations)
    assert ["fill_misfit"] == _kinds(kit)
    assert {"XOM"} == set(kit.ledger.books.blocked(ACCOUNT))


@pytest.mark.parametrize("at", range(6))
def test_a_guard_that_is_lost_between_two_fills_or_ends_is_told_all_by_the_next_settlement(
    kit: Kit, redis_url: str, at: int
) -> None:
    """Three posts, then three ends: nothing that may not have arrived is marked, and what is told twice counts once."""

    def breaks() -> None:
        raise redis.ConnectionError("the line broke")

    for symbol in ("AAPL", "MSFT", "TSLA"):
        SubmissionService(kit.account, RUN).submit(order(symbol, qty=10))
    with closing(interrupted(redis_url)) as line:
        for verb in ("post", "void"):
            line.script_load(source(verb))
        line.interrupt(at, breaks)
        settle(replace(kit.account, guard=RiskGuard(line, ACCOUNT)), NEXT)
    untold = 3 if at < 3 else 0
    assert (untold, 3 - untold) == (len(kit.ledger.fills.unposted(ACCOUNT)), len(kit.ledger.orders.unreleased(ACCOUNT)))
    assert {"AAPL": 10, "MSFT": 10, "TSLA": 10} == kit.positions()

    settle(kit.account, NEXT)
    assert ([], []) == (kit.ledger.fills.unposted(ACCOUNT), kit.ledger.orders.unreleased(ACCOUNT))
    assert {"AAPL": 10, "MSFT": 10, "TSLA": 10} == _book(kit)
    assert verify_book(kit.account).agrees
