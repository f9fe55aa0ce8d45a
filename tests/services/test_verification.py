"""Every way in which ledger, book and broker can differ is found and named, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from threading import Event, Thread

import psycopg
import pytest
import redis
from support.packing import change
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, hold, order

from trading_pipeline.adapters.guards import records
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.halts import Gate, KillSwitch, OperatorAction
from trading_pipeline.core.risk.limits import LimitChange
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ServerUnavailable
from trading_pipeline.services.differences import DifferenceKind
from trading_pipeline.services.settlement import settle, settle_in_lane
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import verify_book

NEXT = xnys().next(SESSION)


def _submit(kit: Kit, symbol: str = "AAPL", qty: int = 10) -> OrderRecord:
    session = kit.exchange.current_session or SESSION
    return SubmissionService(kit.account, RUN).submit(order(symbol, qty=qty, session=session)).order


def _found(kit: Kit) -> set[tuple[DifferenceKind, str]]:
    return {(one.kind, one.subject) for one in verify_book(kit.account).differences}


def _current(kit: Kit) -> dict[str, int]:
    record = kit.ledger.books.get(ACCOUNT)
    return {"epoch": record.epoch, "min_sequence": record.high_sequence}


def _exchange(database_url: str, sql: str, *parameters: object) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(sql.encode(), parameters)


FOREIGN = """
insert into exchange.orders (client_order_id, broker_order_id, account, symbol, side, qty, order_type, time_in_force,
                             trade_session, status)
values ('by-hand', 'sim-by-hand', %s, 'NVDA', 'buy', 5, 'market', 'day', %s, 'accepted')
"""


def test_three_records_that_agree_have_no_difference(kit: Kit) -> None:
    """With a position, a live order, and one that was filled."""
    assert set() == _found(kit)
    hold(kit)
    _submit(kit, "MSFT")
    assert set() == _found(kit)


def _position(kit: Kit) -> str:
    hold(kit)
    fill = {"client_order_id": "x", "execution_id": "x", "symbol": "AAPL", "side": Side.BUY, "price_ticks": 1_000_000}
    kit.guard.post(qty=5, **fill, **_current(kit))
    return "AAPL"


def _reservation_missing(kit: Kit) -> str:
    sent = _submit(kit)
    kit.guard.void(sent.client_order_id, **_current(kit))
    return sent.client_order_id


def _reservation_surplus(kit: Kit) -> str:
    sent = _submit(kit)
    kit.exchange.cancel(sent.client_order_id)
    kit.ledger.orders.move(sent.client_order_id, OrderState.CANCELED, reason="test")
    kit.ledger.orders.mark_released([sent.client_order_id])
    return sent.client_order_id


def _order_not_released(kit: Kit) -> str:
    sent = _submit(kit)
    kit.exchange.cancel(sent.client_order_id)
    kit.ledger.orders.move(sent.client_order_id, OrderState.CANCELED, reason="test")
    return sent.client_order_id


def _order_ended_at_the_broker(kit: Kit) -> str:
    sent = _submit(kit)
    kit.exchange.cancel(sent.client_order_id)
    return sent.client_order_id


def _execution_not_posted(kit: Kit) -> str:
    sent = _submit(kit)
    kit.exchange.advance(NEXT)
    (execution,) = kit.exchange.executions([sent.client_order_id])
    kit.ledger.fills.book(ACCOUNT, sent.client_order_id, execution.fill, execution.executed_at)
    return execution.fill.execution_id


CASES: list[tuple[DifferenceKind, Callable[[Kit], str]]] = [
    (DifferenceKind.POSITION, _position),
    (DifferenceKind.RESERVATION_MISSING, _reservation_missing),
    (DifferenceKind.RESERVATION_SURPLUS, _reservation_surplus),
    (DifferenceKind.ORDER_NOT_RELEASED, _order_not_released),
    (DifferenceKind.ORDER_STATE, _order_ended_at_the_broker),
    (DifferenceKind.EXECUTION_NOT_POSTED, _execution_not_posted),
]


@pytest.mark.parametrize(("kind", "provoke"), CASES, ids=[kind for kind, _ in CASES])
def test_each_difference_is_named_alone(kit: Kit, kind: DifferenceKind, provoke: Callable[[Kit], str]) -> None:
    """Not as a tail of others that only follow from it."""
    subject = provoke(kit)
    assert {(kind, subject)} == _found(kit)


def test_an_execution_nobody_booked_explains_position_and_order(kit: Kit) -> None:
    """The shares are named once, the order's end beside them."""
    sent = _submit(kit)
    kit.exchange.advance(NEXT)
    assert {
        (DifferenceKind.EXECUTION_NOT_BOOKED, f"sim-{sent.client_order_id}-1"),
        (DifferenceKind.ORDER_STATE, sent.client_order_id),
    } == _found(kit)
    settle(kit.account, NEXT)
    assert set() == _found(kit)


def test_orders_that_only_one_side_knows_are_named(kit: Kit, database_url: str) -> None:
    """By hand at the broker, or accepted there once and gone now."""
    lost = _submit(kit)
    _exchange(database_url, FOREIGN, ACCOUNT, NEXT)
    _exchange(database_url, "delete from exchange.orders where client_order_id = %s", lost.client_order_id)
    assert {
        (DifferenceKind.ORDER_UNKNOWN_TO_LEDGER, "by-hand"),
        (DifferenceKind.ORDER_UNKNOWN_TO_BROKER, lost.client_order_id),
    } == _found(kit)


def test_halts_and_lists_the_book_missed_are_named(kit: Kit) -> None:
    """The ledger decided, the book was not told."""
    books = kit.ledger.books
    books.set_kill_switch(ACCOUNT, KillSwitch.ENGAGED, ACTION)
    books.trip_breaker(ACCOUNT, ACTION.reason, ACTION)
    books.set_gate(ACCOUNT, Gate.CLOSED, ACTION)
    books.block(ACCOUNT, "AAPL", ACTION)
    books.quarantine(ACCOUNT, "MSFT", None, ACTION)
    books.set_limits(
        ACCOUNT,
        [
            LimitChange(limit="max_order_shares", value=1),
            LimitChange(limit="max_order_shares", value=2, symbol="AAPL"),
            LimitChange(limit="max_drawdown_pct", value=Decimal(7)),
        ],
        ACTION,
    )
    assert {
        (DifferenceKind.EPOCH, "book"),
        (DifferenceKind.KILL_SWITCH, "kill switch"),
        (DifferenceKind.BREAKER, "breaker"),
        (DifferenceKind.GATE, "gate"),
        (DifferenceKind.BLOCKED_SYMBOL, "AAPL"),
        (DifferenceKind.QUARANTINED_SYMBOL, "MSFT"),
        (DifferenceKind.LIMIT, "max_order_shares"),
        (DifferenceKind.LIMIT, "max_order_shares of AAPL"),
    } == _found(kit)


def test_writes_the_book_lost_are_named(kit: Kit, redis_url: str) -> None:
    """A sequence behind the ledger's, a counter and sums that are wrong, damage, and no book at all."""
    sent, keys = _submit(kit), book_keys(ACCOUNT)
    with redis.Redis.from_url(redis_url) as client:
        change(client, ACCOUNT, "account", records.ACCOUNT, sequence=0)
        assert {(DifferenceKind.SEQUENCE, "book")} == _found(kit)
        change(client, ACCOUNT, "account", records.ACCOUNT, sequence=1)
        change(client, ACCOUNT, f"session:{sent.intent.trade_session}", records.SESSION, orders=3)
        assert {(DifferenceKind.COUNTER, f"orders of {NEXT}")} == _found(kit)
        change(client, ACCOUNT, f"session:{sent.intent.trade_session}", records.SESSION, orders=1)
        client.hdel(keys.book, f"order:{sent.client_order_id}")
        assert {
            (DifferenceKind.PENDING, "AAPL buy"),
            (DifferenceKind.RESERVATION_MISSING, sent.client_order_id),
        } == _found(kit)
        client.hset(keys.book, "account", bytes([records.ACCOUNT.tag]))
        assert {DifferenceKind.BOOK_UNREADABLE} == {kind for kind, _ in _found(kit)}
        client.flushall()
        assert {(DifferenceKind.BOOK_MISSING, "book")} == _found(kit)


def test_what_contradicts_itself_in_the_book_is_named(kit: Kit, redis_url: str) -> None:
    """A symbol that is gone while an order works, a total that is not that of the symbols, another reservation."""
    sent, key = _submit(kit), book_keys(ACCOUNT).book
    with redis.Redis.from_url(redis_url) as client:
        sound = client.hgetall(key)
        change(client, ACCOUNT, "account", records.ACCOUNT, long=1)
        assert {(DifferenceKind.EXPOSURE, "long")} == _found(kit)
        client.hset(key, mapping=sound)
        client.hdel(key, "symbol:AAPL")
        assert {
            (DifferenceKind.PENDING, "AAPL buy"),
            *((DifferenceKind.EXPOSURE, total) for total in ("gross", "long", "highest net")),
        } == _found(kit)
        client.hset(key, mapping=sound)
        fill = {"client_order_id": sent.client_order_id, "execution_id": "x", "symbol": "AAPL", "side": Side.BUY}
        kit.guard.post(qty=4, price_ticks=1_000_000, **fill, **_current(kit))
    assert {
        (DifferenceKind.RESERVATION_DIFFERS, sent.client_order_id),
        (DifferenceKind.POSITION, "AAPL"),
    } == _found(kit)


def test_what_is_under_way_is_no_difference(kit: Kit) -> None:
    """The second look waits for whoever works on the account, and finds it done."""
    _submit(kit)
    looked, working = Event(), Event()

    class Seen:
        def __getattr__(self, name: str) -> object:
            if name == "positions":
                looked.set()
            return getattr(kit.broker, name)

    def work() -> None:
        with kit.ledger.lane(ACCOUNT):
            kit.exchange.advance(NEXT)
            working.set()
            looked.wait(30)
            settle_in_lane(kit.account, NEXT)

    worker = Thread(target=work)
    worker.start()
    working.wait(30)
    verification = verify_book(replace(kit.account, broker=Seen()), patience_seconds=30)
    worker.join()
    assert ((), True) == (verification.differences, verification.quiet)


def test_a_lane_that_stays_busy_does_not_keep_the_comparison(kit: Kit) -> None:
    """What two looks share is reported, and that nobody was waited for."""
    sent = _reservation_missing(kit)
    with kit.ledger.lane(ACCOUNT):
        verification = verify_book(kit.account, patience_seconds=1)
    assert not verification.quiet
    assert [sent] == [one.subject for one in verification.differences]


def test_a_server_that_is_away_is_an_error_not_an_agreement(kit: Kit, redis_url: str) -> None:
    """Exit code 2 of the command."""
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "PAUSE", "4500", "ALL")
        with pytest.raises(ServerUnavailable):
            verify_book(kit.account)
        client.execute_command("CLIENT", "UNPAUSE")


def test_a_rebuild_books_what_explains_and_opens_the_gate(kit: Kit) -> None:
    """An execution missed and an order that ended are the broker's news, not differences."""
    _submit(kit)
    kit.exchange.advance(NEXT)
    record = kit.operations.rebuild_risk_book(ACTION)
    assert (Gate.OPEN, {"AAPL": Decimal(10)}) == (record.gate, kit.positions())
    assert set() == _found(kit)


def test_a_rebuild_never_adopts_what_it_cannot_explain(kit: Kit, database_url: str) -> None:
    """The gate is closed with the difference as its reason, the symbol is in quarantine, the others reduce."""
    hold(kit, "AAPL")
    hold(kit, "MSFT")
    _exchange(database_url, FOREIGN, ACCOUNT, xnys().shift(NEXT, 5))
    _exchange(database_url, "update exchange.executions set qty = 25 where symbol = 'AAPL'")
    record = kit.operations.rebuild_risk_book(ACTION)

    assert Gate.CLOSED is record.gate
    for part in ("execution_differs", "position AAPL: ledger 10, broker 25", "order_unknown_to_ledger by-hand"):
        assert part in record.gate_reason
    assert {"AAPL", "NVDA"} == set(kit.ledger.books.quarantined(ACCOUNT))
    snapshot = kit.guard.snapshot()
    assert snapshot is not None
    assert {"AAPL": Decimal(10), "MSFT": Decimal(10)} == snapshot.positions
    session = kit.exchange.current_session
    assert session is not None
    service = SubmissionService(kit.account, RUN)
    assert service.submit(order("AAPL", Side.SELL, 1, session=session)).refused
    assert service.submit(order("MSFT", Side.BUY, 1, session=session)).refused
    assert not service.submit(order("MSFT", Side.SELL, 1, session=session)).refused


def test_a_difference_that_lasts_keeps_its_quarantine_through_another_rebuild(kit: Kit, database_url: str) -> None:
    """One audit row says so, in the operator's name; a solved one opens the gate, and a person releases the symbol."""
    hold(kit)
    _exchange(database_url, "update exchange.executions set qty = 25")
    for _ in range(2):
        kit.operations.rebuild_risk_book(ACTION)
    rows = [row for row in kit.ledger.books.history(ACCOUNT) if row["action"] == "quarantine_symbol"]
    assert ["ada"] == [row["operator"] for row in rows]

    _exchange(database_url, "update exchange.executions set qty = 10")
    assert Gate.OPEN is kit.operations.rebuild_risk_book(ACTION).gate
    kit.operations.release_symbol("AAPL", OperatorAction(operator="ada", reason="the broker corrected its record"))
    assert set() == _found(kit)
