"""Minute bars into sessions: regular hours, half days, the closing auction, and which end a label names."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shared_data import shared_panel

from trading_pipeline.core.minute_bars import (
    MINUTE_SCHEMA,
    MinuteLabel,
    label_of,
    latest_minutes,
    require_minutes,
    sessions_from_minutes,
)
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError

FULL, HALF, SATURDAY = date(2024, 7, 5), date(2024, 7, 3), date(2024, 7, 6)
START, END = MinuteLabel.START, MinuteLabel.END


def minute(
    symbol: str, stamp: datetime, price: float, *, volume: float = 100, high: float | None = None
) -> dict[str, object]:
    """One minute that trades at one price, or up to `high`."""
    top = price if high is None else high
    return {
        "symbol": symbol,
        "timestamp": stamp,
        "open": price,
        "high": top,
        "low": price,
        "close": price,
        "volume": float(volume),
        "vwap": price,
    }


def frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    """The rows as minute bars."""
    return pl.DataFrame(rows, schema=MINUTE_SCHEMA)


def session_minutes(day: date, *, symbol: str = "AAPL", label: MinuteLabel = START) -> list[dict[str, object]]:
    """A regular session that rises a cent a minute, busiest at its two ends, with quiet extended hours around it."""
    opens, closes = xnys().open_at(day), xnys().close_at(day)
    count = int((closes - opens) / timedelta(minutes=1))
    shift = timedelta(minutes=1) if label is END else timedelta()
    rows = [minute(symbol, opens + timedelta(minutes=at) + shift, 100 + at / 100, volume=200) for at in range(count)]
    rows[0]["volume"] = rows[-1]["volume"] = 9_000.0
    before = [minute(symbol, opens - timedelta(minutes=at) + shift, 90.0, volume=5) for at in (1, 2, 30)]
    after = [minute(symbol, closes + timedelta(minutes=at) + shift, 120.0, volume=5) for at in (3, 4, 60)]
    return before + rows + after


def daily(rows: list[dict[str, object]], *, label: MinuteLabel = START) -> dict[str, object]:
    """The only daily bar of some minutes."""
    bars = sessions_from_minutes(frame(rows), label=label, calendar=xnys(), source="test").bars
    assert 1 == bars.height
    return bars.row(0, named=True)


@pytest.mark.parametrize("label", [START, END])
@pytest.mark.parametrize(("day", "minutes"), [(FULL, 390), (HALF, 210)])
def test_only_the_regular_session_makes_the_daily_bar(day: date, minutes: int, label: MinuteLabel) -> None:
    """Premarket and after-hours prices reach neither price nor volume, and a half day ends early."""
    bar = daily(session_minutes(day, label=label), label=label)
    last = 100 + (minutes - 1) / 100
    assert (100.0, last, 100.0, last) == (bar["open"], bar["high"], bar["low"], bar["close"])
    assert 18_000 + 200 * (minutes - 2) == bar["volume"]
    assert xnys().close_at(day) == bar["ended_at"]


def test_the_print_of_the_closing_auction_counts_in_the_volume() -> None:
    """A first minute after the close that has one price, the last one, is the auction; its shares belong to the day."""
    rows = session_minutes(HALF)
    closes = xnys().close_at(HALF)
    before = daily(rows)
    auction = minute("AAPL", closes, float(str(before["close"])), volume=50_000)
    after = daily([*rows, auction])
    assert 50_000 == float(str(after["volume"])) - float(str(before["volume"]))
    assert before["close"] == after["close"]


@pytest.mark.parametrize(
    ("offset", "price", "high"),
    [(0, 120.0, None), (0, 102.09, 120.0), (2, 102.09, None)],
    ids=["elsewhere", "range", "late"],
)
def test_other_trades_after_the_close_do_not_count(offset: int, price: float, high: float | None) -> None:
    """Another price, a range of prices, or a print that comes too late is after-hours trading."""
    rows = [row for row in session_minutes(HALF) if row["timestamp"] < xnys().close_at(HALF)]
    late = minute("AAPL", xnys().close_at(HALF) + timedelta(minutes=offset), price, high=high)
    assert daily(rows) == daily([*rows, late])


def test_what_is_left_out_is_counted() -> None:
    """Minutes outside regular hours and on closed days are told by kind: none vanishes."""
    saturday = [minute("AAPL", datetime(2024, 7, 6, 14, at, tzinfo=UTC), 100.0) for at in range(4)]
    rows = [*session_minutes(FULL), *saturday]
    made = sessions_from_minutes(frame(rows), label=START, calendar=xnys(), source="test")
    assert {"closed_day": 4, "before_open": 3, "after_close": 3} == made.left_out
    assert len(rows) == 390 + sum(made.left_out.values())


def test_a_symbol_that_traded_only_before_the_open_has_no_bar() -> None:
    """No regular trade, no price of the session."""
    early = [minute("TWX", xnys().open_at(FULL) - timedelta(minutes=5), 70.0)]
    made = sessions_from_minutes(frame(early), label=START, calendar=xnys(), source="test")
    assert (0, 1) == (made.bars.height, made.left_out["before_open"])


def test_the_vwap_is_weighted_by_volume_and_unknown_when_one_minute_is() -> None:
    """Two minutes of 100 and 300 shares; without the price of one there is none of the day."""
    opens = xnys().open_at(FULL)
    rows = [minute("A", opens, 10.0, volume=100), minute("A", opens + timedelta(minutes=1), 20.0, volume=300)]
    assert 17.5 == daily(rows)["vwap"]
    assert daily([rows[0], {**rows[1], "vwap": None}])["vwap"] is None


@given(st.permutations(range(40)))
def test_order_and_symbols_do_not_matter(order: list[int]) -> None:
    """Shuffled minutes of two symbols give the bars of each alone."""
    rows = session_minutes(HALF)[:20] + session_minutes(HALF, symbol="MSFT")[:20]
    together = sessions_from_minutes(frame([rows[at] for at in order]), label=START, calendar=xnys(), source="t").bars
    alone = [
        sessions_from_minutes(
            frame([r for r in rows if r["symbol"] == symbol]), label=START, calendar=xnys(), source="t"
        ).bars
        for symbol in ("AAPL", "MSFT")
    ]
    assert pl.concat(alone).equals(together)


@pytest.mark.parametrize("label", [START, END])
def test_the_label_shows_in_the_busiest_minutes(label: MinuteLabel) -> None:
    """Extended hours on both sides do not mislead, on full and half days."""
    rows = session_minutes(FULL, label=label) + session_minutes(HALF, symbol="MSFT", label=label)
    assert label is label_of(frame(rows), calendar=xnys())


@pytest.mark.parametrize(
    "rows",
    [
        [minute("AAPL", xnys().open_at(FULL) + timedelta(minutes=5), 100.0)],
        session_minutes(FULL, label=START) + session_minutes(HALF, label=END),
    ],
    ids=["no evidence", "evidence for both"],
)
def test_a_label_that_does_not_show_is_asked_for(rows: list[dict[str, object]]) -> None:
    """Nothing is guessed."""
    with pytest.raises(DataQualityError, match="state the label"):
        label_of(frame(rows), calendar=xnys())


def test_the_newest_complete_minute_of_each_symbol_is_its_age() -> None:
    """A minute under way is not known yet, whichever end its label names."""
    opens = xnys().open_at(FULL)
    rows = [minute("A", opens, 1.0), minute("A", opens + timedelta(minutes=1), 2.0), minute("B", opens, 3.0)]
    as_of = opens + timedelta(minutes=1, seconds=30)
    started = latest_minutes(frame(rows), label=START, as_of=as_of)
    assert [("A", opens + timedelta(minutes=1), 1.0), ("B", opens + timedelta(minutes=1), 3.0)] == started.rows()
    ended = latest_minutes(frame(rows), label=END, as_of=as_of)
    assert [("A", opens + timedelta(minutes=1), 2.0), ("B", opens, 3.0)] == ended.rows()


def test_minutes_of_the_future_are_named() -> None:
    """They mean a wrong clock or a wrong label, and neither may pass as fresh."""
    opens = xnys().open_at(FULL)
    with pytest.raises(DataQualityError, match="begin after"):
        latest_minutes(frame([minute("A", opens + timedelta(minutes=3), 1.0)]), label=START, as_of=opens)
    with pytest.raises(ValueError, match="aware"):
        latest_minutes(frame([]), label=START, as_of=datetime(2024, 7, 5, 14))  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop("volume"), "column volume is missing"),
        (lambda rows: rows.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), "column timestamp"),
        (lambda rows: pl.concat([rows, rows]), "2 row"),
        (lambda rows: rows.with_columns(close=pl.lit(None, dtype=pl.Float64)), "with nulls"),
        (lambda rows: rows.with_columns(pl.col("timestamp") + timedelta(seconds=1)), "whole minute"),
    ],
)
def test_what_is_not_minute_bars_is_named(change: object, message: str) -> None:
    """Each kind of wrong input has its own words."""
    rows = frame([minute("A", xnys().open_at(FULL), 1.0)])
    with pytest.raises(DataQualityError, match=message):
        require_minutes(change(rows))


def test_real_minutes_make_the_published_daily_bars() -> None:
    """On real minutes with premarket, an early close and a split: every open and close, and most volumes, exactly."""
    minutes = shared_panel("lean_apache2", "minute_trade")
    published = shared_panel("lean_apache2", "daily_panel_raw").rename({"date": "session"})
    rows = minutes.with_columns(pl.col("volume").cast(pl.Float64), vwap=pl.lit(None, dtype=pl.Float64))
    label = label_of(rows.select(MINUTE_SCHEMA.names()), calendar=xnys())
    made = sessions_from_minutes(rows.select(MINUTE_SCHEMA.names()), label=label, calendar=xnys(), source="minutes")
    both = made.bars.join(published, on=["session", "symbol"], suffix="_published")
    exact = {
        name: both.select(((pl.col(name) - pl.col(f"{name}_published")).abs() < 5e-5).sum()).item()
        for name in ("open", "close", "volume")
    }
    assert START is label
    assert {"open": 34, "close": 34, "volume": 28} == exact


def test_the_other_convention_shows_on_real_minutes() -> None:
    """A vendor that stamps the end of the minute."""
    minutes = shared_panel("minute_eqker_2019", "minute_bars")
    rows = minutes.with_columns(pl.col("volume").cast(pl.Float64), vwap=pl.lit(None, dtype=pl.Float64))
    assert END is label_of(rows.select(MINUTE_SCHEMA.names()), calendar=xnys())
