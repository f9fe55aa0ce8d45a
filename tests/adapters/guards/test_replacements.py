"""An order that takes another one's place: one reservation for both, the larger of the two, until one is over."""

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.adapters.guards.builders import ACTION, LIMITS, PRICE, ask, book_of, end, fill, holding
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.telling import Lowering
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ReplacementRequest, Verdict, VerdictCode
from trading_pipeline.errors import TradingHalted


def amend(guard: RiskGuard, new: str, qty: int, *, before: int = 100, holder: str = "order-1", **more) -> Verdict:
    """Ask for a replacement by an order of this total."""
    order = ask(new, more.pop("side", Side.BUY), qty, **more)
    order = replace(order, payload_digest=f"{new}|{order.payload_digest}")
    return guard.amend(ReplacementRequest(order=order, holder=holder, replaced_qty=before))


def lower(guard: RiskGuard, ended: str, remaining: Decimal | int, holder: str = "order-1") -> None:
    """Tell that an order of the chain is over."""
    lowering = Lowering(client_order_id=ended, holder=holder, remaining=remaining)
    guard.lower_many([lowering], epoch=1, min_sequence=0).require()


def held(guard: RiskGuard) -> dict[str, Decimal]:
    """Return what each reservation holds."""
    return {name: one.remaining for name, one in book_of(guard).reservations.items()}


@pytest.mark.parametrize(("total", "while_unknown"), [(160, 160), (100, 100), (40, 100)])
def test_the_larger_of_the_two_is_held_until_one_is_over(guard: RiskGuard, total: int, while_unknown: int) -> None:
    """Increase before, decrease after; then what the order that lives can still fill."""
    guard.clear(ask(qty=100))
    assert amend(guard, "new", total, limit=PRICE).cleared
    assert {"order-1": while_unknown} == held(guard)
    assert while_unknown == book_of(guard).symbols["AAPL"].pending_buy
    lower(guard, "order-1", total)
    assert {"order-1": total} == held(guard)
    assert total * PRICE == book_of(guard).gross_ticks


def test_a_rejected_replacement_leaves_the_old_order_as_it_was(guard: RiskGuard) -> None:
    """The increase is given back, and the new id never clears again."""
    guard.clear(ask(qty=100))
    before = book_of(guard)
    amend(guard, "new", 160)
    lower(guard, "new", 100)
    after = book_of(guard)
    assert (before.symbols, before.gross_ticks) == (after.symbols, after.gross_ticks)
    assert VerdictCode.ENDED is amend(guard, "new", 160).code


def test_fills_of_either_order_count_once(guard: RiskGuard) -> None:
    """Some of the old one before, some of it while nobody knows, some of the new one."""
    guard.clear(ask(qty=100))
    fill(guard, "before", 30)
    amend(guard, "new", 120)
    assert {"order-1": 90} == held(guard)
    fill(guard, "meanwhile", Decimal("10.5"))
    fill(guard, "of-the-new-one", 9)
    lower(guard, "order-1", Decimal("70.5"))
    assert {"order-1": Decimal("70.5")} == held(guard)
    assert {"AAPL": Decimal("49.5")} == book_of(guard).positions
    end(guard, "order-1")
    assert {} == held(guard)


def test_it_is_judged_as_the_order_that_results(guard: RiskGuard) -> None:
    """The old order's exposure is no part of it: a limit that both together would break is kept by either."""
    guard.rebuild(holding(replace(LIMITS, max_position_shares=150)))
    guard.clear(ask(qty=100))
    assert amend(guard, "at-the-limit", 150).cleared
    verdict = amend(guard, "past-it", 151, before=150)
    assert (VerdictCode.POSITION_SHARES, 151, 150) == (verdict.code, verdict.observed, verdict.limit)


REFUSALS = [
    pytest.param({"limit": 2 * PRICE}, VerdictCode.PRICE_COLLAR, id="price collar"),
    pytest.param({"qty": LIMITS.max_order_shares + 8}, VerdictCode.ORDER_SHARES, id="order size"),
    pytest.param({"symbol": "MSFT"}, VerdictCode.CONFLICT, id="another symbol"),
    pytest.param({"side": Side.SELL}, VerdictCode.CONFLICT, id="another side"),
    pytest.param({"price": None}, VerdictCode.REFERENCE_MISSING, id="no price"),
    pytest.param({"holder": "order-2"}, VerdictCode.ENDED, id="nothing to replace"),
    pytest.param({"epoch": 2}, VerdictCode.BOOK_STALE, id="another epoch"),
    pytest.param({"min_sequence": 9_999}, VerdictCode.BOOK_STALE, id="lost writes"),
]


@pytest.mark.parametrize(("asked", "code"), REFUSALS)
def test_a_refusal_changes_nothing(guard: RiskGuard, raw, asked: dict[str, object], code: VerdictCode) -> None:
    """Byte for byte: what was taken out to judge it is back."""
    guard.clear(ask(qty=100, limit=PRICE))
    guard.clear(ask("other", Side.SELL, 10, limit=PRICE + 1))
    fill(guard, "some", 7)
    before = {key: raw.hgetall(key) for key in raw.keys("*")}
    verdict = amend(guard, "new", **({"qty": 120} | asked))
    assert (code, False) == (verdict.code, verdict.cleared)
    assert before == {key: raw.hgetall(key) for key in raw.keys("*")}


def test_a_damaged_book_keeps_the_reservation(guard: RiskGuard, raw) -> None:
    """The script fails in the middle of judging: what it took out is put back first."""
    guard.clear(ask(qty=100))
    (book,) = raw.keys("*:book")
    raw.hset(book, "session:2024-10-18", b"damage")
    before = raw.hgetall(book)
    verdict = amend(guard, "new", 120, session=ask().trade_session.replace(day=18))
    assert VerdictCode.GUARD_UNAVAILABLE is verdict.code
    assert before == raw.hgetall(book)


def test_asked_again_it_gets_the_same_clearance(guard: RiskGuard) -> None:
    """Also after fills in between, and after a rebuild; the book moves once."""
    guard.clear(ask(qty=100))
    first = amend(guard, "new", 160)
    fill(guard, "some", 7)
    again = amend(guard, "new", 160)
    assert first.clearance is not None
    assert again.clearance is not None
    assert first.clearance.sequence == again.clearance.sequence
    assert ("new", "order-1") == (again.clearance.client_order_id, *held(guard))
    assert {"order-1": 153} == held(guard)


def test_halts_hold_for_replacements(guard: RiskGuard) -> None:
    """Tripped: only one that reduces. Engaged: none; a cancel is what is left."""
    guard.rebuild(holding(AAPL=200))
    guard.clear(ask(side=Side.SELL, qty=100))
    guard.trip("drawdown")
    assert amend(guard, "reduces", 150, side=Side.SELL).cleared
    verdict = amend(guard, "crosses", 201, before=150, side=Side.SELL)
    assert VerdictCode.BREAKER_TRIPPED is verdict.code
    guard.engage_kill_switch(ACTION)
    assert VerdictCode.KILL_SWITCH_ENGAGED is amend(guard, "smaller", 10, before=150, side=Side.SELL).code
    assert VerdictCode.KILL_SWITCH_ENGAGED is amend(guard, "reduces", 150, side=Side.SELL).code


def test_the_old_price_counts_until_the_old_order_is_over(guard: RiskGuard) -> None:
    """Self-match: an order to buy at the old, higher price may still be at the broker."""
    guard.rebuild(holding(replace(LIMITS, max_self_match_shares=0)))
    guard.clear(ask(qty=100, limit=PRICE + 5))
    amend(guard, "lower-price", 100, limit=PRICE - 5)
    assert VerdictCode.SELF_MATCH is guard.clear(ask("sell", Side.SELL, 10, limit=PRICE + 5)).code


def test_more_than_the_total_is_filled_already(guard: RiskGuard) -> None:
    """There is nothing left that it could ask for."""
    guard.clear(ask(qty=100))
    fill(guard, "most", 60)
    assert VerdictCode.ENDED is amend(guard, "too-small", 60).code
    assert amend(guard, "one-more", 61).cleared


def test_a_stale_book_is_not_lowered(guard: RiskGuard) -> None:
    """A book that is not the ledger's may hold something else under the id."""
    guard.clear(ask(qty=100))
    lowering = Lowering(client_order_id="order-1", holder="order-1", remaining=1)
    with pytest.raises(TradingHalted):
        guard.lower_many([lowering], epoch=2, min_sequence=0).require()
    assert {"order-1": 100} == held(guard)


def test_each_counts_as_an_order_of_the_session(guard: RiskGuard) -> None:
    """Count and notional of the day: what is filled or still can, once."""
    guard.clear(ask(qty=100))
    amend(guard, "new", 160)
    (count,) = book_of(guard).sessions.values()
    assert (2, 160 * PRICE) == (count.orders, count.notional_ticks)
    lower(guard, "new", 100)
    (count,) = book_of(guard).sessions.values()
    assert (2, 100 * PRICE) == (count.orders, count.notional_ticks)
