"""Executions that arrive shuffled, twice, late or never end in one and the same result."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pnl import pnl_of_fills

from trading_pipeline.core.accounting import Fill, replay
from trading_pipeline.core.executions import Cumulative, Executed, effective, replace_synthetic
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ExecutionConflict

FIRST = date(2023, 9, 1)
SESSIONS = [xnys().shift(FIRST, number) for number in range(4)]
SYMBOLS = ("AAPL", "MSFT")
MARKS = {"AAPL": Decimal("101.37"), "MSFT": Decimal("99.015")}


@st.composite
def histories(draw: st.DrawFn) -> list[Executed]:
    """Orders of a few symbols and sessions, each with one to four executions; fractions of shares are common."""
    orders = draw(
        st.lists(
            st.tuples(
                st.sampled_from(SYMBOLS),
                st.sampled_from(list(Side)),
                st.integers(0, len(SESSIONS) - 1),
                st.lists(
                    st.tuples(
                        st.integers(1, 50_000_000_000),
                        st.integers(1, 10_000_000),
                        st.integers(0, 5),
                        st.integers(0, 99),
                    ),
                    min_size=1,
                    max_size=4,
                ),
            ),
            min_size=1,
            max_size=6,
        )
    )
    return [
        Executed(
            client_order_id=f"{number:024x}",
            fill=Fill(
                execution_id=f"{number}-{index}",
                symbol=symbol,
                side=side,
                qty=Decimal(billionths).scaleb(-9),
                price=Decimal(ticks).scaleb(-4),
                fee=Decimal(fee).scaleb(-4),
                session=SESSIONS[day],
            ),
            executed_at=datetime(2023, 9, 1, 14, tzinfo=UTC) + timedelta(days=7 * day, seconds=second),
        )
        for number, (symbol, side, day, executions) in enumerate(orders)
        for index, (billionths, ticks, second, fee) in enumerate(executions)
    ]


def _report(executions: list[Executed], client_order_id: str) -> Cumulative:
    """What the broker would say of an order: a cumulative average rounded to 12 decimals."""
    own = [one for one in executions if one.client_order_id == client_order_id]
    qty = sum((one.fill.qty for one in own), Decimal(0))
    paid = sum((one.fill.qty * one.fill.price for one in own), Decimal(0))
    last = max(own, key=lambda one: one.moment)
    return Cumulative(
        client_order_id=client_order_id,
        symbol=last.fill.symbol,
        side=last.fill.side,
        qty=qty,
        average=(paid / qty).quantize(Decimal("1e-12")),
        session=last.fill.session,
        as_of=last.executed_at,
    )


def _reports(executions: list[Executed]) -> list[Cumulative]:
    return [_report(executions, one) for one in sorted({one.client_order_id for one in executions})]


def _books(executions: list[Executed], reports: list[Cumulative] | None = None) -> dict:
    return replay(one.fill for one in effective(executions, reports or []))


def _statement(executions: list[Executed]) -> list[tuple]:
    fills = [one.fill for one in effective(executions)]
    rows = []
    for session in SESSIONS:
        so_far = [fill for fill in fills if fill.session <= session]
        row = pnl_of_fills(session, so_far, marks=MARKS, marks_before=MARKS, capital=Decimal(1000))
        rows.append((row.session, row.realised, row.fees, row.unrealised, row.change, row.equity))
    return rows


@given(histories(), st.randoms(use_true_random=False))
def test_shuffled_and_duplicated_events_end_in_the_same_positions_and_pnl(executions: list[Executed], random) -> None:
    """Whatever the line does to the order and number of reports, to the last digit."""
    disturbed = [*executions, *random.choices(executions, k=3)]
    random.shuffle(disturbed)
    assert _books(executions) == _books(disturbed)
    assert _statement(executions) == _statement(disturbed)


@given(histories(), st.data())
def test_dropped_events_are_recovered_from_cumulative_averages(executions: list[Executed], data: st.DataObject) -> None:
    """Every share is there at once, at what was paid for it; the real executions, late, make the result exact."""
    kept = [one for one in executions if data.draw(st.booleans())]
    reports = data.draw(st.permutations(_reports(executions)))
    recovered, whole = _books(kept, reports), _books(executions)
    assert {symbol: one.qty for symbol, one in whole.items()} == {symbol: one.qty for symbol, one in recovered.items()}
    for symbol, one in whole.items():
        fees = one.fees - recovered[symbol].fees
        assert fees >= 0, "a synthetic fill has no fee of its own"
        gained, got = one.realised - one.cost, recovered[symbol].realised - recovered[symbol].cost
        assert abs(gained - got) < Decimal("1e-6")
    assert whole == _books([*kept, *executions], reports)


@given(histories(), st.data())
def test_an_older_report_takes_nothing_away(executions: list[Executed], data: st.DataObject) -> None:
    """Reports arrive out of order, too: the one that is furthest along counts."""
    one = data.draw(st.sampled_from(sorted({one.client_order_id for one in executions})))
    own = sorted((each for each in executions if each.client_order_id == one), key=lambda each: each.moment)
    until = own[data.draw(st.integers(0, len(own) - 1))].executed_at
    earlier = _report([each for each in own if each.executed_at <= until], one)
    full = _reports(executions)
    assert _books([], full) == _books([], [earlier, *full]) == _books([], [*full, earlier])


@given(histories())
def test_realised_and_unrealised_are_the_cash_and_the_value_to_the_last_digit(executions: list[Executed]) -> None:
    """No dollar appears or vanishes, not even in rounding."""
    for symbol, position in _books(executions).items():
        own = [one.fill for one in executions if one.fill.symbol == symbol]
        cash = -sum(Fraction(fill.signed_qty) * Fraction(fill.price) for fill in own)
        value = Fraction(position.market_value(MARKS[symbol]))
        assert cash + value == Fraction(position.realised) + Fraction(position.unrealised(MARKS[symbol]))


@given(histories())
def test_sessions_add_up_to_the_whole_to_the_cent(executions: list[Executed]) -> None:
    """Changes sum to the equity gained; realised and fees to those of all fills; each row holds by itself."""
    rows = _statement(executions)
    whole = _books(executions).values()
    assert rows[-1][5] - 1000 == sum(row[4] for row in rows)
    assert sum((one.realised for one in whole), Decimal(0)).quantize(Decimal("0.01"), "ROUND_HALF_UP") == sum(
        row[1] for row in rows
    )
    unrealised_before = Decimal(0)
    for _, realised, fees, unrealised, change, _ in rows:
        assert change == realised - fees + unrealised - unrealised_before
        unrealised_before = unrealised


def _executed(number: int, qty: str, price: str, second: int = 0) -> Executed:
    fill = Fill(
        execution_id=f"x{number}",
        symbol="AAPL",
        side=Side.BUY,
        qty=Decimal(qty),
        price=Decimal(price),
        fee=Decimal(0),
        session=FIRST,
    )
    return Executed(client_order_id="a" * 24, fill=fill, executed_at=datetime(2023, 9, 1, 14, 0, second, tzinfo=UTC))


def _cumulative(qty: str, average: str, second: int = 30) -> Cumulative:
    return Cumulative(
        client_order_id="a" * 24,
        symbol="AAPL",
        side=Side.BUY,
        qty=Decimal(qty),
        average=Decimal(average),
        session=FIRST,
        as_of=datetime(2023, 9, 1, 14, 0, second, tzinfo=UTC),
    )


def test_the_documented_gap() -> None:
    """10 at 100 known, 30 at 102 reported: 20 at 103 are missing; 5 of them arrive at 104, so 15 are at 102.666..."""
    _, gap = effective([_executed(1, "10", "100")], [_cumulative("30", "102")])
    assert (Decimal(20), Decimal(103)) == (gap.fill.qty, gap.fill.price)
    *_, smaller = effective([_executed(1, "10", "100"), _executed(2, "5", "104", 1)], [_cumulative("30", "102")])
    assert Decimal(15) == smaller.fill.qty
    assert Decimal("102.66666666666666666667") == smaller.fill.price


def test_an_execution_counts_against_what_was_reported_whenever_it_happened() -> None:
    """No clock can make more shares of it than were filled: 25 are known or reported, 5 of them by name."""
    counted = effective([_executed(1, "10", "100"), _executed(2, "5", "101", 40)], [_cumulative("25", "102")])
    assert Decimal(25) == sum(one.fill.qty for one in counted)


def _synthetic(number: int, qty: str, price: str, second: int) -> Executed:
    one = _executed(number, qty, price, second)
    return replace(one, fill=replace(one.fill, execution_id=f"s{number}"))


def test_one_execution_takes_the_place_of_several_synthetic_ones() -> None:
    """Of 10 at 100 and 20 at 103 an execution of 25 at 102 leaves 5: (1,000 + 2,060 - 2,550) / 5 = 102."""
    standing = [_synthetic(1, "10", "100", 10), _synthetic(2, "20", "103", 20)]
    done = replace_synthetic(standing, _executed(3, "25", "102", 5))
    assert (tuple(standing), Decimal(30)) == (done.gone, done.shares)
    assert done.left is not None
    assert (Decimal(5), Decimal(102)) == (done.left.fill.qty, done.left.fill.price)
    assert (done.left,) == done.standing


def test_an_execution_begins_with_the_report_that_was_the_first_to_hold_it() -> None:
    """One between two reports is part of the later one."""
    standing = [_synthetic(1, "10", "100", 10), _synthetic(2, "20", "103", 20)]
    done = replace_synthetic(standing, _executed(3, "20", "103", 15))
    assert ((standing[1],), None, (standing[0],)) == (done.gone, done.left, done.standing)


def test_what_is_left_keeps_its_price_where_the_figures_contradict_each_other() -> None:
    """9 at 200 of 10 at 100 would leave a share for less than nothing."""
    done = replace_synthetic([_synthetic(1, "10", "100", 10)], _executed(2, "9", "200", 5))
    assert done.left is not None
    assert (Decimal(1), Decimal(100)) == (done.left.fill.qty, done.left.fill.price)


def test_one_execution_with_two_contents_is_a_conflict() -> None:
    """Neither is believed."""
    one = _executed(1, "10", "100")
    other = replace(one, fill=replace(one.fill, price=Decimal(101)))
    with pytest.raises(ExecutionConflict, match="x1 was reported twice"):
        effective([one, other])


def test_averages_that_cannot_be_are_a_conflict() -> None:
    """10 at 100 known and 11 at 50 reported: the eleventh share would have been a gift of 450 dollars."""
    with pytest.raises(ExecutionConflict, match="does not fit"):
        effective([_executed(1, "10", "100")], [_cumulative("11", "50")])


def test_dust_that_the_rounding_of_an_average_hides_has_the_smallest_price() -> None:
    """0.299999999 at 0.0003 known, 0.3 reported at a rounded average: a billionth of a share seems to cost nothing."""
    _, dust = effective([_executed(1, "0.299999999", "0.0003")], [_cumulative("0.3", "0.000299999999")])
    assert (Decimal("1e-9"), Decimal("0.0001")) == (dust.fill.qty, dust.fill.price)
