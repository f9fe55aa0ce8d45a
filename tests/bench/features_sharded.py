"""How `features_celery` scales from one worker to two, against the same shards computed in one process.

`python tests/bench/features_sharded.py [--symbols 400] [--sessions 756] [--shards 8]`

Real workers on a real Redis and PostgreSQL that the project starts itself; every process computes on one thread, so
that a worker is a core. The stored content is compared with that of one process. The last line is one JSON object:
`speedup` is the time of the mapped steps with one worker over that with two (first start to last end), both warm.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

THREADS = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
os.environ.update(THREADS)
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import numpy as np
import polars as pl
from support.pipeline import pipeline
from support.workers import celery_variables, celery_workers

from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.core.features import alpha158, compile_features
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import embedded_servers, stop_embedded
from trading_pipeline.services.features import feature_store

LAST = date(2023, 9, 21)


def bars_of(symbols: int, days: list[date]) -> pl.DataFrame:
    """Return seeded random walks in the bar format."""
    rng = np.random.default_rng(1)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (len(days), symbols)), axis=0))
    opened = close * np.exp(rng.normal(0, 0.01, close.shape))
    names = [f"S{number:04d}" for number in range(symbols)]
    frame = pl.DataFrame({"session": days}).join(pl.DataFrame({"symbol": names}), how="cross")
    return frame.with_columns(
        open=opened.ravel(),
        high=(np.maximum(opened, close) * 1.01).ravel(),
        low=(np.minimum(opened, close) * 0.99).ravel(),
        close=close.ravel(),
        volume=np.round(np.exp(rng.normal(12, 1, close.size))),
        vwap=((opened + close) / 2).ravel(),
        ended_at=pl.Series([xnys().close_at(day) for day in days], dtype=pl.Datetime("us", "UTC"))
        .repeat_by(symbols)
        .explode(),
        source=pl.lit("bench"),
    )


def content(opened, sessions: list[date]) -> pl.DataFrame:
    """Return what is stored of a range."""
    return opened.lake.read(Dataset.FEATURES, start=sessions[0], end=sessions[-1])


def forget(opened, sessions: list[date]) -> None:
    """Leave nothing to reuse."""
    for dataset in (Dataset.FEATURE_INPUTS, Dataset.FEATURES):
        empty = opened.lake.read(dataset, start=sessions[0], end=sessions[0]).clear()
        opened.lake.write(dataset, empty, sessions=sessions)


def mapped_seconds(opened, environment: dict[str, str], folder: Path, config: dict[str, object]) -> float:
    """Run the job in a process of its own; return the time from the first start to the last end of a shard."""
    (folder / "config.json").write_text(json.dumps({"ops": {"plan_shards": {"config": config}}}))
    before = set(opened.instance.get_run_ids())
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "trading_pipeline.definitions"]
    arguments = ["-j", "features_celery", "-c", str(folder / "config.json")]
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    (run_id,) = set(opened.instance.get_run_ids()) - before
    steps = [one for one in opened.instance.get_run_step_stats(run_id) if one.step_key.startswith("shard_features")]
    return max(one.end_time for one in steps) - min(one.start_time for one in steps)


@contextmanager
def loaded(folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[object, list[date]]]:
    """Give a pipeline whose lake holds the bars."""
    days = [xnys().shift(LAST, -back) for back in range(arguments.sessions + 59, -1, -1)]
    bars = bars_of(arguments.symbols, days)
    universe = tuple(sorted(bars["symbol"].unique()))
    with (
        embedded_servers(folder) as urls,
        pipeline(folder, urls.database_url, urls.redis_url, universe=universe) as opened,
    ):
        opened.lake.write(Dataset.BARS, bars, sessions=days)
        yield opened, days[60:]
    stop_embedded(folder)


def main() -> None:
    """Measure one process, one worker and two, and compare what they stored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=400)
    parser.add_argument("--sessions", type=int, default=756)
    parser.add_argument("--shards", type=int, default=8)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="features-sharded-"))
    figures: dict[str, object] = {**vars(arguments), "cores": os.cpu_count()}
    try:
        with loaded(folder, arguments) as (opened, sessions):
            keys = opened.lake.read(Dataset.BARS, start=sessions[0], end=sessions[-1], columns=["session", "symbol"])
            store = feature_store(opened.lake, compile_features(alpha158()))
            store.update(sessions, keys.with_columns(pl.lit("fresh").alias("state")))
            expected = content(opened, sessions)
            config = {"start": sessions[0].isoformat(), "end": LAST.isoformat(), "shards": arguments.shards}
            variables = opened.environment | celery_variables(opened.environment["REDIS_URL"]) | THREADS
            variables |= {"UNIVERSE": ",".join(opened.settings.universe)}
            for workers in (1, 2):
                names = [f"worker{number}" for number in range(workers)]
                with celery_workers(names, variables, folder):
                    seconds = []
                    for _ in range(2):  # the first one loads the pipeline into the workers
                        forget(opened, sessions)
                        seconds.append(mapped_seconds(opened, os.environ | variables, folder, config))
                figures[f"seconds_{workers}"] = round(seconds[-1], 2)
                figures[f"same_content_{workers}"] = expected.equals(content(opened, sessions))
                print(f"{workers} worker(s): {seconds[-1]:.2f} s for {arguments.shards} shards")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures["speedup"] = round(float(str(figures["seconds_1"])) / float(str(figures["seconds_2"])), 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
