"""Adjustment: the two conventions, odd calendars of actions, and that nothing looks ahead."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline.core.adjustment import Anchor, Convention, adjust_bars, adjustment_events
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.errors import DataQualityError

DAYS = [date(2024, 7, 1) + timedelta(days=offset) for offset in range(6)]
BOTH = list(Convention)


def bars(*closes: float, symbol: str = "A") -> pl.DataFrame:
    """Return bars of consecutive days around some closes."""
    days = DAYS[: len(closes)]
    frame = pl.DataFrame({"session": days, "symbol": [symbol] * len(days), "close": list(closes)})
    close = pl.col("close")
    return frame.with_columns(open=close * 0.99, high=close * 1.02, low=close * 0.97, volume=pl.lit(1000.0))


def action(day: date, kind: str, *, symbol: str = "A", **values: object) -> dict[str, object]:
    """Return one action."""
    known = datetime(2024, 7, 1, tzinfo=UTC)
    row = dict.fromkeys(ACTION_SCHEMA) | {"symbol": symbol, "ex_date": day, "kind": kind, "known_at": known}
    return row | {"action_id": f"{symbol}{day}{kind}{values}", "source": "test"} | values


def actions(*rows: dict[str, object]) -> pl.DataFrame:
    """Return actions in their format."""
    return pl.DataFrame(list(rows), schema=ACTION_SCHEMA)


def closes(frame: pl.DataFrame, *rows: dict[str, object], convention: Convention) -> list[float]:
    """Return adjusted closes, anchored at the last."""
    return adjust_bars(frame, actions(*rows), convention=convention)["close"].to_list()


@pytest.mark.parametrize("convention", BOTH)
@pytest.mark.parametrize(("kind", "ratio", "after"), [("split", 4.0, 25.0), ("reverse_split", 0.05, 2000.0)])
def test_splits_scale_prices_and_volumes(convention: Convention, kind: str, ratio: float, after: float):
    """The same under both conventions; dollar volume stays."""
    done = adjust_bars(bars(100.0, after), actions(action(DAYS[1], kind, ratio=ratio)), convention=convention)

    assert pytest.approx([after, after]) == done["close"].to_list()
    assert pytest.approx([1000.0 * ratio, 1000.0]) == done["volume"].to_list()


@pytest.mark.parametrize(
    ("convention", "expected"),
    [(Convention.PREVIOUS_CLOSE, 100 * (1 - 2 / 100)), (Convention.EX_DATE_CLOSE, 100 * 99 / 101)],
)
def test_a_dividend_by_each_convention(convention: Convention, expected: float):
    """Measured against the close before, or that of the ex-date; volumes stay."""
    done = adjust_bars(bars(100.0, 99.0), actions(action(DAYS[1], "cash_dividend", amount=2.0)), convention=convention)

    assert pytest.approx([expected, 99.0]) == done["close"].to_list()
    assert [1000.0, 1000.0] == done["volume"].to_list()


@pytest.mark.parametrize("convention", BOTH)
def test_an_action_without_a_bar_holds_from_the_next(convention: Convention):
    """Closed days and halts swallow no action."""
    gap = bars(100.0, 50.0, 25.0).filter(pl.col("session") != DAYS[1])

    assert pytest.approx([25.0, 25.0]) == closes(gap, action(DAYS[1], "split", ratio=4.0), convention=convention)


def test_payments_before_and_after_a_split_of_one_bar():
    """A dollar before a 2:1 split is half a dollar a new share; a dollar on its day is a new share's."""
    gap = bars(100.0, 1.0, 1.0, 48.0).filter(pl.col("session").is_in([DAYS[0], DAYS[3]]))
    split = action(DAYS[2], "split", ratio=2.0)
    before = closes(gap, split, action(DAYS[1], "cash_dividend", amount=1.0), convention=Convention.PREVIOUS_CLOSE)
    same_day = closes(gap, split, action(DAYS[2], "cash_dividend", amount=1.0), convention=Convention.PREVIOUS_CLOSE)

    assert pytest.approx(100 / 2 * (1 - 0.5 / 50)) == before[0]
    assert pytest.approx(100 / 2 * (1 - 1 / 50)) == same_day[0]


def test_several_payments_on_one_day_add_up():
    """Regular and special dividend."""
    rows = [action(DAYS[1], "cash_dividend", amount=amount) for amount in (1.0, 4.0)]

    assert pytest.approx([95.0, 95.0]) == closes(bars(100.0, 95.0), *rows, convention=Convention.PREVIOUS_CLOSE)


def test_a_spin_off_is_worth_its_shares():
    """Valued at the first close of the new company where no amount is known."""
    both = pl.concat([bars(100.0, 60.0), bars(79.0, 80.0, symbol="B").filter(pl.col("session") == DAYS[1])])
    spin_off = action(DAYS[1], "spin_off", distributed=0.5, other_symbol="B")
    done = adjust_bars(both, actions(spin_off), convention=Convention.PREVIOUS_CLOSE)

    assert pytest.approx([60.0, 60.0, 80.0]) == done["close"].to_list()


@pytest.mark.parametrize("kind", ["symbol_change", "merger", "redemption", "worthless"])
def test_kinds_that_leave_the_shares_alone_move_no_price(kind: str):
    """Whatever amount they state."""
    rows = actions(action(DAYS[1], kind, amount=3.0))

    assert adjustment_events(bars(100.0, 90.0), rows, convention=Convention.PREVIOUS_CLOSE).is_empty()


def test_actions_outside_the_bars_move_nothing():
    """Before the first bar there is nothing to adjust, after the last it is not time yet."""
    rows = [action(DAYS[0], "split", ratio=2.0), action(DAYS[3], "split", ratio=2.0)]

    assert [100.0, 90.0] == closes(bars(100.0, 90.0), *rows, convention=Convention.PREVIOUS_CLOSE)


def test_a_payment_above_the_price_is_an_error():
    """Named, instead of prices below zero."""
    with pytest.raises(DataQualityError, match=r"A: 120\.0 dollars a share paid at 2024-07-02"):
        closes(bars(100.0, 90.0), action(DAYS[1], "cash_dividend", amount=120.0), convention=Convention.PREVIOUS_CLOSE)


prices = st.lists(st.floats(1, 1000).map(lambda value: round(value, 2)), min_size=2, max_size=6)
events = st.lists(
    st.tuples(
        st.sampled_from(DAYS), st.one_of(st.sampled_from([0.1, 0.5, 2.0, 7.0]), st.floats(0.01, 0.04).map(float))
    ),
    max_size=4,
)


@settings(max_examples=60)
@given(prices, events, st.sampled_from(BOTH))
def test_adjusted_bars_keep_their_shape_and_never_look_ahead(
    values: list[float], moves: list[tuple[date, float]], convention: Convention
):
    """Low and high enclose open and close; anchored at the first bar, a prefix of history gives the same rows."""
    rows = [
        action(day, "cash_dividend", amount=number) if number < 0.05 else action(day, "split", ratio=number)
        for day, number in moves
    ]
    frame = bars(*values)
    done = adjust_bars(frame, actions(*rows), convention=convention, anchor=Anchor.FIRST)

    assert done.filter(
        (pl.col("low") > pl.min_horizontal("open", "close")) | (pl.col("high") < pl.max_horizontal("open", "close"))
    ).is_empty()
    for count in range(1, len(values)):
        known = [row for row in rows if row["ex_date"] <= DAYS[count - 1]]
        prefix = adjust_bars(frame.head(count), actions(*known), convention=convention, anchor=Anchor.FIRST)
        assert_frame_equal(done.head(count), prefix, check_exact=True)
