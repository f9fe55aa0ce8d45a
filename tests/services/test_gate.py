"""The gate over the lake: sessions judged one by one, in ranges, and again when later bars say otherwise."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.corruptions import KINDS
from support.panels import seeded_panel
from support.pipeline import ACTION

from trading_pipeline.adapters.market_data.importing import import_bars
from trading_pipeline.adapters.store.actions import record_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.core.bars import PRICE_COLUMNS
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.core.quality import GateConfig
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.acceptances import accept_bars
from trading_pipeline.services.gate import judge_sessions

DAYS = xnys().between(date(2017, 1, 3), date(2018, 3, 29))
CONFIG = GateConfig()
FILED = (Dataset.BARS, Dataset.QUARANTINED_BARS, Dataset.VERDICTS, Dataset.SESSION_VERDICTS)
NOW = xnys().close_at(DAYS[-1])


MISFILED = KINDS["look-ahead, 30 % of a session, +9"].spoil(
    seeded_panel(30, sessions=DAYS, seed=21), np.random.default_rng(9)
)
MISFILED_AT = DAYS.index(MISFILED.bad["session"][0])


@pytest.fixture(scope="module")
def raw() -> pl.DataFrame:
    """Return raw bars with a session of later bars, and splits nobody knows of."""
    return KINDS["unadjusted split"].spoil(MISFILED.bars, np.random.default_rng(9)).bars


def arrived(lake: Lake, raw: pl.DataFrame) -> None:
    """Store raw bars, known since the close of the newest."""
    sessions = raw["session"].unique().sort().to_list()
    record_raw_bars(lake, raw, sessions=sessions, now=xnys().close_at(sessions[-1]))


@pytest.fixture
def lake(tmp_path: Path, raw: pl.DataFrame) -> Lake:
    """Return a lake that holds all of them."""
    lake = Lake(tmp_path / "lake")
    arrived(lake, raw)
    return lake


def filed(lake: Lake, first: date = DAYS[0], last: date = DAYS[-1]) -> list[pl.DataFrame]:
    """Return what the gate has written."""
    return [lake.read(dataset, start=first, end=last) for dataset in FILED]


def test_a_range_may_be_split_anywhere(lake: Lake) -> None:
    """Halves, and single sessions again, give what the whole gives, with the bars around them."""
    judge_sessions(lake, DAYS, CONFIG)
    whole = filed(lake)
    for part in (DAYS[:150], DAYS[150:], [DAYS[149]], [DAYS[200]]):
        judge_sessions(lake, part, CONFIG)
        for expected, actual in zip(whole, filed(lake), strict=True):
            assert_frame_equal(expected, actual)


def test_evening_after_evening_ends_where_the_whole_history_does(tmp_path: Path, raw: pl.DataFrame) -> None:
    """Each session is judged when it arrives; what later ones show is filed for the sessions before."""
    nightly, whole = Lake(tmp_path / "nightly"), Lake(tmp_path / "whole")
    begin, evenings = MISFILED_AT - 2, 14
    arrived(nightly, raw.filter(pl.col("session") < DAYS[begin]))
    judge_sessions(nightly, DAYS[:begin], CONFIG)
    again: set[date] = set()
    for at in range(begin, begin + evenings):
        arrived(nightly, raw.filter(pl.col("session") == DAYS[at]))
        again |= set(judge_sessions(nightly, [DAYS[at]], CONFIG).rejudged)
    last = DAYS[begin + evenings - 1]
    arrived(whole, raw.filter(pl.col("session") <= last))
    judge_sessions(whole, DAYS[: begin + evenings], CONFIG)

    for expected, actual in zip(filed(whole, last=last), filed(nightly, last=last), strict=True):
        assert_frame_equal(expected, actual)
    assert DAYS[MISFILED_AT] in again


def test_nothing_is_dropped(lake: Lake, raw: pl.DataFrame) -> None:
    """Raw rows are bars and quarantined rows, and each symbol-session has one verdict."""
    judged = judge_sessions(lake, DAYS, CONFIG)
    bars, quarantined, verdicts, sessions = filed(lake)
    assert raw.height == judged.raw_rows == bars.height + quarantined.height
    assert raw.height == verdicts.height == verdicts.select("session", "symbol").n_unique()
    assert len(DAYS) == sessions.height


def test_an_acceptance_and_a_late_action_release_what_they_explain(lake: Lake) -> None:
    """When the sessions are judged again, whoever was wrong."""
    judge_sessions(lake, DAYS, CONFIG)
    waiting = lake.read(Dataset.QUARANTINED_BARS, start=DAYS[0], end=DAYS[-1])
    splits = waiting.filter(pl.col("reason") == "unadjusted_split").sort("symbol")
    one, two = splits.head(2).iter_rows(named=True)
    before = lake.read_session(Dataset.RAW_BARS, xnys().previous(two["session"]))
    ratio = round(before.filter(pl.col("symbol") == two["symbol"])["close"][0] / two["close"])
    at = one["session"]
    audited: list[str] = []
    rows = accept_bars(lake, one["symbol"], at, at, action=ACTION, now=NOW, audit=lambda verb, _: audited.append(verb))
    assert (["accept_bars"], [True]) == (audited, [row["accepted"] for row in rows])
    action = dict.fromkeys(ACTION_SCHEMA.names()) | {name: two[name] for name in ("symbol",)}
    action |= {"action_id": "late", "ex_date": two["session"], "kind": "split", "ratio": float(ratio), "source": "test"}
    late = [action | {"known_at": xnys().close_at(DAYS[-1])}]
    record_actions(lake, pl.DataFrame(late, schema=ACTION_SCHEMA))

    judge_sessions(lake, DAYS, CONFIG)
    still = lake.read(Dataset.QUARANTINED_BARS, start=DAYS[0], end=DAYS[-1])
    assert not {one["symbol"], two["symbol"]} & set(
        still.filter(pl.col("reason") == "awaiting_explanation")["symbol"].unique()
    )
    assert waiting.height > still.height


def test_the_last_close_of_a_company_that_left_the_symbol_is_no_reference(tmp_path: Path) -> None:
    """Its bars lie too far back to be read again: of the penny stock that took the symbol none would ever pass."""
    lake, last, first, at = Lake(tmp_path / "lake"), 150, 165, 300
    market = seeded_panel(10, sessions=DAYS, seed=3)
    own = pl.col("symbol") == "S0002"
    penny = [
        pl.when(own & (pl.col("session") >= DAYS[first])).then(pl.col(name) / 100).otherwise(name).alias(name)
        for name in PRICE_COLUMNS
    ]
    between = own & pl.col("session").is_between(DAYS[last + 1], DAYS[first - 1])
    arrived(lake, market.filter(~between).with_columns(penny))
    judge_sessions(lake, DAYS[: last + 1], CONFIG)
    assert last < at - 2 * CONFIG.reach < first
    assert ["awaiting_explanation"] == judge_sessions(lake, [DAYS[at]], CONFIG).quarantined["reason"].to_list()

    row = dict.fromkeys(ACTION_SCHEMA) | {"action_id": "1", "symbol": "S0002", "ex_date": DAYS[last + 5]}
    row |= {"kind": "worthless", "source": "test", "known_at": NOW}
    record_actions(lake, pl.DataFrame([row], schema=ACTION_SCHEMA))
    assert [] == judge_sessions(lake, [DAYS[at]], CONFIG).quarantined["reason"].to_list()


def test_a_second_vendor_is_asked_only_where_it_is_named(lake: Lake, raw: pl.DataFrame, tmp_path: Path) -> None:
    """Its imported bars are compared and never traded on; those of another vendor say nothing."""
    day = DAYS[150]
    bars = raw.filter(pl.col("session") == day).drop("ended_at", "source", "vwap")
    wrong = pl.when(pl.col("symbol") == "S0001").then(pl.col("close") * 1.02).otherwise("close")
    file = tmp_path / "second.parquet"
    bars.with_columns(close=wrong).with_columns(high=pl.max_horizontal("high", "close")).write_parquet(file)
    import_bars(file, lake, calendar=xnys(), now=NOW, reference="Second")

    assert [] == lake.sessions(Dataset.IMPORTED_BARS)
    for vendor, expected in (("second", {"S0001"}), ("third", set()), ("", set())):
        judged = judge_sessions(lake, [day], CONFIG, second_vendor=vendor)
        conflicts = judged.quarantined.filter(pl.col("reason").str.contains("vendor_conflict"))
        assert expected == set(conflicts["symbol"])
