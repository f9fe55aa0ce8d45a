"""What corporate actions do to positions: worked numbers, dollars kept to the last digit, and the order of a day."""

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.accounting import Position
from trading_pipeline.core.corporate_actions import ActionKind
from trading_pipeline.core.restating import Restatement, apply_restatement, restated_shares, restatements_of
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError

DAY = date(2023, 9, 5)
MIDNIGHT = datetime(2023, 9, 5, 4, tzinfo=UTC)


def _row(kind: ActionKind, symbol: str = "AAPL", day: date = DAY, **more: Any) -> dict[str, Any]:
    row = {"action_id": f"{kind}-{symbol}-{day}", "symbol": symbol, "ex_date": day, "kind": kind.value}
    return row | {"ratio": None, "amount": None, "other_symbol": None} | more


def _action(ratio: str = "1", *, symbol: str = "AAPL", amount: str = "0", new_symbol: str = "") -> Restatement:
    return Restatement(
        action_id="a",
        kind=ActionKind.SPLIT,
        symbol=symbol,
        session=DAY,
        at=MIDNIGHT,
        ratio=Fraction(ratio),
        amount=Decimal(amount),
        new_symbol=new_symbol,
    )


def _held(qty: str, average: str, symbol: str = "AAPL") -> Position:
    return Position(symbol=symbol, qty=Decimal(qty), average_price=Decimal(average))


@pytest.mark.parametrize(
    ("qty", "average", "ratio", "shares", "price"),
    [
        ("10", "400", "4", "40", "100"),
        ("-10", "400", "4", "-40", "100"),
        ("25", "2", "1/10", "2.5", "20"),
        ("100", "50", "21/20", "105", "47.6190476190"),
        ("10", "3", "1/3", "3.333333333", "9.0000000009"),
    ],
)
def test_a_split_restates_shares_and_average_and_keeps_the_cost(
    qty: str, average: str, ratio: str, shares: str, price: str
) -> None:
    """Forward, short, reverse with a fraction kept, stock dividend, and one that no decimal holds."""
    before = _held(qty, average)
    done = apply_restatement({"AAPL": before}, _action(ratio))["AAPL"]
    after = done.position
    assert (Decimal(shares), Decimal(price), 0) == (after.qty, after.average_price, done.realised)
    assert before.cost == after.cost


def test_a_dividend_is_realised_and_a_short_position_pays_it() -> None:
    """40 shares, 0.25 a share."""
    long = apply_restatement({"AAPL": _held("40", "100")}, _action(amount="0.25"))["AAPL"]
    short = apply_restatement({"AAPL": _held("-40", "100")}, _action(amount="0.25"))["AAPL"]
    assert (Decimal(10), Decimal(-10)) == (long.realised, short.realised)
    assert (Decimal(10), Decimal(4000)) == (long.position.realised, long.position.cost)


def test_a_change_of_symbol_moves_shares_and_cost_and_leaves_what_was_realised() -> None:
    """Nothing is held twice."""
    old = Position(symbol="FB", qty=Decimal(10), average_price=Decimal(200), realised=Decimal(7), fees=Decimal(1))
    done = apply_restatement({"FB": old}, _action(symbol="FB", new_symbol="META"))
    left, there = done["FB"].position, done["META"].position
    assert (0, 0, Decimal(7), Decimal(1)) == (left.qty, left.cost, left.realised, left.fees)
    assert (Decimal(10), Decimal(200), 0) == (there.qty, there.average_price, there.realised)


def test_what_is_not_held_is_not_changed() -> None:
    """No row is written for it."""
    assert {} == apply_restatement({}, _action("4"))


@given(
    qty=st.integers(-(10**13), 10**13).map(lambda nanos: Decimal(nanos).scaleb(-9)),
    new=st.integers(1, 200),
    old=st.integers(1, 200),
    mark=st.integers(1, 10_000_000).map(lambda ticks: Decimal(ticks).scaleb(-4)),
)
def test_value_is_preserved_to_the_cent(qty: Decimal, new: int, old: int, mark: Decimal) -> None:
    """Shares after it at the price after it are worth what they were; only crumbs below a billionth are cut off."""
    ratio = Fraction(new, old)
    after = restated_shares(qty, ratio)
    exact = Fraction(qty) * ratio
    assert abs(exact) >= abs(Fraction(after))
    assert abs(exact - Fraction(after)) < Fraction(1, 10**9)
    value = Fraction(after) * Fraction(mark) / ratio
    assert abs(Fraction(qty) * Fraction(mark) - value) < Fraction(1, 10**9) * Fraction(mark) / ratio


def test_of_one_day_splits_come_before_payments_and_changes_of_symbol_last() -> None:
    """A payment is a share as traded that day; what is told under the new symbol is the old one's."""
    rows = [
        _row(ActionKind.SYMBOL_CHANGE, "FB", other_symbol="META"),
        _row(ActionKind.CASH_DIVIDEND, "META", amount=0.5),
        _row(ActionKind.SPLIT, "FB", ratio=2.0),
        _row(ActionKind.STOCK_DIVIDEND, "FB", ratio=1.05),
    ]
    held = {"FB": _held("100", "42", "FB")}
    for action in restatements_of(rows, xnys()):
        held |= {symbol: one.position for symbol, one in apply_restatement(held, action).items()}
    assert (Decimal(210), Decimal(20)) == (held["META"].qty, held["META"].average_price)
    assert (0, Decimal(105)) == (held["FB"].qty, held["FB"].realised)


def test_a_symbol_is_left_before_another_company_takes_it() -> None:
    """A becomes B on the day B becomes C."""
    rows = [
        _row(ActionKind.SYMBOL_CHANGE, "A", other_symbol="B"),
        _row(ActionKind.SYMBOL_CHANGE, "B", other_symbol="C"),
    ]
    held = {"A": _held("1", "1", "A"), "B": _held("2", "2", "B")}
    for action in restatements_of(rows, xnys()):
        held |= {symbol: one.position for symbol, one in apply_restatement(held, action).items()}
    assert {"A": 0, "B": 1, "C": 2} == {symbol: one.qty for symbol, one in held.items()}


def test_symbols_that_go_in_a_circle_are_refused_by_name() -> None:
    """Nothing says which comes first."""
    rows = [
        _row(ActionKind.SYMBOL_CHANGE, "A", other_symbol="B"),
        _row(ActionKind.SYMBOL_CHANGE, "B", other_symbol="A"),
    ]
    with pytest.raises(DataQualityError, match="A, B"):
        restatements_of(rows, xnys())


@pytest.mark.parametrize(
    ("day", "session"),
    [
        (date(2023, 9, 2), date(2023, 9, 5)),  # a Saturday before Labor Day
        (date(2024, 7, 3), date(2024, 7, 3)),  # a half day
        (date(2024, 7, 4), date(2024, 7, 5)),  # a holiday
    ],
)
def test_an_action_of_a_day_without_trading_is_the_next_sessions(day: date, session: date) -> None:
    """Half days are sessions like any other."""
    (one,) = restatements_of([_row(ActionKind.SPLIT, day=day, ratio=2.0)], xnys())
    assert session == one.session
    assert one.at < xnys().open_at(session)


def test_a_ratio_is_the_fraction_it_was_divided_from() -> None:
    """A float of one third is one third."""
    (one,) = restatements_of([_row(ActionKind.REVERSE_SPLIT, ratio=1 / 3)], xnys())
    assert Fraction(1, 3) == one.ratio
    with pytest.raises(DataQualityError, match="no fraction"):
        restatements_of([_row(ActionKind.REVERSE_SPLIT, ratio=1e-12)], xnys())
