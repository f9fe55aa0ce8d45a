"""What years of bars cost from the source to the lake, in one Dagster run: raw, gate, adjustment.

    python tests/bench/backfill.py [--symbols 250 500 1000 3000] [--sessions 2520] [--references 500]

A market of a seeded generator waits in the lake as imported bars and corporate actions, as `import-bars` leaves them.
For each number of symbols a fresh process materialises `raw_bars`, `corporate_actions`, `bars` and `quarantined_bars`
of all sessions but the last five in one run of Dagster, on a PostgreSQL that the project starts; then five more a
session each; another one reads all bars adjusted. Times and peaks are those of whole processes. `start_seconds` is a
process that loads the definitions, opens the instance and does nothing more, one before each of the single sessions;
of these the medians are told.

References in the same run, for one number of symbols: a plain pandas gate over the same rows in memory, and pyqlib's
own writer (`FileFeatureStorage`) against `export-qlib` of the same bars. The last line is JSON.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import numpy as np
import polars as pl
from panel import market
from support.pipeline import pipeline

from trading_pipeline.adapters.store.actions import record_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import embedded_servers, stop_embedded

LAST = date(2023, 9, 21)
ASSETS = "raw_bars,corporate_actions,bars,quarantined_bars"
ADJUST = """
import sys
from datetime import date
from pathlib import Path
from trading_pipeline.adapters.store.adjusted import read_adjusted_bars
from trading_pipeline.adapters.store.lake import Lake
print(read_adjusted_bars(Lake(Path(sys.argv[1])), start=date.min, end=date.max).height)
"""
ALONE = 5
"""Sessions that have a process of their own."""
START = "import dagster as dg, trading_pipeline.definitions as d; i = dg.DagsterInstance.get(); i.get_runs_count()"


class Cost(NamedTuple):
    """What a process took: wall and processor seconds, and peak memory in GB."""

    seconds: float
    cpu: float
    peak: float


def measured(command: Sequence[str], environment: dict[str, str], log: Path) -> Cost:
    """Run a command in a process of its own."""
    with log.open("w") as out:
        begun = time.perf_counter()
        child = subprocess.Popen(command, env=os.environ | environment, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(log.read_text()[-3000:])
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)


def middle(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(*(statistics.median(figures) for figures in zip(*costs, strict=True)))


def materialise(first: date, last: date) -> list[str]:
    """Return the command that an operator would use."""
    dagster = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "trading_pipeline.definitions"]
    return [*dagster, "--select", ASSETS, "--partition-range", f"{first}...{last}"]


@contextmanager
def delivered(folder: Path, bars: pl.DataFrame, actions: pl.DataFrame, days: Sequence[date]):
    """Give a pipeline whose source holds the market."""
    symbols = tuple(sorted(bars["symbol"].unique()))
    with (
        embedded_servers(folder) as urls,
        pipeline(folder, urls.database_url, urls.redis_url, universe=symbols) as opened,
    ):
        opened.lake.write(Dataset.IMPORTED_BARS, bars, sessions=days)
        record_actions(opened.lake, actions)
        yield opened
    stop_embedded(folder)


def backfill(symbols: int, days: list[date], folder: Path) -> dict[str, float]:
    """Measure one number of symbols."""
    bars, actions = market(symbols, days)
    rows = bars.height
    with delivered(folder, bars, actions, days) as opened:
        del bars
        variables = opened.environment | {
            "PIPELINE_HOME": str(folder),
            "UNIVERSE": ",".join(opened.settings.universe),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }
        whole = measured(materialise(days[0], days[-ALONE - 1]), variables, folder / "backfill.log")
        starts, ones = [], []
        for day in days[-ALONE:]:
            starts.append(measured([sys.executable, "-c", START], variables, folder / "start.log"))
            ones.append(measured(materialise(day, day), variables, folder / "session.log"))
        start, one = middle(starts), middle(ones)
        adjust = [sys.executable, "-c", ADJUST, str(opened.settings.lake_root)]
        adjusting = measured(adjust, variables, folder / "adjust.log")
        kept = opened.lake.read(Dataset.BARS, start=days[0], end=days[-1], columns=["session"]).height
        gone = opened.lake.read(Dataset.QUARANTINED_BARS, start=days[0], end=days[-1], columns=["session"]).height
    figures = {
        "symbols": symbols,
        "rows": rows,
        "start_seconds": start.seconds,
        "backfill_seconds": whole.seconds,
        "adjust_seconds": adjusting.seconds,
        "wall_seconds": whole.seconds + adjusting.seconds,
        "cpu_seconds": whole.cpu + adjusting.cpu,
        "cpu_seconds_per_million_rows": (whole.cpu + adjusting.cpu - start.cpu) / rows * 1e6,
        "peak_gb": max(whole.peak, adjusting.peak),
        "session_seconds": one.seconds,
        "session_beyond_start": one.seconds - start.seconds,
        "session_cpu_beyond_start": one.cpu - start.cpu,
        "bars": kept,
        "quarantined": gone,
    }
    print("  ".join(f"{name} {value:,.2f}" for name, value in figures.items()), flush=True)
    return figures


def pandas_gate(bars: pl.DataFrame) -> dict[str, float]:
    """Judge the rows with plain pandas: prices, OHLC, volume, duplicates, jumps against the last good close."""
    frame = bars.to_pandas()
    begun = time.perf_counter()
    prices = frame[["open", "high", "low", "close"]]
    bad = ~np.isfinite(prices).all(axis=1) | (prices <= 0).any(axis=1)
    bad |= (frame["high"] < prices.max(axis=1)) | (frame["low"] > prices.min(axis=1))
    bad |= ~np.isfinite(frame["volume"]) | (frame["volume"] < 0) | frame.duplicated(["session", "symbol"], keep=False)
    for _, closes in frame[~bad].sort_values(["symbol", "session"]).groupby("symbol")["close"]:
        last = None
        for row, close in closes.items():
            if last is not None and abs(close / last - 1) > 0.5:
                bad[row] = True
            else:
                last = close
    return {"pandas_gate_seconds": time.perf_counter() - begun, "pandas_gate_quarantined": int(bad.sum())}


def our_gate(bars: pl.DataFrame, actions: pl.DataFrame) -> dict[str, float]:
    """Judge the rows with the pipeline's gate."""
    from trading_pipeline.core.quality import judge_bars

    begun = time.perf_counter()
    result = judge_bars(bars, last_good={}, actions=actions)
    return {"gate_seconds": time.perf_counter() - begun, "gate_quarantined": result.quarantined.height}


def exports(bars: pl.DataFrame, actions: pl.DataFrame, days: list[date], folder: Path) -> dict[str, float]:
    """Write the bars for qlib: ours from the lake, first and again, and pyqlib's writer from frames in memory."""
    from trading_pipeline.adapters.store.qlib_export import export_qlib

    lake = Lake(folder / "lake")
    lake.write(Dataset.BARS, bars, sessions=days)
    record_actions(lake, actions)
    seconds = {}
    for name in ("export", "export_again"):
        begun = time.perf_counter()
        export_qlib(lake, folder / "ours")
        seconds[f"{name}_seconds"] = time.perf_counter() - begun
    os.environ["MPLBACKEND"] = "agg"
    import qlib
    from qlib.data.storage.file_storage import FileFeatureStorage

    theirs = folder / "theirs"
    for name in ("calendars", "features", "instruments"):
        shutil.copytree(folder / "ours" / name, theirs / name)
    qlib.init(provider_uri=str(theirs), kernels=1, logging_level=40)
    frame = bars.to_pandas()
    begun = time.perf_counter()
    at = {day: number for number, day in enumerate(sorted(frame["session"].unique()))}
    for symbol, rows in frame.groupby("symbol"):
        ordered = rows.sort_values("session")
        first = at[ordered["session"].iloc[0]]
        (theirs / "features" / symbol.lower()).mkdir(exist_ok=True)
        for field in ("open", "high", "low", "close", "volume", "vwap", "close"):
            storage = FileFeatureStorage(symbol, field, "day")
            storage.uri.unlink(missing_ok=True)
            storage.write(ordered[field].to_numpy(), first)
    return seconds | {"pyqlib_write_seconds": time.perf_counter() - begun}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, nargs="+", default=[250, 500, 1000, 3000])
    parser.add_argument("--sessions", type=int, default=2520)
    parser.add_argument("--references", type=int, default=500, help="symbols of the references; 0: none")
    parser.add_argument("--keep", action="store_true", help="leave the folder for a profile")
    options = parser.parse_args()
    days = [xnys().shift(LAST, -back) for back in range(options.sessions - 1, -1, -1)]
    folder = Path(tempfile.mkdtemp(prefix="backfill-"))
    figures: dict[str, object] = {"cores": os.cpu_count(), "sessions": options.sessions}
    try:
        figures["sizes"] = [backfill(symbols, days, folder / str(symbols)) for symbols in options.symbols]
        if options.references:
            bars, actions = market(options.references, days)
            references = our_gate(bars, actions) | pandas_gate(bars) | exports(bars, actions, days, folder / "qlib")
            references["gate_ratio"] = references["pandas_gate_seconds"] / references["gate_seconds"]
            references["export_ratio"] = references["pyqlib_write_seconds"] / references["export_seconds"]
            figures["references"] = {"symbols": options.references, "rows": bars.height, **references}
    finally:
        if options.keep:
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures, default=float))


if __name__ == "__main__":
    main()
