"""How much a full-history scan of the lake costs beside one compact Parquet file of the same rows.

    python tests/bench/lake.py [--symbols 500] [--sessions 2520] [--folder DIR]

The lake is written as it is in use: a backfill, then sessions one by one (daily runs) and some old sessions again
(restatements). Best of seven scans each, taken in turns; the last line is JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

sys.path[:0] = [str(Path(__file__).parent)]

from panel import market

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.sessions import xnys

DAILY = 250
RESTATED = 60
TURNS = 7


def best(scans: dict[str, Callable[[], pl.DataFrame]]) -> dict[str, float]:
    """Return the shortest time of each, in seconds."""
    seconds = dict.fromkeys(scans, float("inf"))
    for _ in range(TURNS):
        for name, scan in scans.items():
            begun = time.perf_counter()
            scan()
            seconds[name] = min(seconds[name], time.perf_counter() - begun)
    return seconds


def main() -> None:
    """Write, scan, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2520)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    calendar = xnys().sessions
    sessions = list(calendar[-options.sessions :])
    frame, _ = market(options.symbols, sessions)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        lake, figures = Lake(Path(folder) / "lake"), {}
        begun = time.perf_counter()
        history = sessions[:-DAILY]
        lake.write(Dataset.BARS, frame.filter(pl.col("session") < sessions[-DAILY]), sessions=history)
        figures["backfill_seconds"] = time.perf_counter() - begun
        begun = time.perf_counter()
        for day in sessions[-DAILY:]:
            lake.write(Dataset.BARS, frame.filter(pl.col("session") == day), sessions=[day])
        figures["daily_commit_seconds"] = (time.perf_counter() - begun) / DAILY
        for day in history[:: len(history) // RESTATED]:
            restated = frame.filter(pl.col("session") == day).with_columns(pl.col("volume") + 1)
            lake.write(Dataset.BARS, restated, sessions=[day])
        stored = lake.read(Dataset.BARS, start=sessions[0], end=sessions[-1])
        one = Path(folder) / "one.parquet"
        stored.write_parquet(one, compression="zstd")
        seconds = best(
            {
                "lake": lambda: lake.read(Dataset.BARS, start=sessions[0], end=sessions[-1]),
                "one_file": lambda: pl.read_parquet(one),
            }
        )
        figures |= {
            "rows": stored.height,
            "files": len(lake.catalog(Dataset.BARS).parts),
            "lake_seconds": seconds["lake"],
            "one_file_seconds": seconds["one_file"],
            "ratio": seconds["lake"] / seconds["one_file"],
        }
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
