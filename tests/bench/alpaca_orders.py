"""Signal ready to the last of 200 orders accepted, Dagster included, against what the budget of requests allows.

    python tests/bench/alpaca_orders.py [--orders 200] [--per-minute 200]

Predictions of the newest closed session wait in the lake. Then the clock starts, and the `dagster` command materialises
`target_portfolio`, `tie_out` and `submitted_orders` of it in a process of its own: definitions and instance loaded,
target, prices, guard, ledger, and the real client against an Alpaca account on loopback, with PostgreSQL and Redis that
the project starts. The account counts like Alpaca: whoever asks more than `--per-minute` times in 60 seconds gets 429.

What the budget allows: each order is one POST, each of `NEEDED` is read once, and none of that can be left out. Of N
requests in any minute a tenth may be asked for at once, the rest comes evenly: N - N/10 more in the minute that begins
with the burst. So the last of n requests leaves (n - N/10) / (N - N/10) minutes after the first: 200 orders and 5 reads
at 200 a minute are 61.7 seconds. The product's own bucket is slower by the 2 seconds that requests may travel unevenly.
`over_budget` is the time from the signal to the last acceptance, in units of that; the goal is 1.5 at most.

A call is wasted when it was answered with 429, asked for the second time, or is none of those above: a read that comes
again counts. Only the looks at account, clock and positions are needed again every `CHECK_SECONDS` while orders leave,
for no order is sent on an older one; `repeated_percent` counts these as well. The goal is less than 5 percent. The last
line is one JSON object.

Sessions become Dagster's partitions at midnight New York, and orders are sent before an open: from a session's open to
that midnight there is nothing to trade. The window begins early here, so that any other hour will do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import numpy as np
import polars as pl
from support.alpaca.bench import Bench, Waits, alpaca_bench, alpaca_variables
from support.alpaca.data_api import latest_routes, quote_json, trade_json
from support.alpaca.exchange import Asset
from support.alpaca.server import Application, Refusal, Request
from support.alpaca.trading_api import TradingApi
from support.commands import run_command
from support.servers import fresh_database
from support.session_lake import judge_fresh

from trading_pipeline.adapters.broker.alpaca.account import CHECK_SECONDS
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.core.bars import BAR_SCHEMA
from trading_pipeline.core.freshness import FRESH
from trading_pipeline.core.quality import GateConfig
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import embedded_servers, stop_embedded
from trading_pipeline.instance.home import prepare_dagster_home
from trading_pipeline.services.gate import judge_sessions

NEEDED = ("/v2/account", "/v2/clock", "/v2/assets", "/v2/positions", "/v2/orders")
"""Whose account, whose time, what may be traded, what is held and what works: one read of each."""
LOOKS = ("/v2/account", "/v2/clock", "/v2/positions")
ASSETS = "target_portfolio,tie_out,submitted_orders"
LONGEST_CLOSURE_MINUTES = 10 * 24 * 60
COMMAND = (sys.executable, "-m", "dagster", "asset", "materialize", "-m", "trading_pipeline.definitions")
ACCOUNT = "paper"
PRICE = Decimal(100)
HISTORY = 25
MINUTE = timedelta(seconds=60)
WHO = ("--operator", "bench", "--reason", "an account of its own for a measurement")


class Now(Waits):
    """The time of day."""

    def now(self) -> datetime:
        """Return it."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass
class Counted:
    """Another application behind the limit that Alpaca documents: so many requests in any 60 seconds."""

    behind: Application
    per_minute: int
    refused: int = 0
    asked: list[tuple[datetime, Request]] = field(default_factory=list)
    _let_in: deque[datetime] = field(default_factory=deque)

    def handle(self, request: Request) -> tuple[int, Any] | None:
        """Answer, or say 429."""
        now = datetime.now(UTC)
        self.asked.append((now, request))
        while self._let_in and now - self._let_in[0] >= MINUTE:
            self._let_in.popleft()
        if len(self._let_in) >= self.per_minute:
            self.refused += 1
            raise Refusal(429, {"code": 42910000, "message": "rate limit exceeded"})
        self._let_in.append(now)
        return self.behind.handle(request)


def measure(folder: Path, orders: int, per_minute: int) -> dict[str, Any]:
    """Trade one session with so many orders and return what it took."""
    session = xnys().latest_closed(datetime.now(UTC))
    symbols = [f"S{number:04d}" for number in range(orders)]
    with (
        embedded_servers(folder / "servers") as urls,
        fresh_database(urls) as database_url,
        alpaca_bench(urls.redis_url, Now()) as bench,
    ):
        bench.exchange.prices = dict.fromkeys(symbols, PRICE)
        bench.exchange.assets = {symbol: Asset() for symbol in symbols}
        bench.server.routes |= _market(symbols)
        counted = Counted(TradingApi(bench.exchange), per_minute)
        bench.server.application = counted
        variables = _variables(bench, database_url, urls.redis_url, orders, per_minute)
        home = folder / "home"
        dagster = prepare_dagster_home(home, database_url, urls.redis_url)
        _signal(Lake(home / "lake"), session, symbols)
        done = run_command("initialize-risk-book", *WHO, folder=folder, home=home, **variables)
        if done.returncode:
            raise RuntimeError(done.stderr)
        time.sleep(MINUTE.total_seconds() / 10 + 1)  # the budget is whole again
        counted.asked.clear()
        signal = datetime.now(UTC)
        run = subprocess.run(
            [*COMMAND, "--select", ASSETS, "--partition", session.isoformat()],
            env=os.environ | dagster | variables,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        ended = datetime.now(UTC)
        accepted = list(bench.exchange.accepted)
        figures = _figures(counted, signal, orders, per_minute) if accepted else {}
    if run.returncode or len(accepted) != orders:
        sys.stderr.write((run.stdout + run.stderr)[-6000:])
        raise RuntimeError(f"{len(accepted)} of {orders} orders were accepted, exit code {run.returncode}")
    per_intent = Counter((one.symbol, one.side) for one in accepted)
    return figures | {
        "accepted": len(accepted),
        "accepted_per_intent_most": max(per_intent.values()),
        "run_seconds": round((ended - signal).total_seconds(), 1),
    }


def _figures(counted: Counted, signal: datetime, orders: int, per_minute: int) -> dict[str, Any]:
    calls = Counter(f"{one.method} {one.path}" for _, one in counted.asked)
    posts = [(at, one.body) for at, one in counted.asked if one.method == "POST"]
    burst = per_minute // 10
    allowed = (orders + len(NEEDED) - burst) * 60 / (per_minute - burst)
    first, last = counted.asked[0][0], max(at for at, _ in posts)
    sending = last - posts[0][0]
    once = orders + sum(f"GET {path}" in calls for path in NEEDED)
    again = int(sending.total_seconds() // CHECK_SECONDS)
    needed = once + sum(min(calls[f"GET {path}"] - 1, again) for path in LOOKS)
    total = len(counted.asked)
    seconds = (last - signal).total_seconds()
    return {
        "orders": orders,
        "seconds": round(seconds, 1),
        "allowed_seconds": round(allowed, 1),
        "over_budget": round(seconds / allowed, 3),
        "seconds_to_the_first_call": round((first - signal).total_seconds(), 1),
        "seconds_from_first_to_last_order": round(sending.total_seconds(), 1),
        "calls": dict(sorted(calls.items())),
        "calls_before_the_first_order": sum(at < posts[0][0] for at, _ in counted.asked),
        "calls_after_the_last_order": sum(at > last for at, _ in counted.asked),
        "calls_total": total,
        "refused_429": counted.refused,
        "orders_asked_twice": len(posts) - len({body for _, body in posts}),
        "wasted_percent": round(100 * (total - needed) / total, 2),
        "repeated_percent": round(100 * (total - once) / total, 2),
    }


def _variables(bench: Bench, database_url: str, redis_url: str, orders: int, per_minute: int) -> dict[str, str]:
    return alpaca_variables(bench.server, database_url, redis_url) | {
        "ALPACA_REQUESTS_PER_MINUTE": str(per_minute),
        "CAPITAL": str(2_000 * orders),
        "LONG_COUNT": str(orders),
        "SHORT_COUNT": "0",
        "SUBMISSION_OPENS_MINUTES": str(LONGEST_CLOSURE_MINUTES),
    }


def _market(symbols: list[str]) -> dict[Any, Any]:
    """Return routes of the latest quotes and trades: what they answer is always of this instant."""

    def fresh(what: int) -> Any:
        def answer(query: Any) -> Any:
            now = datetime.now(UTC)
            quotes = {one: quote_json(str(PRICE), str(PRICE + Decimal("0.02")), now) for one in symbols}
            trades = {one: trade_json(str(PRICE), now) for one in symbols}
            return list(latest_routes(quotes, trades).values())[what](query)

        return answer

    return {place: fresh(what) for what, place in enumerate(latest_routes({}, {}))}


def _signal(lake: Lake, session: date, symbols: list[str]) -> None:
    """Leave bars that passed their gates and predictions of one session: what the assets before have done."""
    sessions = xnys().between(xnys().shift(session, -HISTORY), session)
    steps = np.random.default_rng(7).normal(0, 0.005, (len(sessions), len(symbols)))
    closes = float(PRICE) * np.exp(np.cumsum(steps, axis=0)[::-1])
    rows = [
        {
            "session": day,
            "symbol": symbol,
            "ended_at": xnys().close_at(day),
            "open": round(close * 0.999, 2),
            "high": round(close * 1.01, 2),
            "low": round(close * 0.99, 2),
            "close": round(close, 2),
            "volume": 1e6 + at * len(symbols) + number,
            "vwap": None,
            "source": "bench",
        }
        for at, day in enumerate(sessions)
        for number, (symbol, close) in enumerate(zip(symbols, closes[at], strict=True))
    ]
    record_raw_bars(lake, pl.DataFrame(rows, schema=BAR_SCHEMA), sessions=sessions, now=datetime.now(UTC))
    judge_sessions(lake, sessions, GateConfig())
    judge_fresh(lake, session, dict.fromkeys(symbols, FRESH))
    scores = pl.DataFrame(
        {"session": session, "symbol": symbols, "score": [float(one) for one in range(len(symbols))]}
    ).with_columns(
        pl.col("score").rank("ordinal", descending=True).cast(pl.Int32).alias("rank"),
        **{name: pl.lit(text) for name, text in {"model_name": "bench", "model_version": "1"}.items()},
        model_digest=pl.lit("d"),
        feature_set_hash=pl.lit("h"),
    )
    lake.write(Dataset.PREDICTIONS, scores, sessions=[session])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--per-minute", type=int, default=200, help="requests of the key that Alpaca allows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            figures = measure(Path(folder), options.orders, options.per_minute)
        finally:
            stop_embedded(Path(folder) / "servers")
    for name, value in figures.items():
        print(f"{name:<34}{value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
