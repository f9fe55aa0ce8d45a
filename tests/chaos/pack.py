"""Processes that hammer one account, and what must hold of what reached the exchange, whatever happened meanwhile."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.trading import ACCOUNT, ACTION, SESSION, Kit

from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import PipelineError
from trading_pipeline.services.settlement import settle

PROCESSES = 2
LIMIT = 40
LIMITS = RiskLimits(
    max_order_adv_bps=None,
    max_position_equity_bps=None,
    max_position_shares=LIMIT,
    max_self_match_shares=10**6,
    max_orders_per_second=10**6,
    max_orders_per_minute=10**6,
)
_ROOT = Path(__file__).parents[2]


class Pack:
    """The hammering processes."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._urls = (database_url, redis_url)
        self._born = 0
        self.alive = [self._start() for _ in range(PROCESSES)]

    def _start(self) -> subprocess.Popen[bytes]:
        self._born += 1
        return subprocess.Popen(
            [sys.executable, str(_ROOT / "tests" / "chaos" / "hammer.py"), *self._urls, str(self._born)],
            env=os.environ | {"PYTHONPATH": f"{_ROOT}:{_ROOT / 'tests'}"},
            stdout=subprocess.PIPE,
        )

    def await_round(self, at: int) -> None:
        """Wait until a process has made one more round."""
        assert self.alive[at].stdout.read(1) == b"."

    def kill(self, at: int) -> None:
        """Kill a process in the middle of whatever it does, and start another."""
        self.alive[at].kill()
        self.alive[at].wait()
        self.alive[at].stdout.close()
        self.alive[at] = self._start()

    def end(self) -> None:
        """Kill them all."""
        for process in self.alive:
            process.kill()
            process.wait()
            process.stdout.close()


def rebuild(kit: Kit) -> None:
    """Rebuild the book as an operator would: again, when the lane or a connection was not to be had."""
    for attempt in range(20):
        try:
            kit.operations.rebuild_risk_book(ACTION)
        except PipelineError:
            if attempt == 19:
                raise
        else:
            return


def exposure_stays_within_limits(arrived: list[dict[str, Any]]) -> None:
    """At every prefix of what the exchange accepted; nothing was filled or cancelled meanwhile."""
    pending: dict[tuple[str, str], int] = {}
    for one in arrived:
        key = (one["symbol"], one["side"])
        pending[key] = pending.get(key, 0) + one["qty"]
        assert pending[key] <= LIMIT, f"{one['side']} {one['symbol']}: {pending[key]} shares pending"


def everything_comes_to_rest(kit: Kit) -> None:
    """After the next session has opened, ledger, book and exchange are the same."""
    rebuild(kit)
    for _ in range(2):
        settle(kit.account, xnys().next(SESSION))
    book = kit.guard.snapshot()
    assert book is not None
    held = {symbol: qty for symbol, qty in book.positions.items() if qty}
    assert kit.exchange.positions() == kit.positions() == held
    live = [one.client_order_id for one in kit.ledger.orders.live(ACCOUNT)]
    assert [] == [one for one in live if kit.exchange.find(one) is not None]
