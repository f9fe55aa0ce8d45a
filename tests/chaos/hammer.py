"""A process that submits the same orders as its siblings, over and over, until it is told to stop or dies.

Run as a program: database URL, Redis URL, number of the process. It writes a dot for every round it has made.
"""

import logging
import random
import sys
from itertools import count

import structlog
from support.trading import ACCOUNT, FREE, SESSION, order

from trading_pipeline.adapters.broker.simulated import SimulatedExchange
from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import Ledger, NewOrder
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import PipelineError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.submission import SubmissionService

SYMBOLS = ("AAA", "BBB", "CCC")
SIZES = tuple(range(1, 16))


def wanted() -> list[NewOrder]:
    """Return what all processes want: far more than the limits let through."""
    return [order(symbol, side, qty) for symbol in SYMBOLS for side in Side for qty in SIZES]


def main(database_url: str, redis_url: str, number: str) -> None:
    """Submit in an order of its own, and finish what others left, for ever."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    chance = random.Random(number)
    client = connect(redis_url)
    exchange = SimulatedExchange(database_url, account=ACCOUNT, calendar=xnys(), openings=lambda *_: {}, costs=FREE)
    with Ledger(database_url) as ledger:
        account = TradingAccount(
            account=ACCOUNT,
            strategy_id="tested",
            ledger=ledger,
            guard=RiskGuard(client, ACCOUNT),
            broker=exchange,
            calendar=xnys(),
            clock=SystemClock(),
        )
        orders = wanted()
        for turn in count():
            chance.shuffle(orders)
            try:
                service = SubmissionService(account, Provenance(run_id=f"{number}-{turn}", sessions=(SESSION,)))
                service.submit_all(orders[:8])
                service.resume()
            except PipelineError:
                pass
            sys.stdout.write(".")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
