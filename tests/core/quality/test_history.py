"""A history judged at once: what is known when, and that neither the future nor the split of a range changes it."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.corruptions import KINDS
from support.panels import seeded_panel

from trading_pipeline.core.bars import BAR_SCHEMA
from trading_pipeline.core.quality import judge_bars
from trading_pipeline.core.sessions import xnys

DAYS = xnys().between(date(2017, 1, 3), date(2018, 6, 29))
KEY = ["session", "symbol"]


@pytest.fixture(scope="module")
def clean() -> pl.DataFrame:
    """Return a market of sixty symbols without a defect."""
    return seeded_panel(60, sessions=DAYS, seed=11)


@pytest.fixture(scope="module")
def spoilt(clean: pl.DataFrame) -> pl.DataFrame:
    """Return the same market with defects of the kinds that only other bars show."""
    random, bars = np.random.default_rng(2), clean
    for name in (
        "wrong bar, -25 %",
        "unadjusted split",
        "look-ahead, 30 % of a session, +9",
        "look-ahead, 30 % of a session, +1",
        "bar of the session before, 30 %",
        "stuck series",
        "volume in lots (/100)",
        "when-issued bars",
        "mixed price basis",
    ):
        bars = KINDS[name].spoil(bars, random).bars
    return bars


def test_a_clean_market_has_no_findings(clean: pl.DataFrame) -> None:
    """Earnings jumps of up to forty percent among them: all are kept."""
    assert {} == judge_bars(clean, last_good={}).reasons()


@pytest.mark.parametrize("name", list(KINDS))
def test_every_kind_of_defect_is_found_and_named(clean: pl.DataFrame, name: str) -> None:
    """Nearly all of its rows by a reason that fits, and next to no other row."""
    kind = KINDS[name]
    spoilt = kind.spoil(clean, np.random.default_rng(5))
    found = judge_bars(spoilt.bars, last_good={}).quarantined.select(*KEY, pl.col("reason").str.split(";")).unique()
    named = found.filter(pl.col("reason").list.eval(pl.element().is_in(list(kind.reasons))).list.any())
    bad = spoilt.bad.unique()
    others = found.join(bad, on=KEY, how="anti").join(spoilt.waiting, on=KEY, how="anti")

    least = 0.3 if name == "wrong bar, +8 %" else 0.9
    # Of one bar at two neighbouring sessions nobody can always tell the true one: both wait.
    most = 1.0 if name == "look-ahead, 30 % of a session, +1" else 0.1
    assert least * bad.height <= bad.join(named, on=KEY, how="semi").height
    assert others.height <= most * bad.height


@pytest.mark.parametrize("cut", [120, 175, 240, 241, 300])
def test_the_past_is_judged_without_the_future(spoilt: pl.DataFrame, cut: int) -> None:
    """What a whole history says was known at a close is what the history up to that close says."""
    day = DAYS[cut]
    whole = judge_bars(spoilt, last_good={}).findings
    close = xnys().close_at(day)
    then = whole.filter(
        (pl.col("known_at") <= close) & (pl.col("released_at").is_null() | (pl.col("released_at") > close))
    )
    alone = judge_bars(spoilt, last_good={}, as_of=day).findings.filter(pl.col("released_at").is_null())

    columns = [*KEY, "reason", "known_at"]
    assert_frame_equal(then.select(columns).unique().sort(columns), alone.select(columns).unique().sort(columns))


def test_every_row_comes_out_once(spoilt: pl.DataFrame) -> None:
    """Bars and quarantine are the raw rows, unchanged."""
    result = judge_bars(spoilt, last_good={})

    out = pl.concat([result.bars, result.quarantined.select(BAR_SCHEMA.names())])
    assert_frame_equal(spoilt.sort(BAR_SCHEMA.names()), out.sort(BAR_SCHEMA.names()))


def test_every_symbol_session_has_one_verdict(clean: pl.DataFrame) -> None:
    """Good, quarantined, or missing; a day on which most are missing is a hole of the vendor."""
    hole, gap = DAYS[200], DAYS[100]
    raw = clean.filter(~((pl.col("session") == hole) & (pl.col("symbol") > "S0010")))
    raw = raw.filter(~((pl.col("session") == gap) & (pl.col("symbol") == "S0003")))
    result = judge_bars(raw, last_good={})

    verdicts = result.verdicts(DAYS[-1])
    assert clean.height == verdicts.height == verdicts.select(KEY).n_unique()
    assert {"good": raw.height, "missing": clean.height - raw.height} == dict(
        verdicts["verdict"].value_counts().iter_rows()
    )
    unusable = result.sessions(DAYS[-1]).filter(pl.col("verdict") != "usable")
    assert [(hole, "vendor_hole", 60, 11)] == unusable.select("session", "verdict", "expected", "good").rows()


def test_a_second_vendor_that_disagrees_is_heard(clean: pl.DataFrame) -> None:
    """A close that differs is; another price basis all along is not."""
    second = clean.select(
        *KEY, pl.when(pl.col("symbol") == "S0001").then(pl.col("close") / 3).otherwise("close").alias("close")
    )
    wrong = (pl.col("symbol") == "S0002") & (pl.col("session") == DAYS[200])
    second = second.with_columns(pl.when(wrong).then(pl.col("close") * 1.02).otherwise("close").alias("close"))
    found = judge_bars(clean, last_good={}, second_vendor=second).quarantined

    late = found.filter(pl.col("session") > DAYS[30])
    assert [(DAYS[200], "S0002", "vendor_conflict")] == late.select(*KEY, "reason").rows()
