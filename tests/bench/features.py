"""Alpha158 by pyqlib's own handler and by ours, on the same bars in one run, each in processes of its own.

`python tests/bench/features.py` compares 500 symbols over ten years, three times with two of pyqlib's kernels, and once
with one kernel; `--quick` takes a small panel. `--scaling` measures ours alone: rows, a single new session, memory, the
share of the memory bandwidth, and what is expensive. `--parity` prints the parity table. The last line is JSON.

"compute" is from bars in memory to features in memory. "process" and "peak" are of a whole process from files to a
Parquet file, without compression on both sides: pyqlib's is the one measured for "compute" too, ours is another one,
`stream`, which writes some symbols while it computes the next.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from panel import FIELDS, calendar, synthetic_bars

from trading_pipeline.core.features import FeatureSet, alpha158, alpha360, compile_features

SETS: dict[str, Callable[[], FeatureSet]] = {"alpha158": alpha158, "alpha360": alpha360}
_MEMORY = Path("/dev/shm")  # noqa: S108  files without a disk: how fast it is today is nobody's merit
NOISE = 1e-6
"""Absolute differences that what is left of pyqlib's running sums may make."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2520)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kernels", default="2,1", help="pyqlib's processes; all but the first are run once")
    parser.add_argument("--set", choices=SETS, default="alpha158")
    parser.add_argument("--quick", action="store_true", help="20 symbols over two years")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--parity", action="store_true")
    parser.add_argument("--side", choices=["memory", "files", "pyqlib"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.quick:
        asked.symbols, asked.sessions = 20, 504
    if asked.side == "memory":
        _memory_side(asked.folder, asked.set)
    elif asked.side == "files":
        _files_side(asked.folder, asked.set)
    elif asked.side == "pyqlib":
        _pyqlib_side(asked.folder, int(asked.kernels), asked.set)
    elif asked.parity:
        from parity import parity

        print(json.dumps(parity()))
    elif asked.scaling:
        from scaling import scaling

        print(json.dumps(scaling(quick=asked.quick)))
    else:
        with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            print(json.dumps(_compare(Path(folder), asked)))


def _compare(folder: Path, asked: argparse.Namespace) -> dict[str, float | int | str]:
    bars = synthetic_bars(asked.symbols, asked.sessions)
    bars.write_parquet(folder / "bars.parquet")
    _store(folder / "store", bars, asked.sessions)
    kernels = [int(number) for number in asked.kernels.split(",")]
    runs: dict[str, list[dict[str, float]]] = {}
    _run(folder, "memory", 0, asked.set)  # compiles the kernels where no process has yet
    for repeat in range(asked.repeats):
        for number in kernels if repeat == 0 else kernels[:1]:
            runs.setdefault(f"pyqlib k{number}", []).append(_run(folder, "pyqlib", number, asked.set))
            memory, files = (_run(folder, side, 0, asked.set) for side in ("memory", "files"))
            runs.setdefault("ours", []).append(memory | {key: files[key] for key in ("process", "megabytes")})
    worst = max(_assert_parity(folder, asked.set, ours) for ours in ("memory", "files"))
    answer: dict[str, float | int | str] = {"set": asked.set, "symbols": asked.symbols, "sessions": asked.sessions}
    answer |= {"rows": bars.height, "repeats": asked.repeats, "worst_difference": worst}
    print(f"{'':<12}{'compute s':>12}{'CPU s':>12}{'process s':>12}{'peak MB':>10}   medians of {asked.repeats}")
    for name, results in runs.items():
        middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
        columns = f"{middle['compute']:>12.2f}{middle['processor']:>12.2f}{middle['process']:>12.2f}"
        print(f"{name:<12}{columns}{middle['megabytes']:>10.0f}")
        answer |= {f"{name.replace(' ', '_')}_{key}": round(value, 3) for key, value in middle.items()}
    answer["cells_per_second"] = round(bars.height * len(SETS[asked.set]().names) / float(answer["ours_compute"]))
    for number in kernels:
        for key, label in _RATIOS.items():
            ratio = float(answer[f"pyqlib_k{number}_{key}"]) / float(answer[f"ours_{key}"])
            answer[f"{label}_vs_qlib_k{number}"] = round(ratio, 2)
    return answer


_RATIOS = {
    "compute": "speedup",
    "process": "process_speedup",
    "processor": "processor_speedup",
    "megabytes": "memory_ratio",
}


def _run(folder: Path, side: str, kernels: int, name: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--folder", folder, "--kernels", str(kernels), "--set", name]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    wall = time.perf_counter() - start
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{side:<8}{f'k{kernels}' * bool(kernels):<4} compute {answer['compute']:8.2f} s, process {wall:8.2f} s",
        flush=True,
    )
    return answer | {"process": wall}


def _memory_side(folder: Path, name: str) -> None:
    compiled = compile_features(SETS[name]())
    bars = pl.read_parquet(folder / "bars.parquet")
    days = sorted(bars["session"].unique())
    compiled.compute(bars.head(9), calendar=days, sessions=days)  # loads the kernels; the other process includes it
    start, worked = time.perf_counter(), _processor_seconds()
    features = compiled.compute(bars, calendar=days, sessions=days)
    seconds, worked = time.perf_counter() - start, _processor_seconds() - worked
    features.write_parquet(folder / "memory.parquet", compression="uncompressed")
    _report(seconds, worked)


def _files_side(folder: Path, name: str) -> None:
    start, worked = time.perf_counter(), _processor_seconds()
    compiled = compile_features(SETS[name]())
    bars = pl.read_parquet(folder / "bars.parquet")
    days = sorted(bars["session"].unique())
    # What is missing is NaN, as in pyqlib's frames: columns that cannot be null are encoded in half the time.
    kinds = [pa.field(feature, pa.float32(), nullable=False) for feature in compiled.feature_set.names]
    schema = pa.schema([pa.field("session", pa.date32()), pa.field("symbol", pa.large_string()), *kinds])
    keys = ["session", "symbol"]
    with (
        pq.ParquetWriter(
            folder / "files.parquet",
            schema,
            compression="none",
            use_dictionary=keys,
            write_statistics=keys,
            write_batch_size=65_536,  # values that one call encodes: a tenth faster than the 1,024 of pyarrow
        ) as writer,
        ThreadPoolExecutor(1) as background,
    ):
        written: Future[None] | None = None
        for frame in compiled.stream(bars, calendar=days, sessions=days, nulls=False):
            if written is not None:
                written.result()
            written = background.submit(writer.write_table, frame.to_arrow().cast(schema))
        if written is not None:
            written.result()
    _report(time.perf_counter() - start, _processor_seconds() - worked)


def _pyqlib_side(folder: Path, kernels: int, name: str) -> None:
    import qlib
    from qlib.contrib.data.handler import Alpha158, Alpha360

    qlib.init(
        provider_uri=str(folder / "store"), kernels=kernels, expression_cache=None, dataset_cache=None, logging_level=40
    )
    handler_of = Alpha158 if name == "alpha158" else Alpha360
    span = (folder / "store" / "calendars" / "day.txt").read_text(encoding="utf-8").split()
    start, worked = time.perf_counter(), _processor_seconds()
    handler = handler_of(
        instruments="all", start_time=span[0], end_time=span[-1], infer_processors=[], learn_processors=[]
    )
    features = handler.fetch(col_set="feature")
    seconds, worked = time.perf_counter() - start, _processor_seconds() - worked
    features.to_parquet(folder / "pyqlib.parquet", compression=None)
    _report(seconds, worked)


def _processor_seconds() -> float:
    """Time on processors so far, of this process and its ended children: other work on the machine disturbs it less."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _report(seconds: float, worked: float) -> None:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kilobytes = max(kilobytes, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    print(json.dumps({"compute": seconds, "processor": worked, "megabytes": kilobytes / 1024}))


def _store(folder: Path, bars: pl.DataFrame, sessions: int) -> None:
    """Write the bars in pyqlib's own format."""
    days = calendar(sessions)
    place = pl.DataFrame({"session": days, "place": range(len(days))}, schema_overrides={"session": pl.Date})
    (folder / "calendars").mkdir(parents=True)
    (folder / "instruments").mkdir()
    (folder / "calendars" / "day.txt").write_text("\n".join(map(str, days)), encoding="utf-8")
    lines = []
    for (symbol,), rows in bars.join(place, on="session").sort("place").group_by("symbol", maintain_order=True):
        target = folder / "features" / str(symbol).lower()
        target.mkdir(parents=True)
        places = rows["place"].to_numpy()
        for field in FIELDS:
            values = np.full(places[-1] - places[0] + 2, np.nan, dtype="<f4")
            values[0] = places[0]
            values[places - places[0] + 1] = rows[field].to_numpy()
            values.tofile(target / f"{field}.day.bin")
        lines.append(f"{symbol}\t{days[places[0]]}\t{days[places[-1]]}")
    (folder / "instruments" / "all.txt").write_text("\n".join(lines), encoding="utf-8")


def _assert_parity(folder: Path, name: str, side: str) -> float:
    """Return the worst relative difference where the answer is not next to nothing; raise where any is too large."""
    keys = ["datetime", "instrument"]
    places = pl.scan_parquet(folder / "pyqlib.parquet").select(pl.col(keys[0]).cast(pl.Date), keys[1]).collect()
    ours = pl.scan_parquet(folder / f"{side}.parquet")
    theirs = pl.scan_parquet(folder / "pyqlib.parquet")
    kept = places.with_row_index("at").join(
        ours.select("session", "symbol").collect().with_row_index("row"),
        left_on=keys,
        right_on=["session", "symbol"],
    )
    assert kept.height == ours.select(pl.len()).collect().item()
    worst = 0.0
    for feature in SETS[name]().names:
        left = theirs.select(pl.nth(_column(theirs, feature))).collect().to_series().to_numpy()[kept["at"].to_numpy()]
        right = ours.select(feature).collect().to_series().cast(pl.Float64).fill_null(np.nan).to_numpy()
        right = right[kept["row"].to_numpy()]
        left = left.astype(np.float64)
        assert (np.isnan(left) == np.isnan(right)).all(), feature
        assert np.allclose(right, left, rtol=1e-5, atol=NOISE, equal_nan=True), feature
        large = np.abs(left) > NOISE * 1e3
        worst = max(worst, float(np.max(np.abs(right[large] / left[large] - 1), initial=0.0)))
    return worst


def _column(frame: pl.LazyFrame, feature: str) -> int:
    names = frame.collect_schema().names()
    return next(at for at, name in enumerate(names) if name in {feature, f"('feature', '{feature}')"})


if __name__ == "__main__":
    main()
