"""The sender of slices killed (SIGKILL) between two slices and while one is at the broker: the next one goes on."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any

from support.alpaca.bench import OPEN, Bench, Waits
from support.alpaca.server import Fault
from support.slices import Prices, request
from support.trading import ACCOUNT, ACTION, RUN, valuation

from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.adapters.store.ledger.slices import SliceRecord
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.slices import SliceLoop, SliceService
from trading_pipeline.services.twap import start
from trading_pipeline.services.verification import compare

SPAWN = get_context("spawn")
INTERVAL = 10
LOOKS = 1_000


@dataclass
class Told(Waits):
    """The time of the test in another process: only the test moves it."""

    seconds: Any = None

    def now(self) -> datetime:
        """Return what the test has set."""
        return OPEN + timedelta(seconds=self.seconds.value)

    def sleep(self, seconds: float) -> None:
        """Let others work."""
        del seconds
        time.sleep(0.01)

    def monotonic(self) -> float:
        """Return seconds that grow with it."""
        return self.now().timestamp()


def send(database_url: str, redis_url: str, url: str, seconds: Any) -> None:
    """Send what is due until killed, on connections of its own."""
    clock = Told(seconds=seconds)
    bench = Bench(exchange=None, server=SimpleNamespace(url=url), counter=connect(redis_url), waits=clock)
    with Ledger(database_url) as ledger:
        account = TradingAccount(
            account=ACCOUNT,
            strategy_id="tested",
            ledger=ledger,
            guard=RiskGuard(connect(redis_url), ACCOUNT),
            broker=bench.broker(),
            calendar=xnys(),
            clock=clock,
            valuation=valuation(),
        )
        SliceLoop(SliceService(account, RUN, Prices()), clock.now, look=timedelta(seconds=0.05)).run()


@dataclass
class Senders:
    """Processes that send, one after the other, and the time they are told."""

    arguments: tuple[str, str, str]
    bench: Bench
    seconds: Any

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Run a process and kill it with SIGKILL at the end of the block."""
        process = SPAWN.Process(target=send, args=(*self.arguments, self.seconds), daemon=True)
        process.start()
        try:
            yield
        finally:
            process.kill()
            process.join()
            process.close()

    def at(self, seconds: float) -> None:
        """Set the time since the beginning, here and there."""
        self.bench.waits.instant = OPEN + timedelta(seconds=seconds)
        self.seconds.value = seconds


def until(true: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    for _ in range(LOOKS):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it never happened")


def test_killed_senders_neither_repeat_a_slice_nor_catch_up(
    account: TradingAccount, bench: Bench, database_url: str, redis_url: str
) -> None:
    """Six slices: a process killed between two, a pause, one killed before it knew the answer, and one to the end."""
    asked = request(qty=60, minutes=1, slices=6, grace_seconds=300)
    parent, _ = start(account, asked, ACTION, RUN)
    senders = Senders((database_url, redis_url, bench.server.url), bench, SPAWN.Value("d", 0.0))

    def slices() -> list[SliceRecord]:
        return account.ledger.slices.of_parent(parent.parent_id)

    def known() -> int:
        return sum(one.sent_at is not None for one in slices())

    with senders.killed():
        until(lambda: known() == 1)
    assert 1 == len(bench.exchange.accepted)

    senders.at(3 * INTERVAL + 1)
    bench.server.plan_for("POST", "/v2/orders", Fault(kind="hang", after=True))
    with senders.killed():
        until(lambda: len(bench.exchange.accepted) == 2)

    with senders.killed():
        for step in range(4, 9):
            until(lambda: known() == len(bench.exchange.accepted))
            senders.at(step * INTERVAL + 1)
            until(lambda step=step: len(bench.exchange.accepted) >= min(step - 1, 6))
        until(lambda: known() == 6)

    sent = bench.exchange.accepted
    assert ["accepted"] * 6 == [one.state for one in slices()]
    assert [one.client_order_id for one in slices()] == [one.client_order_id for one in sent]
    assert [10] * 6 == [one.qty for one in sent]
    times = [one.submitted_at for one in sent]
    assert all(later - earlier >= timedelta(seconds=INTERVAL) for earlier, later in pairwise(times))
    assert [] == compare(account)
