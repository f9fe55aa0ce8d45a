"""Fills and ends of orders: what moves from pending to position, what is released, and what happens twice."""

import pytest

from tests.adapters.guards.builders import PRICE, ask, book_of, end, fill, holding
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.errors import OrderConflict


def test_fill_moves_pending_to_position(guard: RiskGuard) -> None:
    """A partial fill moves its shares and leaves the rest held; the exposure stays what it was."""
    guard.clear(ask(qty=100))

    assert 2 == fill(guard, "e1", 30)

    after = book_of(guard)
    assert (30, 70) == (after.symbols["AAPL"].position, after.symbols["AAPL"].pending_buy)
    assert 70 == after.reservations["order-1"].remaining
    assert 100 * PRICE == after.gross_ticks


def test_sell_fill_lowers_the_position(guard: RiskGuard) -> None:
    """A sell is posted with the other sign."""
    guard.rebuild(holding(AAPL=100))
    guard.clear(ask(side=Side.SELL, qty=100))

    fill(guard, "e1", 100, side=Side.SELL)

    after = book_of(guard)
    assert ({}, 0, {}) == (after.positions, after.gross_ticks, after.reservations)


def test_same_execution_counts_once(guard: RiskGuard) -> None:
    """A replayed fill changes nothing, not even the sequence."""
    guard.clear(ask(qty=100))
    fill(guard, "e1", 30)
    before = book_of(guard)

    assert before.sequence == fill(guard, "e1", 30)
    assert before == book_of(guard)


def test_fill_after_the_end_still_moves_the_position(guard: RiskGuard) -> None:
    """A fill that arrives after its order was voided happened nonetheless."""
    guard.clear(ask(qty=100))
    end(guard, "order-1")

    fill(guard, "e1", 40)

    after = book_of(guard)
    assert (40, 0) == (after.symbols["AAPL"].position, after.symbols["AAPL"].pending_buy)
    assert 40 * PRICE == after.gross_ticks


def test_fill_that_is_not_ours_moves_the_position(guard: RiskGuard) -> None:
    """An order made elsewhere has no reservation; its first fill gives the symbol a price."""
    fill(guard, "e1", 40, order="by-hand")

    after = book_of(guard)
    assert ({"AAPL": 40}, 40 * PRICE) == (after.positions, after.gross_ticks)


def test_fill_beyond_the_order_moves_the_position_wholly(guard: RiskGuard) -> None:
    """More filled than ordered: pending stops at zero, the position takes it all."""
    guard.clear(ask(qty=100))

    fill(guard, "e1", 130)

    after = book_of(guard)
    assert (130, 0) == (after.symbols["AAPL"].position, after.symbols["AAPL"].pending_buy)
    assert {} == after.reservations


def test_overfill_leaves_the_pending_of_others(guard: RiskGuard) -> None:
    """What one order took too much is not taken from another order's reservation."""
    guard.clear(ask("one", qty=100))
    guard.clear(ask("two", qty=50))

    fill(guard, "e1", 130, order="one")

    assert 50 == book_of(guard).symbols["AAPL"].pending_buy


def test_fill_keeps_the_price_the_symbol_is_judged_at(guard: RiskGuard) -> None:
    """A fill at another price does not revalue what the guard has cleared."""
    guard.clear(ask(qty=100))
    guard.post(
        epoch=1,
        min_sequence=0,
        client_order_id="order-1",
        execution_id="e1",
        qty=10,
        symbol="AAPL",
        side=Side.BUY,
        price_ticks=PRICE * 2,
    )

    assert PRICE == book_of(guard).symbols["AAPL"].mark_ticks


@pytest.mark.parametrize(("symbol", "side"), [("MSFT", Side.BUY), ("AAPL", Side.SELL)])
def test_fill_that_does_not_fit_its_order_is_a_conflict(guard: RiskGuard, symbol: str, side: Side) -> None:
    """A fill of another symbol or side under a held id is a mix-up that nothing should be derived from."""
    guard.clear(ask())
    before = book_of(guard)

    with pytest.raises(OrderConflict):
        guard.post(
            epoch=1,
            min_sequence=0,
            client_order_id="order-1",
            execution_id="e1",
            qty=1,
            symbol=symbol,
            side=side,
            price_ticks=PRICE,
        )
    assert before == book_of(guard)


def test_void_releases_what_remains(guard: RiskGuard) -> None:
    """The filled part stays a position, the rest is free for other orders."""
    guard.clear(ask(qty=1_000))
    fill(guard, "e1", 400)

    end(guard, "order-1")

    assert ({"AAPL": 400}, 400 * PRICE) == (book_of(guard).positions, book_of(guard).gross_ticks)
    assert guard.clear(ask("next", qty=600)).cleared


def test_void_twice_changes_nothing(guard: RiskGuard) -> None:
    """The end of an order is told more than once; it counts once."""
    guard.clear(ask())
    first = end(guard, "order-1")

    assert first == end(guard, "order-1")
    assert {} == book_of(guard).reservations


def test_void_after_the_last_fill_changes_nothing(guard: RiskGuard) -> None:
    """The broker reports the end of a filled order as well."""
    guard.clear(ask(qty=100))
    filled = fill(guard, "e1", 100)

    assert filled == end(guard, "order-1")


def test_fills_in_pieces_end_the_order_with_the_last(guard: RiskGuard) -> None:
    """As long as a share remains the order lives."""
    guard.clear(ask(qty=3))
    fill(guard, "e1", 1)
    fill(guard, "e2", 1)
    assert guard.clear(ask(qty=3)).cleared

    fill(guard, "e3", 1)

    assert VerdictCode.ENDED == guard.clear(ask(qty=3)).code
    assert {"AAPL": 3} == book_of(guard).positions
