"""Average-cost accounting, exact."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pnl import pnl_of_fills

from trading_pipeline.core.accounting import Fill, Position, apply_fill, missed_fill_price, replay
from trading_pipeline.core.orders.model import Side
from trading_pipeline.errors import DataQualityError

DAY = date(2023, 9, 1)
PRICES = st.integers(min_value=1, max_value=10_000_000).map(lambda ticks: Decimal(ticks) / 10_000)
FILLS = st.lists(
    st.tuples(st.sampled_from(list(Side)), st.integers(min_value=1, max_value=10_000), PRICES), min_size=1, max_size=30
)


def _fill(number: int, side: Side, qty: int, price: Decimal, fee: Decimal = Decimal(0), day: date = DAY) -> Fill:
    return Fill(
        execution_id=f"x{number}", symbol="AAPL", side=side, qty=Decimal(qty), price=price, fee=fee, session=day
    )


def test_the_documented_example() -> None:
    """Buy 10 at 100, buy 10 at 110, sell 30 at 108."""
    position = Position(symbol="AAPL")
    position = apply_fill(position, _fill(1, Side.BUY, 10, Decimal(100))).position
    position = apply_fill(position, _fill(2, Side.BUY, 10, Decimal(110))).position
    assert (Decimal(20), Decimal(105)) == (position.qty, position.average_price)
    booking = apply_fill(position, _fill(3, Side.SELL, 30, Decimal(108)))
    assert Decimal(60) == booking.realised
    assert (Decimal(-10), Decimal(108)) == (booking.position.qty, booking.position.average_price)


def test_the_documented_table() -> None:
    """Every line of the worked example in docs/accounting.md."""
    position, rows = Position(symbol="AAPL"), []
    trades = [
        (Side.BUY, 10, 100),
        (Side.BUY, 10, 110),
        (Side.SELL, 5, 112),
        (Side.SELL, 25, 108),
        (Side.BUY, 4, 103),
        (Side.BUY, 6, 110),
    ]
    for number, (side, qty, price) in enumerate(trades):
        booking = apply_fill(position, _fill(number, side, qty, Decimal(price)))
        position = booking.position
        rows.append((position.qty, position.cost, position.average_price, booking.realised))
    assert [
        (10, 1000, 100, 0),
        (20, 2100, 105, 0),
        (15, 1575, 105, 35),
        (-10, -1080, 108, 45),
        (-6, -648, 108, 20),
        (0, 0, 0, -12),
    ] == rows
    assert Decimal(88) == position.realised


@given(FILLS)
def test_realised_and_unrealised_add_up_to_the_cash(fills: list[tuple[Side, int, Decimal]]) -> None:
    """Whatever the order of fills, no dollar appears or vanishes: cash + value = realised + unrealised."""
    booked = [_fill(number, *one) for number, one in enumerate(fills)]
    position = replay(booked)["AAPL"]
    cash = -sum(fill.signed_qty * fill.price for fill in booked)
    mark = booked[-1].price
    assert abs(cash + position.market_value(mark) - position.realised - position.unrealised(mark)) < Decimal("0.0001")


@given(FILLS)
def test_a_replayed_execution_changes_nothing(fills: list[tuple[Side, int, Decimal]]) -> None:
    """Each execution counts once."""
    booked = [_fill(number, *one) for number, one in enumerate(fills)]
    assert replay(booked) == replay([fill for fill in booked for _ in range(2)])


@given(FILLS)
def test_a_flat_position_has_no_average_price(fills: list[tuple[Side, int, Decimal]]) -> None:
    """Nothing of an old position leaks into the next."""
    booked = [_fill(number, *one) for number, one in enumerate(fills)]
    held = replay(booked)["AAPL"].qty
    if held:
        side = Side.SELL if held > 0 else Side.BUY
        booked.append(_fill(len(booked), side, int(abs(held)), Decimal(50)))
    assert (Decimal(0), Decimal(0)) == (replay(booked)["AAPL"].qty, replay(booked)["AAPL"].average_price)


@pytest.mark.parametrize("price", [Decimal("NaN"), Decimal("Infinity"), Decimal(0), Decimal(-1)])
def test_impossible_prices_are_refused(price: Decimal) -> None:
    """NaN and friends never enter a position."""
    with pytest.raises(ValueError, match="finite and positive"):
        apply_fill(Position(symbol="AAPL"), _fill(1, Side.BUY, 1, price))


def test_a_missed_fill_is_priced_from_cumulative_averages() -> None:
    """10 at 100 were known, 30 at 102 in all: the 20 between were at 103."""
    assert Decimal(103) == missed_fill_price(
        previous_qty=Decimal(10),
        previous_average=Decimal(100),
        cumulative_qty=Decimal(30),
        cumulative_average=Decimal(102),
    )
    with pytest.raises(ValueError, match="must grow"):
        missed_fill_price(
            previous_qty=Decimal(10),
            previous_average=Decimal(1),
            cumulative_qty=Decimal(10),
            cumulative_average=Decimal(1),
        )


def test_session_pnl_adds_up_to_the_change_of_equity() -> None:
    """Two sessions, a fee each, one reduction."""
    second = date(2023, 9, 5)
    history = [
        _fill(1, Side.BUY, 10, Decimal(100), Decimal(1)),
        _fill(2, Side.SELL, 4, Decimal(110), Decimal(1), second),
    ]
    marks = {"AAPL": Decimal(105)}
    first = pnl_of_fills(DAY, history[:1], marks=marks, marks_before={}, capital=Decimal(1000))
    after = pnl_of_fills(second, history, marks={"AAPL": Decimal(108)}, marks_before=marks, capital=Decimal(1000))
    assert (Decimal("49.00"), Decimal("1049.00")) == (first.change, first.equity)
    assert Decimal("1086.00") == after.equity
    assert after.change == after.equity - first.equity


def test_a_position_without_a_mark_stops_the_pnl() -> None:
    """Never a default price."""
    history = [_fill(1, Side.BUY, 10, Decimal(100))]
    with pytest.raises(DataQualityError, match="AAPL"):
        pnl_of_fills(DAY, history, marks={}, marks_before={}, capital=Decimal(1000))
