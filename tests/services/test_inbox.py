"""What the stream told is booked once, whatever order it came in, beside or without what the REST API tells."""

import random
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest
from support.alpaca.bench import Bench
from support.alpaca.stream import TradeUpdates
from support.trading import ACCOUNT, ACTION, RUN, SESSION, order, valuation

from trading_pipeline.adapters.broker.alpaca.updates import trade_update
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.halts import Breaker
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.inbox import STREAM_SOURCE, Applied, apply_inbox, redrive_inbox
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare

READ = partial(trade_update, calendar=xnys())


def _send(account: TradingAccount, *symbols: str) -> list[str]:
    sent = SubmissionService(account, RUN).submit_all([order(symbol) for symbol in symbols])
    return [one.order.client_order_id for one in sent]


def _receive(account: TradingAccount, frames: list[bytes]) -> Applied:
    for frame in frames:
        account.ledger.inbox.receive(ACCOUNT, STREAM_SOURCE, frame)
    return apply_inbox(account, READ)


def _state(account: TradingAccount, client_order_id: str) -> OrderState:
    stored = account.ledger.orders.get(client_order_id)
    assert stored is not None
    return stored.state


def test_the_stream_alone_books_everything(account: TradingAccount, bench: Bench, updates: TradeUpdates) -> None:
    """Fills in parts, an end short of all shares, and the broker is never asked for any of it."""
    apple, microsoft = _send(account, "AAPL", "MSFT")
    bench.exchange.fill(apple, 3)
    bench.exchange.fill(apple)
    bench.exchange.fill(microsoft, 4)
    bench.exchange.end(microsoft, "canceled")
    before = len(bench.server.requests)
    applied = _receive(account, updates.told)
    assert before == len(bench.server.requests)
    assert (3, 0, 0) == (len(applied.booked), applied.waiting, applied.dead)
    assert (OrderState.FILLED, OrderState.CANCELED) == (_state(account, apple), _state(account, microsoft))
    assert [] == compare(account)


def test_a_fill_that_the_stream_tells_of_is_judged_at_once(
    account: TradingAccount, bench: Bench, updates: TradeUpdates
) -> None:
    """A loss it shows trips the breaker before anything else is decided: no settlement has to come first."""
    worth_nothing = replace(account, valuation=valuation(Decimal("0.01"), capital=Decimal(2_000)))
    (apple,) = _send(worth_nothing, "AAPL")
    assert Breaker.OPEN is account.ledger.books.get(ACCOUNT).breaker
    bench.exchange.fill(apple)

    _receive(worth_nothing, updates.told)

    assert Breaker.TRIPPED is account.ledger.books.get(ACCOUNT).breaker


def test_what_was_enqueued_before_a_crash_is_applied_after_it(
    account: TradingAccount, bench: Bench, updates: TradeUpdates
) -> None:
    """And what was applied but not settled is applied again, to no effect."""
    (apple,) = _send(account, "AAPL")
    bench.exchange.fill(apple)
    for frame in updates.told:
        account.ledger.inbox.receive(ACCOUNT, STREAM_SOURCE, frame)
    account.ledger.inbox.settle = _killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        apply_inbox(account, READ)
    del account.ledger.inbox.settle
    assert () == apply_inbox(account, READ).booked
    assert [] == account.ledger.inbox.pending(ACCOUNT)
    assert {"AAPL": Decimal(10)} == account.broker.positions()
    assert [] == compare(account)


def _killed(_: object) -> None:
    raise KeyboardInterrupt


def test_an_end_waits_for_the_executions_before_it(
    account: TradingAccount, bench: Bench, updates: TradeUpdates
) -> None:
    """An order never ends short of a share that was filled, so its exposure is held until all are booked."""
    (apple,) = _send(account, "AAPL")
    bench.exchange.fill(apple, 4)
    bench.exchange.end(apple, "canceled")
    *earlier, fill, end = updates.told
    assert 1 == _receive(account, [*earlier, end]).waiting
    assert not _state(account, apple).terminal
    last = _receive(account, [fill])
    assert (0, 1) == (last.waiting, len(last.booked))
    assert OrderState.CANCELED is _state(account, apple)


@pytest.mark.parametrize("own_ids", [False, True], ids=["the same ids", "other ids"])
def test_both_sources_book_an_execution_once(
    account: TradingAccount, bench: Bench, updates: TradeUpdates, *, own_ids: bool
) -> None:
    """Whether or not the stream and the REST API call it the same; two alike executions are still two."""
    updates.own_ids = own_ids
    apple, microsoft = _send(account, "AAPL", "MSFT")
    bench.exchange.fill(apple, 3)
    bench.exchange.fill(apple, 3)
    settle(account, SESSION)
    bench.exchange.fill(apple)
    bench.exchange.fill(microsoft)
    applied = _receive(account, updates.told)
    assert 2 == len(applied.booked)
    assert () == settle(account, SESSION).booked
    assert [] == compare(account)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b'{"stream": "trade_updates"}',
        b'{"stream": "trade_updates", "data": {"event": "fill", "order": null}}',
        b"[" * 100_000,
    ],
)
def test_a_frame_that_cannot_be_read_is_a_dead_letter(account: TradingAccount, raw: bytes) -> None:
    """It is kept with its reason, an alert names it, and it stops nothing."""
    assert 1 == _receive(account, [raw]).dead
    (dead,) = account.ledger.inbox.dead(ACCOUNT)
    assert raw == bytes(dead["raw"])
    assert dead["reason"]
    assert ["dead_letter"] == [alert["kind"] for alert in account.ledger.alerts.latest()]


def test_an_unknown_event_is_dead_and_an_unknown_status_is_working(
    account: TradingAccount, bench: Bench, updates: TradeUpdates
) -> None:
    """Neither ends an order; the fill of an order with a strange status counts."""
    (apple,) = _send(account, "AAPL")
    updates.plan("unknown_event", "unknown_status")
    bench.exchange.fill(apple, 1)
    bench.exchange.fill(apple, 2)
    applied = _receive(account, updates.told)
    assert (1, 1) == (applied.dead, len(applied.booked))
    assert "'haunted'" in account.ledger.inbox.dead(ACCOUNT)[0]["reason"]
    assert OrderState.PARTIALLY_FILLED is _state(account, apple)
    assert Decimal(1) == sum((one.fill.qty for one in settle(account, SESSION).booked), Decimal(0))


def test_a_dead_letter_can_be_driven_again(account: TradingAccount, bench: Bench, updates: TradeUpdates) -> None:
    """Once what was wrong with it is repaired."""
    (apple,) = _send(account, "AAPL")
    bench.exchange.fill(apple)
    for frame in updates.told:
        account.ledger.inbox.receive(ACCOUNT, STREAM_SOURCE, frame)
    assert len(updates.told) == apply_inbox(account, lambda raw: trade_update(raw[1:], xnys())).dead
    assert {"letters": len(updates.told)} == redrive_inbox(account, ACTION)
    assert 1 == len(apply_inbox(account, READ).booked)
    assert [] == account.ledger.inbox.dead(ACCOUNT)


def test_orders_of_somebody_else_are_ignored(account: TradingAccount, bench: Bench, updates: TradeUpdates) -> None:
    """A sweep of positions finds them; the inbox keeps what was told of them."""
    bench.exchange.buy_elsewhere("MSFT", Decimal(5))
    assert 1 == _receive(account, updates.told).ignored
    assert {} == account.ledger.fills.positions(ACCOUNT)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_arrives_in_whatever_order_makes_the_same_ledger(
    seed: int, account: TradingAccount, bench: Bench, updates: TradeUpdates
) -> None:
    """Events lost, doubled and shuffled, sweeps in between: one ledger, the broker's, every execution once."""
    chance = random.Random(seed)
    updates.own_ids = bool(seed % 2)
    sent = [order(symbol, repeat=chance.randrange(2**31)) for symbol in ("AAPL", "MSFT", "NVDA")]
    ids = [one.order.client_order_id for one in SubmissionService(account, RUN).submit_all(sent)]
    for one in ids:
        for part in chance.choice([(10,), (3, 3, 4), (5, 1), ()]):
            bench.exchange.fill(one, part)
        if bench.exchange.order(one).working:
            bench.exchange.end(one, chance.choice(["canceled", "expired"]))
    frames = [frame for frame in updates.told if chance.random() < 0.8]
    frames += chance.sample(frames, len(frames) // 2)
    chance.shuffle(frames)
    for frame in frames:
        _receive(account, [frame])
        if chance.random() < 0.1:
            settle(account, SESSION)
    bench.waits.sleep(30)
    settle(account, SESSION)
    _receive(account, [])
    assert [] == [one for one in compare(account) if one.symbol in {"AAPL", "MSFT", "NVDA"}]
    shown = {fill.id for fill in bench.exchange.books.fills}
    for one in ids:
        assert bench.exchange.order(one).filled_qty == sum(row["qty"] for row in account.ledger.fills.of_order(one))
        assert _state(account, one).value == bench.exchange.order(one).status
    assert len(shown) == sum(len(account.ledger.fills.of_order(one)) for one in ids)
    assert [] == account.ledger.inbox.pending(ACCOUNT)
