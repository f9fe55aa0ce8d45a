"""Raw bars, corporate actions and adjusted bars in the lake, as known at different instants."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.store.actions import read_actions, record_actions
from trading_pipeline.adapters.store.adjusted import read_adjusted_bars
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import read_raw_bars, record_raw_bars
from trading_pipeline.core.adjustment import Anchor
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError

DAYS = xnys().between(date(2023, 9, 11), date(2023, 9, 15))
EVENING = datetime(2023, 9, 15, 21, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return an empty lake."""
    return Lake(tmp_path / "lake")


def split(hours: int, ex_date: date, ratio: float) -> pl.DataFrame:
    """Return a split of AAPL as it became known some hours after the evening."""
    row = dict.fromkeys(ACTION_SCHEMA) | {"action_id": "1", "symbol": "AAPL", "ex_date": ex_date, "kind": "split"}
    row |= {"ratio": ratio, "source": "test", "known_at": EVENING + timedelta(hours=hours)}
    return pl.DataFrame([row], schema=ACTION_SCHEMA)


def test_that_evening_can_be_read_again_after_a_restatement(lake: Lake):
    """The same rows, and now others."""
    bars = BundledSample().bars(DAYS, {"AAPL", "META"})
    assert DAYS == record_raw_bars(lake, bars, sessions=DAYS, now=EVENING)
    then = read_raw_bars(lake, start=DAYS[0], end=DAYS[-1])
    restated = bars.with_columns(
        pl.when(pl.col("session") == DAYS[2], pl.col("symbol") == "META").then(1.5).otherwise("close").alias("close")
    )

    assert [DAYS[2]] == record_raw_bars(lake, restated, sessions=DAYS, now=EVENING + timedelta(days=1))
    assert [] == record_raw_bars(lake, restated, sessions=DAYS, now=EVENING + timedelta(days=2))

    assert_frame_equal(bars.sort("session", "symbol"), then)
    assert_frame_equal(then, read_raw_bars(lake, start=DAYS[0], end=DAYS[-1], known_at=EVENING))
    assert 1.5 in read_raw_bars(lake, start=DAYS[0], end=DAYS[-1])["close"]
    assert read_raw_bars(lake, start=DAYS[0], end=DAYS[-1], known_at=EVENING - timedelta(hours=1)).is_empty()


def test_a_correction_of_an_action_is_a_version(lake: Lake):
    """It may move the action to another day; the look-back that reads it again stores nothing."""
    assert read_actions(lake).is_empty()
    assert 1 == record_actions(lake, split(0, DAYS[2], 2.0))
    assert 0 == record_actions(lake, split(1, DAYS[2], 2.0))
    assert 1 == record_actions(lake, split(2, DAYS[3], 4.0))
    assert 0 == record_actions(lake, split(2, DAYS[3], 4.0))

    assert [(DAYS[3], 4.0)] == read_actions(lake).select("ex_date", "ratio").rows()
    assert [(DAYS[2], 2.0)] == read_actions(lake, known_at=EVENING).select("ex_date", "ratio").rows()
    assert read_actions(lake, end=DAYS[2]).is_empty()
    with pytest.raises(DataQualityError, match="two things at the same instant"):
        record_actions(lake, split(2, DAYS[3], 5.0))


def test_bars_are_adjusted_when_read(lake: Lake):
    """What is stored stays; a row is the same in every range, and without actions it is the stored one."""
    bars = BundledSample().bars(DAYS, {"AAPL", "META"}).sort("session", "symbol")
    lake.write(Dataset.BARS, bars, sessions=DAYS)
    assert_frame_equal(bars, read_adjusted_bars(lake, start=DAYS[0], end=DAYS[-1]))
    record_actions(lake, split(0, DAYS[2], 2.0))

    whole = read_adjusted_bars(lake, start=DAYS[0], end=DAYS[-1])
    for at, day in enumerate(DAYS):
        row = read_adjusted_bars(lake, start=day, end=day)
        assert_frame_equal(whole.filter(session=day), row, check_exact=True)
        closes = [frame.filter(session=day, symbol="AAPL")["close"].item() for frame in (bars, whole)]
        assert closes[1] == closes[0] * (2 if at >= 2 else 1)
    last = read_adjusted_bars(lake, start=DAYS[0], end=DAYS[-1], anchor=Anchor.LAST)
    assert_frame_equal(bars.filter(session=DAYS[-1]), last.filter(session=DAYS[-1]))
    assert_frame_equal(bars.filter(symbol="META"), whole.filter(symbol="META"))
