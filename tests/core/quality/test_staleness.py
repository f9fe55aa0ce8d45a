"""Bars without trades and series that are stuck, each rule by itself."""

from datetime import date

import polars as pl
import pytest
from support.panels import seeded_panel

from trading_pipeline.core.quality import judge_bars
from trading_pipeline.core.sessions import xnys

DAYS = xnys().between(date(2021, 1, 4), date(2021, 12, 31))
NAME, AT = "S0004", 120
CLEAN = seeded_panel(12, sessions=DAYS, seed=4)


def with_volume(volume: float, first: int, count: int) -> pl.DataFrame:
    """Return the market with one symbol's volume the same for some sessions; its prices go on as they were."""
    inside = (pl.col("symbol") == NAME) & pl.col("session").is_between(DAYS[first], DAYS[first + count - 1])
    return CLEAN.with_columns(pl.when(inside).then(volume).otherwise("volume").alias("volume"))


def findings(raw: pl.DataFrame, as_of: int = len(DAYS) - 1) -> list[tuple[date, str, str]]:
    """Return session, reason and detail of all that was found by a session's close."""
    found = judge_bars(raw, last_good={}, as_of=DAYS[as_of]).findings
    assert {NAME} >= set(found["symbol"])
    return found.sort("session").select("session", "reason", "detail").rows()


@pytest.mark.parametrize("count", [1, 4])
def test_prices_that_move_without_a_trade_are_no_bars(count: int) -> None:
    """Fewer than an index has in a row: each is kept out by itself, the first at its own close, and none around it."""
    raw = with_volume(0.0, AT, count)
    close = raw.filter(pl.col("symbol") == NAME, pl.col("session") == DAYS[AT])["close"][0]

    found = findings(raw)
    assert [(day, "no_trades") for day in DAYS[AT : AT + count]] == [row[:2] for row in found]
    assert f"no volume, yet close {close:g}" == found[0][2]
    assert found[:1] == findings(raw, as_of=AT)


def test_a_run_without_a_trade_is_an_index_from_its_fifth_bar_on() -> None:
    """Until then it may be a symbol nobody dealt in."""
    reasons = [reason for _, reason, _ in findings(with_volume(0.0, AT, 8))]
    assert ["no_trades"] * 4 + ["not_an_equity"] * 4 == reasons


def test_a_volume_that_stands_still_while_prices_move_is_stuck() -> None:
    """From its third bar in a row all but the first are kept out: that one may have been true."""
    raw = with_volume(1_234_567.0, AT, 5)

    found = findings(raw)
    assert [(day, "stuck") for day in DAYS[AT + 1 : AT + 5]] == [row[:2] for row in found]
    assert [f"bar {at} in a row with the same volume" for at in (2, 3, 4, 5)] == [row[2] for row in found]
    assert [] == findings(raw, as_of=AT + 1)
    assert found[:2] == findings(raw, as_of=AT + 2)


@pytest.mark.parametrize(("volume", "count"), [(1_234_567.0, 2), (99_999.0, 5)])
def test_two_equal_volumes_or_small_ones_are_chance(volume: float, count: int) -> None:
    """Round lots repeat."""
    assert "stuck" not in [reason for _, reason, _ in findings(with_volume(volume, AT, count))]
