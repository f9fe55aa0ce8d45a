"""The qlib export, read back by pyqlib itself."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.store.actions import record_actions
from trading_pipeline.adapters.store.adjusted import read_adjusted_bars
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.qlib_export import export_qlib
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ConfigError

DAYS = xnys().between(date(2023, 9, 5), date(2023, 9, 21))
SPLIT_DAY = DAYS[6]

READER = """
import json, sys, warnings
warnings.simplefilter("ignore")
import qlib
from qlib.data import D
qlib.init(provider_uri=sys.argv[1], region="us", logging_level=50, kernels=1)
fields = ["$open", "$high", "$low", "$close", "$volume", "$factor"]
frame = D.features(D.instruments("all"), fields, freq="day").reset_index()
rows = [[r[0], str(r[1].date()), *map(float, r[2:])] for r in frame.itertuples(index=False)]
print(json.dumps({"rows": rows, "calendar": [str(d.date()) for d in D.calendar(freq="day")]}))
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake whose AAPL has a hole in the middle and whose META begins late."""
    lake = Lake(tmp_path / "lake")
    bars = BundledSample().bars(DAYS, {"AAPL", "META"})
    hole = (pl.col("symbol") == "AAPL") & (pl.col("session") == DAYS[4])
    late = (pl.col("symbol") == "META") & (pl.col("session") < DAYS[2])
    lake.write(Dataset.BARS, bars.filter(~hole, ~late), sessions=DAYS)
    return lake


def split(ratio: float) -> pl.DataFrame:
    """Return a split of AAPL."""
    row = dict.fromkeys(ACTION_SCHEMA) | {"action_id": "1", "symbol": "AAPL", "ex_date": SPLIT_DAY, "kind": "split"}
    row |= {"ratio": ratio, "source": "test", "known_at": datetime(2023, 9, 22, tzinfo=UTC)}
    return pl.DataFrame([row], schema=ACTION_SCHEMA)


def read_by_qlib(folder: Path) -> dict[str, list]:
    """Return what pyqlib reads, in a process of its own."""
    command = [sys.executable, "-c", READER, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def test_pyqlib_reads_the_same_values(lake: Lake, tmp_path: Path):
    """To the float32, holes as NaN, right after a split; `$close/$factor` is what was traded."""
    record_actions(lake, split(4.0))
    export_qlib(lake, tmp_path / "qlib")
    found = read_by_qlib(tmp_path / "qlib")

    assert [str(day) for day in DAYS] == found["calendar"]
    expected = read_adjusted_bars(lake, start=DAYS[0], end=DAYS[-1])
    read = {(row[0], date.fromisoformat(row[1])): row[2:] for row in found["rows"]}
    for row in expected.iter_rows(named=True):
        values = [np.float32(row[name]) for name in ("open", "high", "low", "close", "volume")]
        assert values == [np.float32(value) for value in read[row["symbol"], row["session"]][:5]]
    present = {(row["symbol"], row["session"]) for row in expected.iter_rows(named=True)}
    assert {("AAPL", DAYS[4])} == {key for key, values in read.items() if np.isnan(values[3])}
    assert present == {key for key, values in read.items() if not np.isnan(values[3])}
    traded = lake.read_session(Dataset.BARS, SPLIT_DAY).filter(symbol="AAPL")["close"].item()
    assert pytest.approx(traded, rel=1e-6) == read["AAPL", SPLIT_DAY][3] / read["AAPL", SPLIT_DAY][5]
    assert 4.0 == read["AAPL", SPLIT_DAY][5]


def test_an_export_again_writes_what_has_changed(lake: Lake, tmp_path: Path):
    """Nothing the second time; after a late action, the files of its symbol; nothing is left over."""
    folder = tmp_path / "out" / "qlib"
    first = export_qlib(lake, folder)
    again = export_qlib(lake, folder)
    record_actions(lake, split(4.0))
    after = export_qlib(lake, folder)

    assert (16, 0) == (first.written, first.unchanged)
    assert (0, 16) == (again.written, again.unchanged)
    # open, high, low, close, volume and factor of one symbol; its vwap is unknown before and after.
    assert (6, 10) == (after.written, after.unchanged)
    assert 2 == len(list(folder.parent.iterdir()))
    assert (folder / "calendars" / "day.txt").read_text().startswith("2023-09-05\n")


def test_a_folder_of_something_else_is_left_alone(lake: Lake, tmp_path: Path):
    """An export replaces only exports, and one that fails leaves nothing."""
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="is no export"):
        export_qlib(lake, tmp_path / "mine")

    assert [] == list((tmp_path / "mine").iterdir())
