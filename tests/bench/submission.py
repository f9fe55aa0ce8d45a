"""Orders a second through all six steps, ledger, guard and simulated exchange real, in one process.

References of the same run: single-row commits a second of the same PostgreSQL, PINGs a second of the same Redis.
The last line is one JSON object. Run it with `python tests/bench/submission.py`.
"""

import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import psycopg
import structlog
from support.servers import fresh_database
from support.trading import ACCOUNT, BROAD, RUN, SESSION, Kit, order, trading_kit

from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import embedded_servers, stop_embedded
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService

ORDERS = 250
ROUNDS = 2
REPEATS = 1_000


class Stopwatch:
    """Where the time goes: seconds by step, each method it wraps counted where it is called from outside."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, owner: object, method: str, step: str) -> None:
        """Time every call of a method."""
        inner: Callable[..., object] = getattr(owner, method)

        def timed(*args: object, **named: object) -> object:
            began = time.perf_counter()
            try:
                return inner(*args, **named)
            finally:
                self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - began

        setattr(owner, method, timed)


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with _servers() as (database_url, redis_url), trading_kit(database_url, redis_url, limits=BROAD) as kit:
        figures = _measure(kit, database_url)
    for name, value in figures.items():
        sys.stdout.write(f"{name:>32}  {value}\n")
    sys.stdout.write(json.dumps(figures) + "\n")


def _measure(kit: Kit, database_url: str) -> dict[str, object]:
    watch = Stopwatch()
    watch.wrap(kit.ledger.orders, "record_many", "1 record intents")
    watch.wrap(kit.guard, "clear_many", "2 clear")
    watch.wrap(kit.ledger.orders, "record_verdicts", "3 record verdicts")
    watch.wrap(kit.broker, "submit", "4 exchange takes orders")
    watch.wrap(kit.ledger.fills, "book_many", "6 book fills")
    watch.wrap(kit.guard, "post_many", "6 post fills")
    watch.wrap(kit.guard, "void_many", "6 release ended")
    rates = []
    for number in range(ROUNDS):
        session = xnys().shift(SESSION, number)
        news = [order(f"S{at:04d}", qty=1, session=session) for at in range(ORDERS)]
        news = [replace(new, intent=replace(new.intent, strategy_id=f"round {number}")) for new in news]
        began = time.perf_counter()
        SubmissionService(kit.account, RUN).submit_all(news)
        settle(kit.account, xnys().next(session))
        rates.append(ORDERS / (time.perf_counter() - began))
        filled = kit.ledger.fills.of_session(ACCOUNT, xnys().next(session))
        if len(filled) != ORDERS:
            msg = f"{len(filled)} of {ORDERS} orders were filled"
            raise RuntimeError(msg)
    commits = _commits_a_second(database_url)
    per_order = {step: round(1000 * spent / ORDERS / ROUNDS, 3) for step, spent in sorted(watch.seconds.items())}
    return {
        "orders_per_second": round(median(rates)),
        "commits_per_second": round(commits),
        "pings_per_second": round(_a_second(kit.guard._client.ping)),
        "orders_per_commit": round(median(rates) / commits, 3),
        "milliseconds_an_order": per_order,
    }


def _commits_a_second(database_url: str) -> float:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create table public.one (n int)")
        return _a_second(lambda: connection.execute("insert into public.one values (1)"))


def _a_second(once: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(REPEATS):
        once()
    return REPEATS / (time.perf_counter() - began)


@contextmanager
def _servers() -> Iterator[tuple[str, str]]:
    home = Path(tempfile.mkdtemp())
    try:
        with embedded_servers(home) as urls, fresh_database(urls) as database_url:
            yield database_url, urls.redis_url
    finally:
        stop_embedded(home)


if __name__ == "__main__":
    main()
