"""Reconciling 10,000 orders: ledger, book and an Alpaca account on loopback, after a session nobody listened to.

    python tests/bench/reconciliation.py [--orders 10000]

So many orders of 500 symbols are recorded, cleared and accepted. Then, unheard, eight of ten are filled in two
executions each, one of twenty is filled in part and cancelled, as many are filled in part and work on, the rest works
untouched; one of 200 is not known at the broker; one of 200 of the broker's is somebody else's. A process of its own
then reconciles twice: the first brings all of that home, the second finds it done. The goal is 20 seconds and 500 MB
(`ru_maxrss` of that process) for the first, which the second may not exceed.

Waiting is not counted, as the process's clock jumps over it: the second look at what others did (15 s, on purpose), and
the budget of requests. What that would be is `requests` and `minutes_of_budget` at 200 a minute: orders come in pages
of 500, executions in pages of 100. The last line is one JSON object.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import redis
import structlog
from alpaca.trading.client import TradingClient
from support.alpaca.bench import Bench, Waits, alpaca_account, alpaca_bench
from support.alpaca.exchange import ACCOUNT_ID, Asset, PaperExchange
from support.alpaca.server import KEY_ID, SECRET
from support.servers import fresh_database
from support.trading import ACCOUNT, ACTION, BROAD, RUN, SESSION, order, valuation

from trading_pipeline.adapters.alpaca.budget import RequestBudget
from trading_pipeline.adapters.alpaca.transport import AlpacaReader, Bounds
from trading_pipeline.adapters.broker.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.broker.alpaca.writer import AlpacaWriter
from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.core.orders.model import OrderIntent
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import Clearance
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import embedded_servers, stop_embedded
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.submission import SubmissionService

SYMBOLS = 500
BUDGET_A_MINUTE = 200
STEP = timedelta(milliseconds=1)


class Entrance:
    """Takes orders straight to the account, without a request: what a session did before the measurement."""

    real_time = False
    current_session = SESSION

    def __init__(self, exchange: PaperExchange, waits: Waits) -> None:
        self._exchange, self._waits = exchange, waits
        self.lost: set[str] = set()

    def await_turn(self, *_: object, **__: object) -> None:
        """Take orders at any time."""

    def submit(self, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Accept it; one of 200 is gone afterwards."""
        del clearance
        self._waits.instant += STEP
        made = self._exchange.new_order(
            symbol=intent.symbol,
            side=intent.side.value,
            qty=Decimal(intent.qty),
            client_order_id=intent.client_order_id,
        )
        if len(self._exchange.accepted) % 200 == 199:
            self.lost.add(made.id)
        self._exchange.accept(made)
        return BrokerOrder(
            client_order_id=intent.client_order_id,
            broker_order_id=made.id,
            symbol=intent.symbol,
            side=intent.side,
            qty=Decimal(intent.qty),
            state=OrderState.ACCEPTED,
            filled_qty=Decimal(0),
            average_price=None,
        )

    def require_tradable(self, session: object) -> None:
        """Take orders of any session."""


def prepare(account: TradingAccount, bench: Bench, orders: int) -> None:
    """Let the orders be accepted, and then what nobody heard of happen."""
    entrance = Entrance(bench.exchange, bench.waits)
    RiskOperations(account).set_risk_limits(BROAD, ACTION)
    news = [order(f"S{at % SYMBOLS:04d}", qty=10 + at // SYMBOLS) for at in range(orders)]
    done = SubmissionService(replace(account, broker=entrance), RUN).submit_all(news)
    states = Counter(one.order.state.value for one in done)
    if states != Counter({"accepted": orders}):
        raise RuntimeError(f"not all were accepted: {states}, {[one.verdict for one in done if one.refused][:2]}")
    exchange = bench.exchange
    for at, one in enumerate(list(exchange.books.orders.values())):
        bench.waits.instant += STEP
        if one.id in entrance.lost:
            del exchange.books.orders[one.id]
        elif at % 20 < 16:
            for qty in (Decimal(4), one.qty - 4):
                exchange.execute(one, qty, Decimal(100))
        elif at % 20 < 18:
            exchange.execute(one, Decimal(3), Decimal(100))
            if at % 20 == 16:
                exchange.finish(one, "canceled")
        if at % 200 == 100:
            other = exchange.new_order(symbol=one.symbol, side="buy", qty=Decimal(7), client_order_id=f"by-hand-{at}")
            exchange.books.orders[other.id] = other


def measure(folder: Path, orders: int) -> dict[str, Any]:
    """Prepare, reconcile in a process of its own, and return what it took."""
    with (
        embedded_servers(folder) as urls,
        fresh_database(urls) as database_url,
        alpaca_bench(urls.redis_url) as bench,
        alpaca_account(database_url, urls.redis_url, bench) as account,
    ):
        symbols = [f"S{number:04d}" for number in range(SYMBOLS)]
        bench.exchange.prices = dict.fromkeys(symbols, Decimal(100))
        bench.exchange.assets = {symbol: Asset() for symbol in symbols}
        prepare(account, bench, orders)
        bench.server.requests.clear()
        child = subprocess.run(
            [
                *(sys.executable, __file__, "--database", database_url, "--redis", urls.redis_url),
                *("--server", bench.server.url, "--at", bench.waits.instant.isoformat()),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        calls = Counter(f"{one.method} {one.path}" for one in bench.server.requests)
        if child.returncode:
            raise RuntimeError(f"the reconciling process ended with {child.returncode}: {calls}")
    figures: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return {"orders": orders} | figures | {"calls": dict(sorted(calls.items()))}


def reconcile_twice(database_url: str, redis_url: str, server: str, at: datetime) -> dict[str, Any]:
    """Open the account as a process of its own would, reconcile twice and return what each took."""
    waits = Waits(instant=at)
    client = connect(redis_url)
    figures: dict[str, Any] = {}
    with closing(client), Ledger(database_url) as ledger, closing(redis.Redis.from_url(redis_url)) as counter:
        trading = TradingClient(KEY_ID, SECRET, raw_data=True, url_override=server)
        budget = RequestBudget(counter, key_id=KEY_ID, api="trading", per_minute=60_000, sleep=waits.sleep)
        broker = AlpacaBroker(
            "Alpaca paper",
            reader=AlpacaReader(trading, budget=budget, clock=waits, bounds=Bounds(), sleep=waits.sleep),
            writer=AlpacaWriter(trading, budget=budget, clock=waits),
            account_id=ACCOUNT_ID,
            calendar=xnys(),
            clock=waits,
            monotonic=waits.monotonic,
        )
        account = TradingAccount(
            account=ACCOUNT,
            strategy_id="tested",
            ledger=ledger,
            guard=RiskGuard(client, ACCOUNT),
            broker=broker,
            calendar=xnys(),
            clock=waits,
            valuation=valuation(),
        )
        for name in ("first", "second"):
            begun, waited = time.perf_counter(), sum(waits.waited)
            found = reconcile(account, ACTION)
            figures |= {
                f"{name}_seconds": round(time.perf_counter() - begun, 1),
                f"{name}_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                f"{name}_waited_seconds": round(sum(waits.waited) - waited, 1),
                f"{name}_unexplained": len(found.unexplained),
                f"{name}_symbols_of_others": len(found.unresolved),
            }
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=10_000)
    for hidden in ("--database", "--redis", "--server", "--at"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if options.database:
        at = datetime.fromisoformat(options.at)
        print(json.dumps(reconcile_twice(options.database, options.redis, options.server, at)))
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            figures = measure(Path(folder), options.orders)
        finally:
            stop_embedded(Path(folder))
    requests = sum(figures["calls"].values())
    figures |= {"requests": requests, "minutes_of_budget": round(requests / BUDGET_A_MINUTE, 1)}
    for name, value in figures.items():
        print(f"{name:<28}{value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
