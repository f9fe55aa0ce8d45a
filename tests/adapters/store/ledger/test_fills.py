"""Executions are booked once each, whenever they arrive, and what was missed is inferred until it does."""

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from itertools import count, permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.pnl import pnl_of_fills
from support.trading import ACCOUNT, SESSION

from tests.adapters.store.ledger.scenes import FIRST, TRADED, arrival, live_order
from trading_pipeline.adapters.store.ledger import Ledger, OrderRecord
from trading_pipeline.core.accounting import Position, replay
from trading_pipeline.core.executions import Cumulative, Executed
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.pnl import session_pnl
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ExecutionConflict

numbers = count()


def told(ledger: Ledger) -> dict[str, Decimal]:
    """Tell the guard's side of all fills and return the shares it was told of by symbol and side."""
    rows = ledger.fills.unposted(ACCOUNT)
    ledger.fills.mark_posted([row["execution_id"] for row in rows])
    shares: dict[str, Decimal] = {}
    for row in rows:
        shares[row["symbol"]] = shares.get(row["symbol"], Decimal(0)) + row["qty"]
    return shares


def reported(order: OrderRecord, qty: Decimal, average: Decimal) -> Cumulative:
    """What the broker says of an order at the end of the session."""
    return Cumulative(
        client_order_id=order.client_order_id,
        symbol=order.intent.symbol,
        side=order.intent.side,
        qty=qty,
        average=average,
        session=TRADED,
        as_of=FIRST + timedelta(minutes=3),
    )


def figures(ledger: Ledger) -> list[tuple[str, Decimal, Decimal, Decimal, Decimal]]:
    """Positions as they are kept."""
    kept = ledger.fills.positions(ACCOUNT)
    return [(name, one.qty, one.average_price, one.realised, one.fees) for name, one in kept.items()]


def test_an_execution_counts_once(ledger: Ledger) -> None:
    """A repeated event changes nothing, fractions are exact, and the order follows."""
    order = live_order(ledger, 10)
    first = arrival(order, "e1", "2.123456789", "100.01")
    assert [False, True] == [one is None for one in ledger.fills.book_many(ACCOUNT, [first, first])]
    stored = ledger.orders.get(order.client_order_id)
    assert (OrderState.PARTIALLY_FILLED, Decimal("2.123456789")) == (stored.state, stored.filled_qty)
    assert Decimal("2.123456789") == ledger.fills.positions(ACCOUNT)["AAPL"].qty


@pytest.mark.parametrize("changed", [{"qty": "3"}, {"price": "99"}])
def test_an_execution_with_other_contents_is_a_conflict(ledger: Ledger, changed: dict[str, str]) -> None:
    """Nothing is overwritten, and the difference is named."""
    order = live_order(ledger)
    ledger.fills.book_many(ACCOUNT, [arrival(order, "e1", "2", "100")])
    offered = arrival(order, "e1", changed.get("qty", "2"), changed.get("price", "100"))
    with pytest.raises(ExecutionConflict, match=next(iter(changed))):
        ledger.fills.book_many(ACCOUNT, [offered])
    assert Decimal(2) == ledger.fills.positions(ACCOUNT)["AAPL"].qty


def test_a_batch_is_booked_as_a_whole_or_not_at_all(ledger: Ledger) -> None:
    """A conflict in the middle leaves nothing of it."""
    order = live_order(ledger)
    ledger.fills.book_many(ACCOUNT, [arrival(order, "e2", "2")])
    with pytest.raises(ExecutionConflict):
        ledger.fills.book_many(ACCOUNT, [arrival(order, "e1", "1"), arrival(order, "e2", "3")])
    assert ["e2"] == [row["execution_id"] for row in ledger.fills.of_order(order.client_order_id)]


def test_a_late_fill_of_a_canceled_order_counts_once_and_leaves_it_canceled(ledger: Ledger) -> None:
    """Terminal is terminal; the shares are ours all the same."""
    order = live_order(ledger, 10)
    ledger.orders.move(order.client_order_id, OrderState.CANCELED)
    for _ in range(2):
        ledger.fills.book_many(ACCOUNT, [arrival(order, "late", "10")])
    stored = ledger.orders.get(order.client_order_id)
    assert (OrderState.CANCELED, Decimal(10)) == (stored.state, stored.filled_qty)
    assert ledger.seals.verify().sound


def test_an_overfill_is_booked_and_found(ledger: Ledger) -> None:
    """More shares than were asked for are ours, and whoever looks for overfilled orders finds this one."""
    order = live_order(ledger, 10)
    ledger.fills.book_many(ACCOUNT, [arrival(order, "e1", "10"), arrival(order, "e2", "4", minutes=1)])
    assert Decimal(14) == ledger.fills.positions(ACCOUNT)["AAPL"].qty
    found = ledger.alerts.overfilled(ACCOUNT, order.intent.trade_session)
    assert [(order.client_order_id, Decimal(14))] == [(row["client_order_id"], row["filled_qty"]) for row in found]


def test_a_late_report_is_written_down_and_changes_nothing(ledger: Ledger) -> None:
    """An acceptance that arrives after the end, twice."""
    order = live_order(ledger, 10)
    ledger.orders.move(order.client_order_id, OrderState.EXPIRED)
    for _ in range(2):
        late = ledger.orders.move(order.client_order_id, OrderState.PARTIALLY_FILLED, broker_at=FIRST)
        assert OrderState.EXPIRED is late.state
    states = [event["to_state"] for event in ledger.orders.events(order.client_order_id)]
    assert ["pending_new", "refused", "cleared", "accepted", "expired", "partially_filled"] == states


def test_missed_executions_are_inferred_from_the_cumulative_figures(ledger: Ledger) -> None:
    """60 at 10 are known; the broker says 100 at 10.4: the 40 that are missing cost 11 each."""
    order = live_order(ledger, 100)
    ledger.fills.book_many(ACCOUNT, [arrival(order, "e1", "60", "10")])
    report = reported(order, Decimal(100), Decimal("10.4"))
    inferred = ledger.fills.book_reported(ACCOUNT, report)
    assert inferred is not None
    assert (Decimal(40), Decimal(11)) == (inferred.fill.qty, inferred.fill.price)
    assert OrderState.FILLED is ledger.orders.get(order.client_order_id).state
    again = ledger.fills.book_reported(ACCOUNT, report)
    assert again is None


def test_figures_below_what_is_booked_in_dollars_are_refused(ledger: Ledger) -> None:
    """A price below zero is no price."""
    order = live_order(ledger, 100)
    ledger.fills.book_many(ACCOUNT, [arrival(order, "e1", "60", "10")])
    with pytest.raises(ExecutionConflict, match="does not fit"):
        ledger.fills.book_reported(ACCOUNT, reported(order, Decimal(61), Decimal(1)))


@pytest.mark.parametrize("told_first", [False, True])
@pytest.mark.parametrize("order_of_arrival", list(permutations(range(3))))
def test_executions_replace_what_was_inferred(
    ledger: Ledger, order_of_arrival: tuple[int, ...], told_first: bool
) -> None:
    """In any order, before or after the guard was told: positions, P&L and the guard end as if nothing was missed."""
    order = live_order(ledger, 100)
    sold = live_order(ledger, 30, side=Side.SELL)
    executions = [
        arrival(order, "e1", "20", "10", fee="1"),
        arrival(order, "e2", "50", "12", fee="1", minutes=1),
        arrival(order, "e3", "30", "11", fee="1", minutes=2),
    ]
    ledger.fills.book_reported(ACCOUNT, reported(order, Decimal(100), Decimal("11.3")))
    ledger.fills.book_many(ACCOUNT, [arrival(sold, "s1", "30", "15", minutes=5)])
    shares = told(ledger) if told_first else {}
    for at in order_of_arrival:
        ledger.fills.book_many(ACCOUNT, [executions[at]])
    shares = {"AAPL": shares.get("AAPL", Decimal(0)) + told(ledger).get("AAPL", Decimal(0))}
    realised = (Decimal(15) - Decimal("11.3")) * 30
    assert [("AAPL", Decimal(70), Decimal("11.3"), realised, Decimal(3))] == figures(ledger)
    assert {"AAPL": Decimal(130)} == shares
    effective = [row["execution_id"] for row in ledger.fills.of_session(ACCOUNT, TRADED)]
    assert ["e1", "e2", "e3", "s1"] == effective
    assert (Decimal(100), Decimal(1130)) == (
        ledger.orders.get(order.client_order_id).filled_qty,
        ledger.orders.get(order.client_order_id).filled_notional,
    )
    assert [] == ledger.seals.verify().problems


def test_an_execution_larger_than_what_was_inferred_counts_whole(ledger: Ledger) -> None:
    """The broker's figures were behind: the guard hears of the excess only."""
    order = live_order(ledger, 100)
    ledger.fills.book_reported(ACCOUNT, reported(order, Decimal(40), Decimal(10)))
    assert {"AAPL": Decimal(40)} == told(ledger)
    ledger.fills.book_many(ACCOUNT, [arrival(order, "e1", "70", "10")])
    assert {"AAPL": Decimal(30)} == told(ledger)
    assert Decimal(70) == ledger.fills.positions(ACCOUNT)["AAPL"].qty


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_order_of_arrival_changes_no_figure(ledger: Ledger, data: st.DataObject) -> None:
    """Shuffled and repeated executions of buys and sells book to what they book to in order."""
    number = next(numbers)
    symbols = [f"S{number}A", f"S{number}B"]
    made = []
    for symbol in symbols:
        bought = live_order(ledger, 100, symbol=symbol)
        sold = live_order(ledger, 90, symbol=symbol, side=Side.SELL)
        for at in range(3):
            price = str(data.draw(st.integers(900, 1100)) / 100)
            made.append(arrival(bought, f"{symbol}b{at}", str(10 + at), price, fee="0.35", minutes=2 * at))
            made.append(arrival(sold, f"{symbol}s{at}", str(7 + 5 * at), price, minutes=2 * at + 1))
    shuffled = data.draw(st.permutations(made))
    for execution in [*shuffled, *shuffled[:4]]:
        ledger.fills.book_many(ACCOUNT, [execution])
    as_shuffled = {name: one for name, one in ledger.fills.positions(ACCOUNT).items() if name in symbols}
    in_order = sorted(made, key=lambda one: one.executed_at)
    by_replay = replay(one.fill for one in in_order)
    assert {name: (one.qty, one.realised, one.fees) for name, one in by_replay.items() if one.qty} == {
        name: (one.qty, one.realised, one.fees) for name, one in as_shuffled.items()
    }


def _cumulative(order: OrderRecord, executions: list[Executed]) -> Cumulative:
    """What the broker says after these executions; it rounds averages."""
    qty = sum((one.fill.qty for one in executions), Decimal(0))
    paid = sum((one.fill.qty * one.fill.price for one in executions), Decimal(0))
    return reported(order, qty, (paid / qty).quantize(Decimal("1e-8")))


def _pnl(ledger: Ledger, symbols: list[str]) -> tuple[Decimal, Decimal, Decimal, dict[str, Decimal]]:
    marks = dict.fromkeys(symbols, Decimal("101.37"))
    now, before = (
        {name: one for name, one in ledger.fills.positions_at(ACCOUNT, session).items() if name in symbols}
        for session in (TRADED, SESSION)
    )
    row = session_pnl(TRADED, now=now, before=before, marks=marks, marks_before=marks, capital=Decimal(1000))
    return row.realised, row.fees, row.equity, {name: one.qty for name, one in row.positions.items()}


def test_positions_stand_at_every_close_as_a_replay_has_them(ledger: Ledger) -> None:
    """Also where an execution of an earlier session came late, one was inferred first, and a position was closed."""
    second = xnys().next(TRADED)
    bought, sold = live_order(ledger, 100), live_order(ledger, 100, side=Side.SELL)
    other = live_order(ledger, 10, symbol="MSFT")
    made = [
        arrival(bought, "b1", "60", "101.5", fee="1"),
        arrival(bought, "b2", "40", "102.25", fee="1", minutes=3),
        arrival(sold, "s1", "100", "99.75", session=second),
        arrival(other, "m1", "10", "300", fee="0.35", session=second),
    ]
    ledger.fills.book_many(ACCOUNT, made[:1])
    ledger.fills.book_reported(ACCOUNT, _cumulative(bought, made[:2]))
    ledger.fills.book_many(ACCOUNT, made[2:])
    ledger.fills.book_many(ACCOUNT, made[1:2])
    for session in (SESSION, TRADED, second, xnys().next(second)):
        nothing = {one.fill.symbol: Position(symbol=one.fill.symbol) for one in made}
        by_replay = replay(one.fill for one in made if one.fill.session <= session)
        assert nothing | by_replay == ledger.fills.positions_at(ACCOUNT, session)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_dropped_and_shuffled_executions_with_reports_between_end_as_the_clean_order_of_events(
    ledger: Ledger, data: st.DataObject
) -> None:
    """Whatever came when, and whenever the guard was told: positions and P&L to the cent, and each share told once."""
    number = next(numbers)
    symbols = [f"R{number}A", f"R{number}B"]
    clean: list[Executed] = []
    steps: list[Executed | Cumulative | str] = []
    for at, symbol in enumerate(symbols):
        for side in Side:
            order = live_order(ledger, 100, symbol=symbol, side=side)
            shares = data.draw(st.lists(st.integers(1, 30_000).map(lambda one: Decimal(one) / 1000), max_size=4))
            own = [
                arrival(
                    order,
                    f"{symbol}{side.value}{index}",
                    str(qty),
                    str(Decimal(data.draw(st.integers(9_000, 11_000))) / 100),
                    fee="0.35",
                    minutes=data.draw(st.integers(0, 9)),
                )
                for index, qty in enumerate(shares)
            ]
            clean += own
            known_to_broker = range(1, len(own) + 1)
            steps += [_cumulative(order, own[:upto]) for upto in known_to_broker if data.draw(st.booleans())]
            steps += [one for one in own if data.draw(st.booleans())]
        steps += ["the guard is told"] * (1 + at)
    told_shares: dict[str, Decimal] = {}
    for step in [*data.draw(st.permutations(steps)), *data.draw(st.permutations(clean)), "the guard is told"]:
        if isinstance(step, Executed):
            ledger.fills.book_many(ACCOUNT, [step])
        elif isinstance(step, Cumulative):
            with suppress(ExecutionConflict):  # an average older than what is known may not fit: nothing is booked
                ledger.fills.book_reported(ACCOUNT, step)
        else:
            for symbol, qty in told(ledger).items():
                told_shares[symbol] = told_shares.get(symbol, Decimal(0)) + qty
    in_order = sorted(clean, key=lambda one: one.moment)
    positions = replay(one.fill for one in in_order)
    expected = pnl_of_fills(
        TRADED,
        [one.fill for one in in_order],
        marks=dict.fromkeys(symbols, Decimal("101.37")),
        marks_before={},
        capital=Decimal(1000),
    )
    assert (
        expected.realised,
        expected.fees,
        expected.equity,
        {name: one.qty for name, one in expected.positions.items()},
    ) == _pnl(ledger, symbols)
    kept = ledger.fills.positions(ACCOUNT)
    assert {name: one for name, one in positions.items() if one.qty} == {
        name: one for name, one in kept.items() if name in symbols
    }
    filled = {
        symbol: sum((one.fill.qty for one in clean if one.fill.symbol == symbol), Decimal(0)) for symbol in symbols
    }
    assert {symbol: qty for symbol, qty in filled.items() if qty} == {
        symbol: qty for symbol, qty in told_shares.items() if symbol in symbols
    }
    assert [] == ledger.seals.verify().problems
