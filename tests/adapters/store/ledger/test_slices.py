"""A parent and its slices are written at once, decided once, and never become more shares than the parent has."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest
from psycopg.errors import CheckViolation, RaiseException
from support.slices import OPENED, at, new_parent, request, slice_order
from support.trading import ACCOUNT, ACTION, SESSION

from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.adapters.store.ledger.slices import UNKNOWN_VOLUME, ParentRecord, SliceRecord, Traded
from trading_pipeline.core.boundaries import COMMIT
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.orders.twap import WhenLate
from trading_pipeline.errors import OrderConflict, OrderError


@pytest.fixture
def parent(ledger: Ledger) -> ParentRecord:
    """Forty shares in four slices of ten."""
    return ledger.slices.record(new_parent())[0]


def _order(ledger: Ledger, parent: ParentRecord, number: int, qty: int, **other: object) -> str:
    new = slice_order(parent, number, qty, **other)
    return ledger.slices.order(new, volume=UNKNOWN_VOLUME, at=OPENED).client_order_id


def _commit(database_url: str, statement: str, *parameters: object) -> None:
    with closing(psycopg.connect(database_url)) as connection:
        connection.execute(statement, parameters)
        connection.commit()


def _states(ledger: Ledger, parent: ParentRecord) -> list[str]:
    return [one.state for one in ledger.slices.of_parent(parent.parent_id)]


def _slice(ledger: Ledger, parent: ParentRecord, number: int) -> SliceRecord:
    return ledger.slices.of_parent(parent.parent_id)[number - 1]


def test_a_plan_is_read_back_as_it_was_made(ledger: Ledger) -> None:
    """With everything a sender goes by."""
    new = new_parent(request(max_volume_bps=500, when_late=WhenLate.EXPIRE, grace_seconds=90))
    stored, is_new = ledger.slices.record(new)
    slices = ledger.slices.of_parent(stored.parent_id)
    assert is_new
    assert [(one.number, one.qty, one.due_at) for one in new.plan.slices] == [
        (one.number, one.qty, one.due_at) for one in slices
    ]
    assert (WhenLate.EXPIRE, timedelta(seconds=90), timedelta(minutes=1), 500, 128) == (
        stored.when_late,
        stored.grace,
        stored.interval,
        stored.max_volume_bps,
        stored.max_slice_shares,
    )
    assert ["planned"] * 4 == [one.state for one in slices]
    assert stored == ledger.slices.get(stored.parent_id)
    assert [stored] == ledger.slices.latest(ACCOUNT, 5) == ledger.slices.to_do(ACCOUNT, since=SESSION)


def test_a_repeated_request_gets_the_stored_parent_whatever_time_it_is(ledger: Ledger, parent: ParentRecord) -> None:
    """Nothing is written again."""
    again = ledger.slices.record(new_parent(now=OPENED + timedelta(minutes=7)))
    assert (parent, False) == again
    assert OPENED == ledger.slices.of_parent(parent.parent_id)[0].due_at
    assert 4 == len(ledger.slices.of_parent(parent.parent_id))


def test_another_request_of_the_same_id_is_a_conflict(ledger: Ledger, parent: ParentRecord) -> None:
    """Never a silent success."""
    with pytest.raises(OrderConflict, match=f"parent {parent.parent_id} is in the ledger with another request"):
        ledger.slices.record(new_parent(request(minutes=8)))


def test_two_who_record_the_same_request_at_once_write_one_parent(ledger: Ledger) -> None:
    """Both get it."""
    with ThreadPoolExecutor(4) as crowd:
        found = list(crowd.map(lambda _: ledger.slices.record(new_parent()), range(4)))
    assert [1, 3] == [sum(is_new for _, is_new in found), sum(not is_new for _, is_new in found)]
    assert 1 == len({stored.parent_id for stored, _ in found})
    assert 4 == len(ledger.slices.of_parent(found[0][0].parent_id))


def test_a_crash_before_the_commit_leaves_neither_parent_nor_slices(ledger: Ledger, database_url: str) -> None:
    """The retry finds nothing, and writes all."""

    def die(boundary: str) -> None:
        if boundary == COMMIT:
            raise KeyboardInterrupt

    new = new_parent()
    with Ledger(database_url, observer=die) as dying, pytest.raises(KeyboardInterrupt):
        dying.slices.record(new)
    assert None is ledger.slices.get(new.plan.parent_id)
    assert ledger.slices.record(new)[1]


def test_a_slice_stands_where_its_order_stands(ledger: Ledger, parent: ParentRecord) -> None:
    """Its state is derived: nobody writes it."""
    order_id = _order(ledger, parent, 1, 10)
    assert ["pending_new", "planned", "planned", "planned"] == _states(ledger, parent)
    ledger.orders.move(order_id, OrderState.CLEARED)
    ledger.orders.move(order_id, OrderState.ACCEPTED)
    assert ["accepted", "planned", "planned", "planned"] == _states(ledger, parent)
    stored = ledger.orders.get(order_id)
    assert stored is not None
    assert order_id == stored.intent.client_order_id
    assert (parent.parent_id, 1) == (stored.intent.parent_id, stored.intent.repeat)


def test_what_a_sender_writes_down_is_read_back(ledger: Ledger, parent: ParentRecord) -> None:
    """Waiting, carried over, expired, each with its reason."""
    first, second, third, _ = ledger.slices.of_parent(parent.parent_id)
    ledger.slices.wait(first, "no price", retry_at=at(first, 5), at=at(first))
    ledger.slices.carry(second, "nothing was traded", volume=Traded(shares=0, until=at(second)), at=at(second))
    ledger.slices.expire(third, "nobody sent it", at=at(third))
    found = ledger.slices.of_parent(parent.parent_id)
    assert ["waiting", "carried", "expired", "planned"] == [one.state for one in found]
    assert ["no price", "nothing was traded", "nobody sent it", ""] == [one.reason for one in found]
    assert (at(first, 5), 0, at(second)) == (found[0].retry_at, found[1].volume, found[1].volume_until)
    assert [True, False, False, True] == [one.undecided for one in found]


@pytest.mark.parametrize("decision", ["order", "carry", "expire"])
def test_a_slice_is_decided_once(ledger: Ledger, parent: ParentRecord, decision: str) -> None:
    """Whatever was decided, it is neither ordered, carried over nor expired afterwards."""
    one = _slice(ledger, parent, 1)
    ways = {
        "order": lambda: _order(ledger, parent, 1, 9),
        "carry": lambda: ledger.slices.carry(one, "again", volume=UNKNOWN_VOLUME, at=OPENED),
        "expire": lambda: ledger.slices.expire(one, "again", at=OPENED),
    }
    ways[decision]()
    before = _slice(ledger, parent, 1)
    for way in ways.values():
        with pytest.raises(OrderConflict, match="slices_are_decided_once"):
            way()
    assert before == _slice(ledger, parent, 1)
    assert (1 if decision == "order" else 0) == len(ledger.orders.unsent(ACCOUNT))


def test_two_who_decide_one_slice_at_once_make_one_order(ledger: Ledger, parent: ParentRecord) -> None:
    """Though each wants another quantity, so that the ids of their orders differ."""

    def decide(qty: int) -> str | None:
        try:
            return _order(ledger, parent, 2, qty)
        except OrderConflict:
            return None

    with ThreadPoolExecutor(4) as crowd:
        made = [one for one in crowd.map(decide, [7, 8, 9, 10]) if one]
    assert 1 == len(made)
    assert made == [one.client_order_id for one in ledger.orders.unsent(ACCOUNT)]


def test_children_never_exceed_their_parent(ledger: Ledger, parent: ParentRecord) -> None:
    """The database itself refuses the share too many, and what was made before stays."""
    for number in (1, 2, 3):
        _order(ledger, parent, number, 13)
    with pytest.raises(OrderConflict, match="has 40 shares: orders over 39 and 2 more would exceed them"):
        _order(ledger, parent, 4, 2)
    assert ["pending_new", "pending_new", "pending_new", "planned"] == _states(ledger, parent)
    _order(ledger, parent, 4, 1)


def test_a_retry_of_the_last_child_is_no_child_more(ledger: Ledger, parent: ParentRecord) -> None:
    """Whoever submits offers the stored order again, when the parent has no share left."""
    for number in (1, 2, 3, 4):
        _order(ledger, parent, number, 10)
    stored, is_new = ledger.orders.record(slice_order(parent, 4, 10))
    assert (4, False) == (stored.intent.repeat, is_new)


def test_children_that_race_never_exceed_their_parent(ledger: Ledger, parent: ParentRecord) -> None:
    """Four at once, of fifteen each: two fit into forty."""

    def decide(number: int) -> bool:
        try:
            _order(ledger, parent, number, 15)
        except OrderConflict:
            return False
        return True

    with ThreadPoolExecutor(4) as crowd:
        assert 2 == sum(crowd.map(decide, [1, 2, 3, 4]))


def test_shares_without_a_slice_are_no_ones_to_order(ledger: Ledger) -> None:
    """What the caps left out of the plan counts as if the parent had never had it."""
    new = new_parent(request(qty=100, minutes=2), adv_shares=2_000)
    stored, _ = ledger.slices.record(new)
    assert (60, [20, 20]) == (stored.unplanned, [one.qty for one in new.plan.slices])
    _order(ledger, stored, 1, 20)
    with pytest.raises(OrderConflict, match="has 40 shares"):
        _order(ledger, stored, 2, 21)


def test_no_slice_is_added_to_a_parent_later(ledger: Ledger, parent: ParentRecord, database_url: str) -> None:
    """Its slices sum to it, at every commit."""
    insert = "insert into ledger.slices (parent_id, number, qty, due_at) values (%s, 5, 1, now())"
    with pytest.raises(CheckViolation, match="have 41 shares, not 40"):
        _commit(database_url, insert, parent.parent_id)


@pytest.mark.parametrize(
    "other",
    [{"symbol": "MSFT"}, {"side": Side.SELL}, {"account": "another"}, {"strategy_id": "another"}],
    ids=lambda other: next(iter(other)),
)
def test_an_order_that_is_not_of_its_parent_is_refused(
    ledger: Ledger, parent: ParentRecord, other: dict[str, object]
) -> None:
    """Nothing of it stays."""
    with pytest.raises(OrderConflict, match="is not of the account, strategy, symbol, side and session"):
        _order(ledger, parent, 1, 10, **other)
    assert ["planned"] * 4 == _states(ledger, parent)


def test_an_order_of_a_slice_is_made_by_deciding_the_slice_only(ledger: Ledger, parent: ParentRecord) -> None:
    """The usual door does not record it."""
    with pytest.raises(CheckViolation, match="was not decided to become order"):
        ledger.orders.record(slice_order(parent, 1, 10))
    with pytest.raises(OrderConflict, match="foreign key"):
        _order(ledger, parent, 5, 1)


def test_a_cancelled_parent_makes_no_order(ledger: Ledger, parent: ParentRecord) -> None:
    """What became an order before stays one, the others are cancelled with it."""
    _order(ledger, parent, 1, 10)
    assert ledger.slices.cancel(parent.parent_id, ACTION)
    assert not ledger.slices.cancel(parent.parent_id, ACTION)
    with pytest.raises(OrderConflict, match="was cancelled: no order is made of its slices"):
        _order(ledger, parent, 2, 10)
    assert ["pending_new", "canceled", "canceled", "canceled"] == _states(ledger, parent)
    stored = ledger.slices.get(parent.parent_id)
    assert stored is not None
    assert f"{ACTION.operator}: {ACTION.reason}" == stored.canceled


def test_a_parent_that_does_not_exist_is_named(ledger: Ledger) -> None:
    """With what lists them."""
    with pytest.raises(OrderError, match=r"no parent ffff: `trading-pipeline twap status`"):
        ledger.slices.cancel("ffff", ACTION)


def test_what_is_not_decided_is_pending_by_symbol(ledger: Ledger, parent: ParentRecord) -> None:
    """Signed; what became an order counts with the orders."""
    _order(ledger, parent, 1, 10)
    ledger.slices.record(new_parent(request("MSFT", side=Side.SELL)))
    assert {"AAPL": 30, "MSFT": -40} == ledger.slices.undecided_shares(ACCOUNT, since=SESSION)


def test_a_parent_is_to_do_until_all_of_it_is_decided_and_sent(ledger: Ledger, parent: ParentRecord) -> None:
    """An order that was not sent yet is work as well."""
    slices = ledger.slices.of_parent(parent.parent_id)
    order_id = _order(ledger, parent, 1, 10)
    for one in slices[1:]:
        ledger.slices.expire(one, "late", at=OPENED)
    assert [parent] == ledger.slices.to_do(ACCOUNT, since=SESSION)
    ledger.orders.move(order_id, OrderState.CLEARED)
    ledger.orders.move(order_id, OrderState.ACCEPTED)
    assert [] == ledger.slices.to_do(ACCOUNT, since=SESSION)


@pytest.mark.parametrize("table", ["parents", "slices", "slice_events", "parent_cancellations"])
def test_nothing_of_it_changes_later(ledger: Ledger, parent: ParentRecord, database_url: str, table: str) -> None:
    """Append-only, and sealed."""
    _order(ledger, parent, 1, 10)
    ledger.slices.cancel(parent.parent_id, ACTION)
    for statement in (f"update ledger.{table} set parent_id = parent_id", f"delete from ledger.{table}"):
        with pytest.raises(RaiseException, match="append-only"):
            _commit(database_url, statement)
    check = ledger.seals.verify()
    assert [] == check.problems
    assert check.rows_by_table[table] == (4 if table == "slices" else 1)


def test_an_order_does_not_leave_its_parent_nor_grow(ledger: Ledger, parent: ParentRecord, database_url: str) -> None:
    """Or the sum of the children would be no bound."""
    _order(ledger, parent, 1, 10)
    for change in ("qty = 99", "parent_id = null", "repeat = 2"):
        with pytest.raises(RaiseException):
            _commit(database_url, f"update ledger.orders set {change}")
