"""Ten sessions as a program (`make paper-run`): writes what became of every session, as Markdown."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import structlog

from support.paper.run import COLUMNS, paper_run
from support.servers import fresh_database
from trading_pipeline.embedded import ServerUrls, embedded_servers, stop_embedded


def main() -> None:
    """Trade them on servers of our own, and leave nothing behind but the table."""
    asked = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "servers"
        try:
            with embedded_servers(home) as urls:
                _trade(Path(folder), urls, seed=asked.seed, sessions=asked.sessions, killing=asked.kill)
        finally:
            stop_embedded(home)


def _trade(folder: Path, urls: ServerUrls, *, seed: int, sessions: int, killing: bool) -> None:
    _write(COLUMNS)
    _write("---" for _ in COLUMNS)
    home = folder / "run"
    home.mkdir()
    with (
        fresh_database(urls) as database_url,
        paper_run(home, database_url, urls.redis_url, seed=seed, killing=killing) as run,
    ):
        for day in run.trade(sessions):
            _write(day.row())


def _write(cells: Iterable[str]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make paper-run", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--kill", action="store_true", help="kill what runs, too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
