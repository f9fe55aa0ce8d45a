"""What a reconciliation asks the broker for, and that each execution counts once, whoever dies or books beside it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from threading import Barrier, Thread
from typing import Any

import pytest
from support.alpaca.bench import Bench
from support.alpaca.server import Fault
from support.alpaca.stream import TradeUpdates
from support.dying import Crash
from support.trading import ACCOUNT, ACTION, RUN, SESSION, order

from trading_pipeline.adapters.broker.alpaca.updates import trade_update
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.halts import Gate
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ServerUnavailable
from trading_pipeline.services import settlement
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.differences import DifferenceKind
from trading_pipeline.services.inbox import STREAM_SOURCE, apply_inbox
from trading_pipeline.services.looking import look
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare

FILLS = "/v2/account/activities/FILL"
ORDERS = "/v2/orders"
LOOK_UP = "/v2/orders:by_client_order_id"


class Passing:
    """A broker of which a test says otherwise what one of its reads does."""

    def __init__(self, broker: Any, **reads: Callable[..., Any]) -> None:
        self._broker = broker
        self.__dict__ |= reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)


def _send(account: TradingAccount, *wanted: tuple[str, int]) -> list[str]:
    sent = SubmissionService(account, RUN).submit_all([order(symbol, qty=qty) for symbol, qty in wanted])
    assert all(one.order.state is OrderState.ACCEPTED for one in sent)
    return [one.order.client_order_id for one in sent]


def _asked(bench: Bench, path: str) -> list[dict[str, str]]:
    """Return the queries of a path since the last call, and forget all requests."""
    asked = [dict(one.query) for one in bench.server.requests if (one.method, one.path) == ("GET", path)]
    bench.server.requests.clear()
    return asked


def _again(account: TradingAccount, bench: Bench) -> TradingAccount:
    """Return the account as a process of its own has it, which has read nothing yet."""
    return replace(account, broker=bench.broker())


def _booked_once(account: TradingAccount, bench: Bench, orders: Sequence[str]) -> None:
    """Ledger, book and broker have every share once, and the ledger is as it was sealed."""
    executed = Counter(one.id for one in bench.exchange.books.fills)
    booked = Counter(row["execution_id"] for one in orders for row in account.ledger.fills.of_order(one))
    snapshot = account.guard.snapshot()
    assert snapshot is not None
    held = {symbol: one.qty for symbol, one in account.ledger.fills.positions(ACCOUNT).items()}
    assert (executed, held, held) == (booked, account.broker.positions(), snapshot.positions)
    assert [] == compare(account)
    assert account.ledger.seals.verify().sound


def test_each_page_of_executions_is_read_once_and_never_again_without_news(
    account: TradingAccount, bench: Bench
) -> None:
    """Of 260 executions three pages and the end of them; the next process finds all of them in the orders' figures."""
    orders = _send(account, ("AAPL", 130), ("MSFT", 130))
    for one in orders * 130:
        bench.exchange.fill(one, 1)
    bench.server.requests.clear()
    assert Gate.OPEN is reconcile(_again(account, bench), ACTION).record.gate
    pages = [query.get("page_token", "") for query in _asked(bench, FILLS)]
    assert (4, 4) == (len(pages), len(set(pages)))
    assert Gate.OPEN is reconcile(_again(account, bench), ACTION).record.gate
    assert [] == _asked(bench, FILLS)
    _booked_once(account, bench, orders)


def test_working_orders_are_asked_for_once_in_a_comparison(account: TradingAccount, bench: Bench) -> None:
    """The list of open orders says all of them; those that it leaves out are asked for besides."""
    orders = _send(account, ("AAPL", 5), ("MSFT", 5), ("NVDA", 5))
    bench.exchange.fill(orders[0], 2)
    settle(account, SESSION)
    assert [] == compare(_again(account, bench))
    bench.server.requests.clear()
    assert [] == compare(_again(account, bench))
    assert {"open"} == {query["status"] for query in _asked(bench, ORDERS)}
    bench.exchange.end(orders[1], "canceled")
    differing = compare(_again(account, bench))
    assert [DifferenceKind.ORDER_STATE] == [one.kind for one in differing]
    assert [orders[1]] == [query["client_order_id"] for query in _asked(bench, LOOK_UP)]


def test_only_orders_that_the_pages_of_orders_leave_out_are_looked_up(account: TradingAccount, bench: Bench) -> None:
    """One of ten is not known at the broker: it is asked for once a reconciliation, and the gate is closed for it."""
    orders = [
        SubmissionService(account, RUN).submit(order("AAPL", qty=1, repeat=number)).order.client_order_id
        for number in range(10)
    ]
    lost = bench.exchange.order(orders[3])
    del bench.exchange.books.orders[lost.id]
    bench.exchange.end(orders[4], "canceled")
    for _ in range(2):
        bench.server.requests.clear()
        done = reconcile(_again(account, bench), ACTION)
        assert [DifferenceKind.ORDER_UNKNOWN_TO_BROKER] == [one.kind for one in done.unexplained]
        assert [orders[3]] == [query["client_order_id"] for query in _asked(bench, LOOK_UP)]


def test_a_late_fill_of_an_ended_order_is_found_by_its_figures(account: TradingAccount, bench: Bench) -> None:
    """The ledger holds it for over; nothing else hints at it."""
    (apple,) = _send(account, ("AAPL", 10))
    bench.exchange.fill(apple, 4)
    bench.exchange.end(apple, "canceled")
    reconcile(_again(account, bench), ACTION)
    bench.exchange.fill(apple, 2)
    done = reconcile(_again(account, bench), ACTION)
    assert ((), Gate.OPEN) == (done.external, done.record.gate)
    _booked_once(account, bench, [apple])


def test_a_pair_of_executions_that_leaves_the_shares_as_they_were_is_found(
    account: TradingAccount, bench: Bench
) -> None:
    """Positions agree while a purchase and a sale of as many shares are missing."""
    (bought,) = _send(account, ("AAPL", 16))
    bench.exchange.fill(bought, 10)
    bench.exchange.end(bought, "canceled")
    reconcile(_again(account, bench), ACTION)
    sold = SubmissionService(account, RUN).submit(order("AAPL", Side.SELL, 6)).order.client_order_id
    bench.exchange.fill(sold)
    bench.exchange.fill(bought, 6)
    reconcile(_again(account, bench), ACTION)
    _booked_once(account, bench, [bought, sold])


@pytest.mark.parametrize("committed", [False, True], ids=["before its commit", "after its commit"])
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_crash_between_two_batches_leaves_what_the_retry_books_once(
    account: TradingAccount, bench: Bench, monkeypatch: pytest.MonkeyPatch, *, batch: int, committed: bool
) -> None:
    """Whichever of the batches it was, written or not; a batch is there with its events, or not at all."""
    monkeypatch.setattr(settlement, "BOOKED_TOGETHER", 4)
    orders = _send(account, ("AAPL", 6), ("MSFT", 6))
    for one in orders * 6:
        bench.exchange.fill(one, 1)
    fills, booked = account.ledger.fills, iter(range(10))
    book_many = fills.book_many

    def dying(*arguments: Any) -> Any:
        number = next(booked)
        if number == batch and not committed:
            raise Crash
        done = book_many(*arguments)
        if number == batch:
            raise Crash
        return done

    monkeypatch.setattr(fills, "book_many", dying)
    with pytest.raises(Crash):
        reconcile(_again(account, bench), ACTION)
    monkeypatch.setattr(fills, "book_many", book_many)
    half = sum(len(fills.of_order(one)) for one in orders)
    assert half == 4 * (batch + committed)
    for one in orders:
        stored, events = account.ledger.orders.get(one), account.ledger.orders.events(one)
        assert stored is not None
        assert len(fills.of_order(one)) == stored.filled_qty
        assert stored.state.value == events[-1]["to_state"]
    assert Gate.OPEN is reconcile(_again(account, bench), ACTION).record.gate
    _booked_once(account, bench, orders)


def test_two_reconcilers_and_the_stream_at_once_book_each_execution_once(
    account: TradingAccount, bench: Bench, updates: TradeUpdates, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each a process of its own with its own reading of the broker; orders end in between."""
    monkeypatch.setattr(settlement, "BOOKED_TOGETHER", 3)
    orders = _send(account, ("AAPL", 8), ("MSFT", 8), ("NVDA", 8))
    for one in orders * 7:
        bench.exchange.fill(one, 1)
    bench.exchange.fill(orders[0])
    bench.exchange.end(orders[1], "canceled")
    together, failures = Barrier(3), list[BaseException]()

    def run(work: Callable[[TradingAccount], object]) -> None:
        try:
            with Ledger(database_url) as ledger:
                own = replace(account, ledger=ledger, broker=bench.broker())
                together.wait(30)
                work(own)
        except BaseException as failure:  # noqa: BLE001 - shown by the test's own thread
            failures.append(failure)

    def listen(own: TradingAccount) -> None:
        for frame in updates.told:
            own.ledger.inbox.receive(ACCOUNT, STREAM_SOURCE, frame)
            while True:
                try:
                    apply_inbox(own, partial(trade_update, calendar=xnys()))
                    break
                except ServerUnavailable:  # the lane was busy for longer than it waits
                    continue

    threads = [Thread(target=run, args=(work,)) for work in (*[partial(reconcile, action=ACTION)] * 2, listen)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [] == failures
    reconcile(_again(account, bench), ACTION)
    _booked_once(account, bench, orders)


@pytest.mark.parametrize("cleared_before", [False, True], ids=["not recorded yet", "cleared and unsent"])
def test_an_order_sent_after_the_look_is_not_taken_for_lost(
    account: TradingAccount, bench: Bench, *, cleared_before: bool
) -> None:
    """It was nowhere when the broker was asked; it was sent and filled before the three were compared."""
    if cleared_before:
        bench.server.plan_for("POST", "/v2/orders", Fault(status=429))
        waiting = SubmissionService(account, RUN).submit(order("MSFT")).order
        assert OrderState.CLEARED is waiting.state
    broker, sent = bench.broker(), list[str]()

    def positions() -> dict[str, Decimal]:
        if not sent:
            sent.append(SubmissionService(account, RUN).submit(order("MSFT")).order.client_order_id)
            bench.exchange.fill(sent[0])
        return broker.positions()

    done = reconcile(replace(account, broker=Passing(broker, positions=positions)), ACTION)  # type: ignore[arg-type]
    assert ((), Gate.OPEN, ()) == (done.unexplained, done.record.gate, done.external)
    _booked_once(account, bench, sent)


def test_a_look_says_nothing_of_an_order_that_was_touched_since(account: TradingAccount, bench: Bench) -> None:
    """Absent is only what was asked for as it stands."""
    (apple,) = _send(account, ("AAPL", 10))
    del bench.exchange.books.orders[bench.exchange.order(apple).id]
    seen = look(account, account.broker.current_session)
    (stored,) = account.ledger.orders.live(ACCOUNT)
    assert seen.knew_absent(stored)
    touched = account.ledger.sending.request_cancel(apple)
    assert touched is not None
    assert not seen.knew_absent(touched)
    (microsoft,) = _send(account, ("MSFT", 10))
    later = account.ledger.orders.get(microsoft)
    assert later is not None
    assert not seen.knew_absent(later)
