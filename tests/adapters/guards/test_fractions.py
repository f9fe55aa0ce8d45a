"""Fractional fills: held to a billionth of a share, rounded up wherever they are judged."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters.guards.builders import EMPTY, PRICE, ask, book_of, end, fill, holding
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.errors import TradingHalted


def test_fraction_of_a_share_is_kept(guard: RiskGuard) -> None:
    """What filled and what remains add up to the order, exactly."""
    guard.clear(ask(qty=10))
    fill(guard, "e1", Decimal("3.333333333"))

    one = book_of(guard).symbols["AAPL"]
    assert (Decimal("3.333333333"), Decimal("6.666666667")) == (one.position, one.pending_buy)
    assert 10 * PRICE == book_of(guard).gross_ticks
    fill(guard, "e2", Decimal("6.666666667"))
    assert ({"AAPL": Decimal(10)}, {}) == (book_of(guard).positions, book_of(guard).reservations)


def test_fraction_counts_as_a_share_against_a_limit(guard: RiskGuard) -> None:
    """900 and a billionth are 901 for the limit of 1,000."""
    guard.rebuild(holding(AAPL=Decimal("900.000000001")))

    assert VerdictCode.POSITION_SHARES == guard.clear(ask(qty=100)).code
    assert guard.clear(ask(qty=99)).cleared


@pytest.mark.parametrize(("held", "side"), [("9.5", Side.SELL), ("-9.5", Side.BUY)])
def test_reducing_order_cannot_cross_by_a_fraction(guard: RiskGuard, held: str, side: Side) -> None:
    """Ten whole shares out of nine and a half would end on the other side."""
    guard.rebuild(holding(AAPL=Decimal(held)))
    guard.trip("drawdown")

    assert VerdictCode.BREAKER_TRIPPED == guard.clear(ask("ten", side, 10)).code
    assert guard.clear(ask("nine", side, 9)).cleared


def test_overfill_by_a_fraction_counts_once(guard: RiskGuard) -> None:
    """The position takes it all, pending gives what it had, and the same execution again changes nothing."""
    guard.clear(ask("one", qty=10))
    guard.clear(ask("two", qty=5))
    fill(guard, "e1", Decimal("10.25"), order="one")
    before = book_of(guard)
    fill(guard, "e1", Decimal("10.25"), order="one")

    assert before == book_of(guard)
    assert (Decimal("10.25"), Decimal(5)) == (before.symbols["AAPL"].position, before.symbols["AAPL"].pending_buy)


def test_late_fill_after_the_end_counts_once(guard: RiskGuard) -> None:
    """However often it is told."""
    guard.clear(ask(qty=10))
    end(guard, "order-1")
    for _ in range(3):
        fill(guard, "e1", Decimal("0.5"))

    assert {"AAPL": Decimal("0.5")} == book_of(guard).positions


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fills=st.lists(st.decimals("0.000000001", 30, places=9), min_size=1, max_size=8), side=st.sampled_from(Side))
def test_any_fills_add_up(guard: RiskGuard, fills: list[Decimal], side: Side) -> None:
    """Position and remainder are sums of exact numbers, whatever the fractions."""
    guard.rebuild(EMPTY)
    guard.clear(ask(side=side, qty=100))
    for number, qty in enumerate(fills):
        fill(guard, f"e{number}", qty, side=side)

    book, total = book_of(guard), sum(fills, start=Decimal(0))
    assert side.sign * total == book.symbols["AAPL"].position
    left = book.reservations["order-1"].remaining if "order-1" in book.reservations else Decimal(0)
    assert max(100 - total, Decimal(0)) == left
    assert left == book.symbols["AAPL"].pending_buy + book.symbols["AAPL"].pending_sell


def test_stale_book_takes_neither_fill_nor_end(guard: RiskGuard) -> None:
    """The currency of the book is checked in the step that changes it."""
    guard.clear(ask())
    before = book_of(guard)
    for known in ({"epoch": 2}, {"min_sequence": 2}):
        with pytest.raises(TradingHalted, match="rebuild"):
            fill(guard, "e1", 1, **known)
        with pytest.raises(TradingHalted, match="rebuild"):
            end(guard, "order-1", **known)

    assert before == book_of(guard)
