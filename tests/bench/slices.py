"""How late due slices of large orders leave: the sender's own loop, a real ledger, guard and client, a local Alpaca.

    python tests/bench/slices.py [--parents 16] [--slices 6] [--interval 10]

All parents begin at the same instant, so that as many slices are due at once: the worst there is. The first orders
of a process open its connections. The last line is one JSON object: `late_p95_seconds` is the time from a slice's due
time to the broker's answer at the 95th percentile.
"""

import argparse
import json
import logging
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import structlog
from support.alpaca.bench import OPEN, Waits, alpaca_account, alpaca_bench
from support.servers import fresh_database
from support.slices import Prices, request
from support.trading import ACCOUNT, ACTION, BROAD, RUN

from trading_pipeline.embedded import embedded_servers, stop_embedded
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.slices import SliceLoop, SliceService
from trading_pipeline.services.twap import start

SYMBOLS = ("AAPL", "MSFT", "NVDA", "F")


@dataclass
class Running(Waits):
    """Half an hour into a session, and time goes on by itself; what would be waited for is not."""

    begun: float = 0.0

    def now(self) -> datetime:
        """Return the instant reached."""
        return OPEN + timedelta(seconds=time.monotonic() - self.begun)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def measure(folder: Path, parents: int, slices: int, interval: int) -> dict[str, float | int]:
    """Work the parents to their end and return how late their slices were."""
    with embedded_servers(folder) as urls, fresh_database(urls) as database_url:
        clock = Running(begun=time.monotonic())
        with (
            alpaca_bench(urls.redis_url, clock) as bench,
            alpaca_account(database_url, urls.redis_url, bench) as opened,
        ):
            account = replace(opened, clock=clock)
            RiskOperations(account).set_risk_limits(BROAD, ACTION)
            asked = [
                request(
                    SYMBOLS[number % len(SYMBOLS)],
                    10 * slices,
                    minutes=max(1, slices * interval // 60),
                    slices=slices,
                    repeat=number // len(SYMBOLS),
                    start=clock.now() + timedelta(seconds=5),
                )
                for number in range(parents)
            ]
            ids = [start(account, one, ACTION, RUN)[0].parent_id for one in asked]
            loop = SliceLoop(SliceService(account, RUN, Prices()), clock.now)
            worker = threading.Thread(target=loop.run)
            worker.start()
            deadline = time.monotonic() + 10 + 2 * slices * interval
            while time.monotonic() < deadline:
                known = [one for name in ids for one in account.ledger.slices.of_parent(name)]
                if all(one.sent_at is not None for one in known):
                    break
                time.sleep(1)
            loop.stop()
            worker.join()
            late = [(one.sent_at - one.due_at).total_seconds() for one in known if one.sent_at is not None]
            accepted = [one.client_order_id for one in bench.exchange.accepted]
    stop_embedded(folder)
    return {
        "parents": parents,
        "slices": len(known),
        "sent": len(late),
        "accepted": len(accepted),
        "accepted_twice": len(accepted) - len(set(accepted)),
        "late_median_seconds": round(median(late), 3),
        "late_p95_seconds": round(quantiles(late, n=20)[-1], 3),
        "late_max_seconds": round(max(late), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parents", type=int, default=16)
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--interval", type=int, default=10, help="seconds between the slices of a parent")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.parents, options.slices, options.interval)
    for name, value in figures.items():
        print(f"{name:<22}{value}")
    print(json.dumps(figures | {"account": ACCOUNT}))


if __name__ == "__main__":
    main()
