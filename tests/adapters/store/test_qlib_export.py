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
from trading_pipeline.core.bars import PRICE_COLUMNS
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ConfigError

*DAYS, NEXT = xnys().between(date(2023, 9, 5), date(2023, 9, 21))
SPLIT_DAY = DAYS[6]

READER = """
import json, sys, warnings
warnings.simplefilter("ignore")
import qlib
from qlib.data import D
qlib.init(provider_uri=sys.argv[1], region="us", logging_level=50, kernels=1)
fields = ["$open", "$high", "$low", "$close", "$volume", "$vwap", "$factor"]
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


def split(ratio: float, *, on: date = SPLIT_DAY) -> pl.DataFrame:
    """Return a split of AAPL."""
    row = dict.fromkeys(ACTION_SCHEMA) | {"action_id": "1", "symbol": "AAPL", "ex_date": on, "kind": "split"}
    row |= {"ratio": ratio, "source": "test", "known_at": datetime(2023, 9, 22, tzinfo=UTC)}
    return pl.DataFrame([row], schema=ACTION_SCHEMA)


def read_by_qlib(folder: Path) -> dict[str, list]:
    """Return what pyqlib reads, in a process of its own."""
    command = [sys.executable, "-c", READER, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def trade(lake: Lake, day: date, *symbols: str) -> None:
    """Add a session of bars as traded, those of AAPL for the first time after its split of four for one."""
    bars = BundledSample().bars([day], symbols)
    after = pl.when(pl.col("symbol") == "AAPL").then(4.0).otherwise(1.0)
    prices = [(pl.col(name) / after).alias(name) for name in PRICE_COLUMNS]
    traded = bars.with_columns(*prices, volume=pl.col("volume") * after)
    lake.write(Dataset.BARS, traded.with_columns(vwap=pl.col("close") + 0.01), sessions=[day])


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of an export by their names."""
    real = folder.resolve()
    return {str(path.relative_to(real)): path.read_bytes() for path in real.rglob("*") if path.is_file()}


def test_pyqlib_reads_the_same_values(lake: Lake, tmp_path: Path):
    """Every field to the last bit of its float32; holes, and what is unknown, as NaN; the factor steps at the split."""
    record_actions(lake, split(4.0))
    trade(lake, NEXT, "AAPL", "META")
    export_qlib(lake, tmp_path / "qlib")
    found = read_by_qlib(tmp_path / "qlib")

    assert [str(day) for day in (*DAYS, NEXT)] == found["calendar"]
    read = {(row[0], date.fromisoformat(row[1])): row[2:] for row in found["rows"]}
    adjusted = read_adjusted_bars(lake, start=DAYS[0], end=NEXT)
    traded = lake.read(Dataset.BARS, start=DAYS[0], end=NEXT)["close"]
    expected = {
        (row["symbol"], row["session"]): [row[name] for name in (*PRICE_COLUMNS, "volume", "vwap", "factor")]
        for row in adjusted.with_columns(factor=adjusted["close"] / traded).iter_rows(named=True)
    }
    assert {("AAPL", DAYS[4])} == read.keys() - expected.keys()
    assert np.isnan(read["AAPL", DAYS[4]]).all()
    for key, values in expected.items():
        np.testing.assert_array_equal(np.array(values, dtype=np.float32), np.array(read[key], dtype=np.float32))
    assert [1.0, 4.0] == [read["AAPL", day][6] for day in (DAYS[5], SPLIT_DAY)]


def test_an_export_after_a_session_touches_the_symbols_that_traded(lake: Lake, tmp_path: Path):
    """Their files grow by one value, those of the others are the same files, not only equal ones."""
    folder = tmp_path / "qlib"
    export_qlib(lake, folder)
    before, files = contents(folder), {path.name: path.stat().st_ino for path in (folder / "features/aapl").iterdir()}
    trade(lake, NEXT, "META")
    done = export_qlib(lake, folder)

    # calendar, instruments and the seven fields of META
    assert (9, 7) == (done.written, done.unchanged)
    assert files == {path.name: path.stat().st_ino for path in (folder / "features/aapl").iterdir()}
    for name, content in contents(folder).items():
        grown = 4 if name.startswith("features/meta/") else 0
        if name.startswith("features/"):
            assert (before[name], len(before[name]) + grown) == (content[: len(before[name])], len(content)), name
    assert len(DAYS) + 1 == len((folder / "calendars/day.txt").read_text().splitlines())


def test_right_after_a_split_history_stays_and_the_factor_steps(lake: Lake, tmp_path: Path):
    """On the evening of the ex-date: what was exported before begins what is now, and pyqlib sees no jump."""
    folder = tmp_path / "qlib"
    export_qlib(lake, folder)
    before = contents(folder)
    record_actions(lake, split(4.0, on=NEXT))
    trade(lake, NEXT, "AAPL", "META")
    export_qlib(lake, folder)
    after = contents(folder)
    read = {(row[0], date.fromisoformat(row[1])): row[2:] for row in read_by_qlib(folder)["rows"]}

    assert {True} == {after[name].startswith(before[name]) for name in before if name.startswith("features/")}
    eve, today = read["AAPL", DAYS[-1]], read["AAPL", NEXT]
    assert [1.0, 4.0, 1.0] == [eve[6], today[6], read["META", NEXT][6]]
    traded = lake.read_session(Dataset.BARS, NEXT).filter(symbol="AAPL")["close"].item()
    assert pytest.approx(traded, rel=1e-6) == today[3] / today[6]
    assert abs(today[3] / eve[3] - 1) < 0.05


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
