"""Play many seeds on all cores, or one again: `make simulate SEEDS=100000`, `make simulate SEED=7`."""

import argparse
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import structlog
from simulation.scenario import CASES, FAULTS
from simulation.shrinking import play
from simulation.stage import stage
from simulation.world import World
from support.servers import fresh_database

from trading_pipeline.embedded import embedded_servers, stop_embedded

REPORT_EVERY = 50


def main() -> int:
    """Play the seeds asked for; 0 when all hold, 1 when one does not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one only, with its log")
    asked = parser.parse_args()
    if asked.seed is None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    seeds = range(asked.first, asked.first + asked.seeds) if asked.seed is None else range(asked.seed, asked.seed + 1)
    workers = min(os.cpu_count() or 1, len(seeds))
    results: multiprocessing.Queue = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=_work, args=(seeds[at::workers], results), daemon=True) for at in range(workers)
    ]
    for process in processes:
        process.start()
    return _gather(results, workers, len(seeds))


def _work(seeds: range, results: multiprocessing.Queue) -> None:
    home = Path(tempfile.mkdtemp())
    try:
        with embedded_servers(home) as servers, fresh_database(servers) as database_url:
            world = World()
            with stage(database_url, servers.redis_url, world.boundary, world.time) as on:
                for seed in seeds:
                    before = (world.steps, Counter(world.struck), Counter(world.met))
                    failure = play(world, on, seed)
                    found = None if failure is None else failure.describe()
                    results.put((world.steps - before[0], world.struck - before[1], world.met - before[2], found))
    finally:
        stop_embedded(home)
        results.put(None)


def _gather(results: multiprocessing.Queue, workers: int, seeds: int) -> int:
    played, steps, violations, struck, met, began = 0, 0, 0, Counter(), Counter(), time.monotonic()
    while workers:
        result = results.get()
        if result is None:
            workers -= 1
            continue
        played, steps, struck, met = played + 1, steps + result[0], struck + result[1], met + result[2]
        if result[3] is not None:
            violations += 1
            sys.stdout.write(result[3] + "\n")
        if played % REPORT_EVERY == 0:
            sys.stdout.write(f"{played}/{seeds} seeds, {steps} steps, {violations} violations\n")
            sys.stdout.flush()
    figures = {
        "seeds": played,
        "steps": steps,
        "violations": violations,
        "seconds": round(time.monotonic() - began),
        "faults": {kind: struck[kind] for kind in FAULTS},
        "cases": {case: met[case] for case in CASES},
    }
    for name, times in (figures["faults"] | figures["cases"]).items():
        sys.stdout.write(f"{times:>8}  {name}\n")
    sys.stdout.write(json.dumps(figures) + "\n")
    return 1 if violations or played < seeds else 0


if __name__ == "__main__":
    sys.exit(main())
