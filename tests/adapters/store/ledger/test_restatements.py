"""A corporate action restates positions, limits and orders once, and counts among fills at its own moment."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.trading import ACCOUNT, ACTION, SESSION

from tests.adapters.store.ledger.conftest import Intruder
from tests.adapters.store.ledger.scenes import TRADED, arrival, live_order
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.core.accounting import ZERO, Position
from trading_pipeline.core.corporate_actions import ActionKind
from trading_pipeline.core.executions import Executed
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.restating import Event, Restatement, replay_events
from trading_pipeline.core.risk.limits import LimitChange
from trading_pipeline.core.sessions import xnys

LATER = xnys().next(TRADED)
numbers = count()


def action(ratio: str = "1", *, symbol: str = "AAPL", new: str = "", day: date = LATER, rank: int = 0) -> Restatement:
    """An action that takes effect at the midnight its day begins with."""
    return Restatement(
        action_id=f"a{next(numbers)}",
        kind=ActionKind.SYMBOL_CHANGE if new else ActionKind.SPLIT,
        symbol=symbol,
        session=day,
        at=datetime(day.year, day.month, day.day, 4, tzinfo=UTC),
        rank=rank,
        ratio=Fraction(ratio),
        new_symbol=new,
    )


def at(execution: Executed, session: date) -> Executed:
    """The same execution at the open of another session."""
    order_id, fill = execution.client_order_id, execution.fill
    moved = type(fill)(
        execution_id=fill.execution_id,
        symbol=fill.symbol,
        side=fill.side,
        qty=fill.qty,
        price=fill.price,
        fee=fill.fee,
        session=session,
    )
    instant = datetime(session.year, session.month, session.day, 13, 30, tzinfo=UTC)
    return Executed(client_order_id=order_id, fill=moved, executed_at=instant)


def held(ledger: Ledger, session: date | None = None) -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    """Shares, average price and realised dollars, now or at a close; flat symbols left out."""
    kept = ledger.fills.positions(ACCOUNT) if session is None else ledger.fills.positions_at(ACCOUNT, session)
    return {name: (one.qty, one.average_price, one.realised) for name, one in kept.items() if one.qty}


@pytest.fixture
def holding(ledger: Ledger) -> Ledger:
    """Ten shares of AAPL, bought for 400 each."""
    ledger.fills.book_many(ACCOUNT, [arrival(live_order(ledger, 10), "e1", "10", "400")])
    return ledger


def test_a_split_restates_the_position_and_keeps_its_dollars(holding: Ledger) -> None:
    """40 at 100 from its session on, 10 at 400 at every close before; nothing is realised, and the chain holds it."""
    row = holding.restatements.record(ACCOUNT, action("4"), ACTION)
    assert row is not None
    assert {"AAPL": {"shares": "10", "average_price": "400.0000000000", "cost": "4000"}} == row["before"]
    assert {"AAPL": {"shares": "40", "average_price": "100.0000000000", "cost": "4000"}} == row["after"]
    assert {"AAPL": (Decimal(40), Decimal(100), ZERO)} == held(holding) == held(holding, LATER)
    assert {"AAPL": (Decimal(10), Decimal(400), ZERO)} == held(holding, TRADED)
    check = holding.seals.verify()
    assert check.sound, check.problems
    assert 1 == check.rows_by_table["restatements"]


def test_a_reverse_split_keeps_the_fraction(holding: Ledger) -> None:
    """10 for 3 new ones of 4 old: 7.5 at 533.33, for the same 4000 dollars."""
    holding.restatements.record(ACCOUNT, action("3/4"), ACTION)
    assert Decimal("7.5") == holding.fills.positions(ACCOUNT)["AAPL"].qty
    assert Decimal(4000) == holding.fills.positions(ACCOUNT)["AAPL"].cost


def test_an_action_counts_once(holding: Ledger) -> None:
    """A second run finds it, and changes nothing, neither the epoch nor the chain."""
    split = action("4")
    holding.restatements.record(ACCOUNT, split, ACTION)
    head, epoch = holding.seals.head(), holding.books.get(ACCOUNT).epoch
    assert holding.restatements.record(ACCOUNT, split, ACTION) is None
    assert (head, epoch) == (holding.seals.head(), holding.books.get(ACCOUNT).epoch)


def test_what_is_neither_held_nor_ordered_is_not_recorded(holding: Ledger) -> None:
    """So an action of a company that is bought later is none of the account's."""
    assert holding.restatements.record(ACCOUNT, action("4", symbol="MSFT"), ACTION) is None
    assert [] == holding.restatements.all(ACCOUNT)


def test_limits_in_shares_follow_with_the_action_as_their_reason(holding: Ledger) -> None:
    """The symbol's own, rounded down; dollars, the account's and those of other symbols stay."""
    changes = [
        LimitChange(limit="max_position_shares", value=25, symbol="AAPL"),
        LimitChange(limit="max_position_notional", value=Decimal(900), symbol="AAPL"),
        LimitChange(limit="max_order_shares", value=7, symbol="MSFT"),
    ]
    record = holding.books.set_limits(ACCOUNT, changes, ACTION)
    restated = holding.restatements.record(ACCOUNT, action("3/2"), ACTION)
    assert restated is not None
    after = holding.books.get(ACCOUNT)
    assert after.epoch > record.epoch
    assert 37 == after.limit_set.effective(after.read_at, "AAPL").max_position_shares
    assert Decimal(900) == after.limit_set.effective(after.read_at, "AAPL").max_position_notional
    assert 7 == after.limit_set.effective(after.read_at, "MSFT").max_order_shares
    assert record.limits == after.limits
    newest = holding.books.limit_changes(ACCOUNT, 1)[0]
    assert ("AAPL", "25", "37") == (newest["symbol"], newest["from_value"], newest["to_value"])


def test_the_cancellation_of_orders_sized_before_is_asked_for(holding: Ledger) -> None:
    """They are named in the record; ended ones are not, and nobody resizes one."""
    (first,) = holding.orders.of_session(ACCOUNT, SESSION)
    open_order = live_order(holding, 30, side=Side.SELL)
    row = holding.restatements.record(ACCOUNT, action("4"), ACTION)
    assert row is not None
    assert [open_order.client_order_id] == [one["client_order_id"] for one in row["orders"]]
    stored = holding.orders.get(open_order.client_order_id)
    assert stored is not None
    assert stored.cancel_requested_at is not None
    assert 30 == stored.intent.qty
    ended = holding.orders.get(first.client_order_id)
    assert ended is not None
    assert (OrderState.FILLED, None) == (ended.state, ended.cancel_requested_at)


def test_a_change_of_symbol_moves_the_position_and_what_was_realised_stays(holding: Ledger) -> None:
    """The old name is flat and keeps its profit; the new one has shares and cost; the limits move along."""
    holding.books.set_limits(ACCOUNT, [LimitChange(limit="max_order_shares", value=7, symbol="AAPL")], ACTION)
    sale = live_order(holding, 4, side=Side.SELL)
    holding.fills.book_many(ACCOUNT, [arrival(sale, "e2", "4", "410", minutes=1)])
    holding.restatements.record(ACCOUNT, action(new="NEW"), ACTION)
    assert {"NEW": (Decimal(6), Decimal(400), ZERO)} == held(holding)
    assert Decimal(40) == holding.fills.positions_at(ACCOUNT, LATER)["AAPL"].realised
    assert {"AAPL": (Decimal(6), Decimal(400), Decimal(40))} == held(holding, TRADED)
    after = holding.books.get(ACCOUNT)
    assert 7 == after.limit_set.effective(after.read_at, "NEW").max_order_shares
    assert holding.seals.verify().sound


def test_a_late_fill_of_before_is_restated_too(holding: Ledger) -> None:
    """2 more, bought at 380 before the split and told after it: 48, and a sale of after keeps its price."""
    sale = live_order(holding, 8, side=Side.SELL)
    holding.restatements.record(ACCOUNT, action("4"), ACTION)
    holding.fills.book_many(ACCOUNT, [at(arrival(sale, "e2", "8", "101"), LATER)])
    late = live_order(holding, 2)
    holding.fills.book_many(ACCOUNT, [arrival(late, "e3", "2", "380", minutes=1)])
    position = holding.fills.positions(ACCOUNT)["AAPL"]
    assert Decimal(40) == position.qty
    assert Decimal(8 * 101) - Decimal(4760) * 8 / 48 == pytest.approx(position.realised)
    assert Decimal(12) == holding.fills.positions_at(ACCOUNT, TRADED)["AAPL"].qty
    assert holding.seals.verify().sound


def test_a_late_told_action_replays_what_happened_after_it(holding: Ledger) -> None:
    """A sale of its own day at the new price is a profit of 8, not a loss of three quarters."""
    sale = live_order(holding, 8, side=Side.SELL)
    holding.fills.book_many(ACCOUNT, [at(arrival(sale, "e2", "8", "101"), LATER)])
    assert Decimal(-2392) == holding.fills.positions(ACCOUNT)["AAPL"].realised
    holding.restatements.record(ACCOUNT, action("4"), ACTION)
    assert {"AAPL": (Decimal(32), Decimal(100), Decimal(8))} == held(holding)


def test_a_changed_record_shows(holding: Ledger, intruder: Intruder) -> None:
    """The ratio is a fact: whoever changes it breaks the seal, and the position does not follow any more."""
    holding.restatements.record(ACCOUNT, action("4"), ACTION)
    intruder.execute("update ledger.restatements set ratio_new = 5")
    tables = {problem.table for problem in holding.seals.verify().problems}
    assert {"restatements", "positions"} == tables


Histories = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["buy", "sell"]), st.sampled_from("AB"), st.integers(1, 40), st.integers(1, 500)),
        st.tuples(st.just("split"), st.sampled_from("AB"), st.integers(1, 5), st.integers(1, 5)),
        st.tuples(st.just("move"), st.just("A"), st.just(1), st.just(1)),
    ),
    min_size=1,
    max_size=8,
)


def _event(ledger: Ledger, place: int, drawn: tuple[str, str, int, int]) -> Event:
    what, symbol, many, other = drawn
    day = xnys().shift(TRADED, place)
    if what == "split":
        return action(f"{many}/{other}", symbol=symbol, day=day)
    if what == "move":
        return action(symbol="A", new="B", day=day)
    order = live_order(ledger, many, symbol=symbol, side=Side(what))
    return at(arrival(order, f"e{next(numbers)}", str(many), str(other)), day)


def _tell(ledger: Ledger, account: str, events: Sequence[Event]) -> None:
    for event in events:
        if isinstance(event, Restatement):
            ledger.restatements.record(account, event, ACTION)
        else:
            ledger.fills.book_many(account, [event])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=Histories, data=st.data())
def test_dollars_are_conserved_and_any_order_of_arrival_gives_the_same(
    ledger: Ledger, history: list[tuple[str, str, int, int]], data: st.DataObject
) -> None:
    """Cost and cash together are what was realised; the ledger, however it was told, is the replay in order."""
    account = f"property{next(numbers)}"
    events = [_event(ledger, place, drawn) for place, drawn in enumerate(history)]
    told = data.draw(st.permutations(events))
    _tell(ledger, account, told)
    # What found nothing held when it was told is told again, as each session does.
    _tell(ledger, account, [event for event in events if isinstance(event, Restatement)])
    counted = {row["action_id"] for row in ledger.restatements.all(account)}
    follows = replay_events(e for e in events if not isinstance(e, Restatement) or e.action_id in counted)
    assert _open(ledger.fills.positions_at(account, date(2030, 1, 1))) == _open(follows) == _open(replay_events(events))
    fills = [event.fill for event in events if isinstance(event, Executed)]
    cash = sum((-fill.signed_qty * fill.price for fill in fills), ZERO)
    kept = ledger.fills.positions_at(account, date(2030, 1, 1)).values()
    assert cash == pytest.approx(sum((one.realised - one.cost for one in kept), ZERO), abs=Decimal("1e-15"))


def _open(positions: dict[str, Position]) -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    told = {name: (one.qty, one.cost, one.realised) for name, one in positions.items()}
    return {name: figures for name, figures in told.items() if any(figures)}
