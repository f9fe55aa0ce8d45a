"""What the guard counts of a session is what the ledger counts of it, whatever became of orders and book."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from support.alpaca.bench import Bench
from support.alpaca.server import Fault
from support.slices import Prices
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, order, quotes

from trading_pipeline.adapters.guards.book import SessionCount
from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.executions import Executed
from trading_pipeline.core.orders.model import ReferencePrice, Side, TimeInForce
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import ClearanceRequest, MarketFacts, Verdict, VerdictCode
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.settlement import settle, tell_guard
from trading_pipeline.services.single_orders import OrderChange, replace_order
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare_book, read_ledger

NEXT = xnys().next(SESSION)
DOLLAR = 10_000


def _submit(account: TradingAccount, symbol: str = "AAPL", **named: object) -> OrderRecord:
    return SubmissionService(account, RUN).submit(order(symbol, **named)).order


def _counted(account: TradingAccount) -> SessionCount:
    """Return what the book counts, after ledger and book were seen to agree."""
    assert [] == compare_book(account, read_ledger(account))
    book = account.guard.snapshot()
    assert book is not None
    return book.sessions[NEXT]


def _fill(account: TradingAccount, one: OrderRecord, name: str, qty: str) -> None:
    fill = Fill(
        execution_id=name,
        symbol=one.intent.symbol,
        side=one.intent.side,
        qty=Decimal(qty),
        price=Decimal(90),
        fee=Decimal(0),
        session=NEXT,
    )
    executed = Executed(client_order_id=one.client_order_id, fill=fill, executed_at=datetime.now(UTC))
    account.ledger.fills.book_many(ACCOUNT, [executed])
    tell_guard(account)


def _cleared(kit: Kit) -> tuple[OrderRecord, Verdict]:
    """An order that the guard has cleared, which nobody has recorded yet."""
    (stored, _) = kit.ledger.orders.record(order(qty=10))
    book = kit.ledger.books.get(ACCOUNT)
    market = MarketFacts(reference_ticks=100 * DOLLAR, reference_age_seconds=0, adv_shares=10**6, equity_ticks=10**12)
    asked = ClearanceRequest.of(stored.intent, market=market, epoch=book.epoch, min_sequence=book.high_sequence)
    verdict = kit.guard.clear(asked)
    assert verdict.cleared
    return stored, verdict


def test_an_order_that_ended_unheard_counts_for_nothing_after_a_rebuild(kit: Kit) -> None:
    """The new book never held it, so nobody could give back later what it was counted for."""
    sent = _submit(kit.account)
    assert SessionCount(1, 1000 * DOLLAR) == _counted(kit.account)
    kit.exchange.cancel(sent.client_order_id)
    kit.operations.rebuild_risk_book(ACTION)
    assert SessionCount(1, 0) == _counted(kit.account)


def test_shares_that_fill_late_or_beyond_their_order_count(kit: Kit) -> None:
    """At what their order was judged at, in the book that heard of them and in one made anew."""
    ended, overfilled = _submit(kit.account), _submit(kit.account, "MSFT", qty=5)
    _fill(kit.account, ended, "part", "2")
    kit.exchange.cancel(ended.client_order_id)
    kit.ledger.orders.move(ended.client_order_id, OrderState.CANCELED, reason="test")
    tell_guard(kit.account)
    assert SessionCount(2, (200 + 500) * DOLLAR) == _counted(kit.account)
    _fill(kit.account, ended, "late", "3")
    _fill(kit.account, overfilled, "beyond", "9")
    _fill(kit.account, overfilled, "later", "1")
    assert SessionCount(2, (500 + 1000) * DOLLAR) == _counted(kit.account)
    kit.operations.rebuild_risk_book(ACTION)
    assert SessionCount(2, (500 + 1000) * DOLLAR) == _counted(kit.account)


def test_fractions_of_a_share_count_as_whole_ones(kit: Kit) -> None:
    """Each that comes late by itself, which ledger and book may round apart."""
    sent = _submit(kit.account)
    _fill(kit.account, sent, "a", "2.5")
    assert SessionCount(1, 1000 * DOLLAR) == _counted(kit.account)
    kit.exchange.cancel(sent.client_order_id)
    kit.ledger.orders.move(sent.client_order_id, OrderState.CANCELED, reason="test")
    tell_guard(kit.account)
    assert SessionCount(1, 300 * DOLLAR) == _counted(kit.account)
    _fill(kit.account, sent, "b", "0.25")
    assert SessionCount(1, 400 * DOLLAR) == _counted(kit.account)
    kit.operations.rebuild_risk_book(ACTION)
    assert SessionCount(1, 300 * DOLLAR) == _counted(kit.account)


def test_an_order_that_was_cancelled_before_its_clearance_was_recorded_is_no_difference(kit: Kit) -> None:
    """A crash lost the guard's answer; the guard counted an order that the ledger never saw cleared."""
    _cleared(kit)
    kit.operations.cancel_all_orders(ACTION)
    tell_guard(kit.account)
    assert SessionCount(1, 0) == _counted(kit.account)


def test_a_clearance_of_a_book_that_was_replaced_meanwhile_is_none(kit: Kit) -> None:
    """The new book does not hold it, so the order is refused, asked for again, and counted once."""
    stored, verdict = _cleared(kit)
    kit.operations.rebuild_risk_book(ACTION)
    after, veto = kit.ledger.orders.record_verdict(stored, verdict)
    assert veto is not None
    assert (VerdictCode.BOOK_STALE, OrderState.REFUSED) == (veto.code, after.state)
    assert [] == compare_book(kit.account, read_ledger(kit.account))
    assert OrderState.ACCEPTED is _submit(kit.account).state
    assert SessionCount(1, 1000 * DOLLAR) == _counted(kit.account)


def test_an_order_whose_clearance_is_none_is_no_duplicate_of_itself(kit: Kit) -> None:
    """A book that is made anew after that was recorded does not take it for an order that was sent."""
    stored, verdict = _cleared(kit)
    kit.operations.rebuild_risk_book(ACTION)
    kit.ledger.orders.record_verdict(stored, verdict)
    kit.operations.rebuild_risk_book(ACTION)
    assert OrderState.ACCEPTED is _submit(kit.account).state
    assert SessionCount(1, 1000 * DOLLAR) == _counted(kit.account)


def test_a_rebuild_holds_an_order_at_the_price_it_was_judged_at(account: TradingAccount, bench: Bench) -> None:
    """That of now, where its own had become too old; asked again after a crash, at the one the book holds already."""
    new = order("AAPL", limit_price=Decimal("100.50"))
    seen = ReferencePrice(price=Decimal(100), source="midpoint:test", as_of=bench.waits.now() - timedelta(seconds=40))
    aged = replace(new, intent=replace(new.intent, reference=seen))
    dear = replace(account, prices=Prices(Decimal(105), source="midpoint:test"))
    (sent,) = SubmissionService(dear, RUN).submit_all([aged])
    assert (OrderState.ACCEPTED, Decimal(105)) == (sent.order.state, sent.order.judged_price)
    assert SessionCount(1, 1050 * DOLLAR) == _counted(account)
    RiskOperations(account).rebuild_risk_book(ACTION)
    assert SessionCount(1, 1050 * DOLLAR) == _counted(account)


def test_a_repeated_clearance_says_at_which_price_the_order_is_held(kit: Kit) -> None:
    """Not the one that was asked with this time."""
    stored, first = _cleared(kit)
    book = kit.ledger.books.get(ACCOUNT)
    dearer = MarketFacts(reference_ticks=120 * DOLLAR, reference_age_seconds=0)
    again = ClearanceRequest.of(stored.intent, market=dearer, epoch=book.epoch, min_sequence=book.high_sequence)
    second = kit.guard.clear(again)
    assert [100 * DOLLAR] * 2 == [first.judged_ticks, second.judged_ticks]
    after, _ = kit.ledger.orders.record_verdict(stored, second)
    assert Decimal(100) == after.judged_price
    assert [] == compare_book(kit.account, read_ledger(kit.account))


def test_a_chain_counts_once_while_nobody_knows_which_of_its_orders_works(
    account: TradingAccount, bench: Bench
) -> None:
    """The larger of the two; a book that is made anew then counts the same, and all agree when it is known."""
    old = _submit(account, limit_price=Decimal(100)).client_order_id
    bench.exchange.lag()
    path = f"/v2/orders/{bench.exchange.order(old).id}"
    bench.server.plan_for("PATCH", path, Fault(kind="hang", after=True))
    new = replace_order(account, old, OrderChange(qty=14), ACTION, quotes).order
    assert OrderState.SUBMITTED_UNCONFIRMED is new.state
    assert SessionCount(2, 1400 * DOLLAR) == _counted(account)
    bench.exchange.catch_up()
    RiskOperations(account).rebuild_risk_book(ACTION)
    assert SessionCount(2, 1400 * DOLLAR) == _counted(account)


def test_a_chain_whose_orders_have_other_prices_counts_between_them(account: TradingAccount, bench: Bench) -> None:
    """Filled before and after, with a replacement refused by the broker in between; 99 is below the price of then."""
    first = _submit(account, side=Side.BUY, limit_price=Decimal(104)).client_order_id
    bench.exchange.fill(first, 3)
    second = replace_order(account, first, OrderChange(qty=9, limit_price=Decimal(99)), ACTION, quotes).order
    assert [] == compare_book(account, read_ledger(account))
    bench.exchange.fill(second.client_order_id, 2)
    path = f"/v2/orders/{bench.exchange.order(second.client_order_id).id}"
    bench.server.plan_for("PATCH", path, Fault(status=422, body='{"code": 42210000, "message": "no"}'))
    refused = replace_order(
        account, second.client_order_id, OrderChange(qty=12, limit_price=Decimal(108)), ACTION, quotes
    ).order
    assert OrderState.REJECTED is refused.state
    assert 3 == _counted(account).orders
    RiskOperations(account).rebuild_risk_book(ACTION)
    assert 3 == _counted(account).orders
    RiskOperations(account).cancel_all_orders(ACTION)
    assert SessionCount(3, (3 * 104 + 2 * 100) * DOLLAR) == _counted(account)


def test_an_order_that_replaces_one_of_the_session_before_is_no_difference(
    account: TradingAccount, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old one filled counts for its own session, what the chain holds for the new one, at the dearer price."""
    lasting = order("AAPL", limit_price=Decimal(104))
    lasting = replace(lasting, intent=replace(lasting.intent, time_in_force=TimeInForce.GTC))
    old = SubmissionService(account, RUN).submit(lasting).order.client_order_id
    bench.exchange.fill(old, 3)
    settle(account, SESSION)
    bench.waits.instant += timedelta(days=1)
    monkeypatch.setattr("trading_pipeline.services.submission.require_tied_out", lambda _: None)
    change = OrderChange(qty=9, limit_price=Decimal(99))
    new = replace_order(account, old, change, ACTION, quotes).order.client_order_id
    assert [] == compare_book(account, read_ledger(account))
    bench.exchange.fill(new, 2)
    settle(account, NEXT)
    assert [] == compare_book(account, read_ledger(account))
    RiskOperations(account).cancel_all_orders(ACTION)
    assert [] == compare_book(account, read_ledger(account))
