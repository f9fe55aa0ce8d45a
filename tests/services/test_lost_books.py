"""Redis comes back without what ledger and guard did last: nothing clears until an operator rebuilds the book."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.redis_servers import StartRedis, redis_servers
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, order, trading_kit

from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import KillSwitch
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.status import read_status
from trading_pipeline.services.submission import SubmissionService

DURABLE = ("--appendonly", "yes")
LOST = {VerdictCode.BOOK_MISSING, VerdictCode.BOOK_STALE}
Loss = Iterator[str]
"""Walks through one loss: the address at first; then, the last write that survives being made, the same; then, all
later ones being lost, the address of what is left."""


def old_dump(start: StartRedis, home: Path) -> Loss:
    """A server is restarted on a dump that is older than its end, and then writes each change down as before."""
    url, process = start(*DURABLE, home=home)
    yield url
    with closing(connect(url)) as client:
        client.save()
    yield url
    process.kill()
    process.wait()
    start("--appendonly", "no", home=home)
    with closing(connect(url)) as client:
        client.config_set("appendonly", "yes")
    yield url


def flush(start: StartRedis, home: Path) -> Loss:
    """Somebody flushes the server."""
    url, _ = start(*DURABLE, home=home)
    yield url
    yield url
    with closing(connect(url)) as client:
        client.flushall()
    yield url


def stale_replica(start: StartRedis, home: Path) -> Loss:
    """A replica that was cut off from its primary is promoted when that dies."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, process = start("--port", str(port), "--repl-diskless-sync-delay", "0", *DURABLE, home=home)
    replica, _ = start("--replicaof", "127.0.0.1", str(port), *DURABLE)
    yield url
    with (
        closing(connect(url, timeout_seconds=20)) as first,
        closing(connect(replica, timeout_seconds=20)) as second,
    ):
        first.set("the last write", "that both have seen")
        assert 1 == first.wait(1, 15_000)
        second.replicaof("127.0.0.1", 1)
        first.delete("the last write")
        yield url
        process.kill()
        process.wait()
        second.replicaof("NO", "ONE")
    yield replica


WAYS = [old_dump, flush, stale_replica]


@pytest.fixture
def start() -> Iterator[StartRedis]:
    """Start Redis servers that this test may kill."""
    with redis_servers() as begin:
        yield begin


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that outlives its server, with a path short enough for a socket."""
    with TemporaryDirectory(prefix="lost-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("way", WAYS)
def test_a_switch_that_redis_forgot_is_engaged_after_the_rebuild(
    way: Callable[[StartRedis, Path], Loss], start: StartRedis, home: Path, database_url: str
) -> None:
    """The ledger's epoch is higher than any book's: all is refused, then a rebuild brings switch and orders back."""
    loss = way(start, home)
    with trading_kit(database_url, next(loss)) as kit:
        held = [_accepted(kit.account, "AAPL")]
        next(loss)
        held.append(_accepted(kit.account, "MSFT"))
        kit.operations.engage_kill_switch(ACTION)
        with _survivor(kit, next(loss)) as left:
            book, found = kit.ledger.books.get(ACCOUNT), left.guard.snapshot()
            assert KillSwitch.ENGAGED is book.kill_switch
            assert found is None or (found.epoch < book.epoch and found.kill_switch is KillSwitch.DISENGAGED)
            _assert_refuses_everything(left)

            RiskOperations(left).rebuild_risk_book(ACTION)

            _assert_rebuilt(left, held)
            assert {VerdictCode.KILL_SWITCH_ENGAGED} == _verdicts(left, repeat=2)
            RiskOperations(left).disengage_kill_switch(ACTION)
            _accepted(left, "NVDA")


@pytest.mark.parametrize("way", WAYS)
def test_an_order_that_redis_forgot_is_held_again_after_the_rebuild(
    way: Callable[[StartRedis, Path], Loss], start: StartRedis, home: Path, database_url: str
) -> None:
    """Within one epoch the ledger's sequence tells: a book that is behind clears nothing, not even for a settlement."""
    loss = way(start, home)
    with trading_kit(database_url, next(loss)) as kit:
        held = [_accepted(kit.account, "AAPL")]
        next(loss)
        held.append(_accepted(kit.account, "MSFT"))
        with _survivor(kit, next(loss)) as left:
            book, found = kit.ledger.books.get(ACCOUNT), left.guard.snapshot()
            assert found is None or (found.epoch == book.epoch and found.sequence < book.high_sequence)
            _assert_refuses_everything(left)

            RiskOperations(left).rebuild_risk_book(ACTION)

            _assert_rebuilt(left, held)
            _accepted(left, "NVDA")


@contextmanager
def _survivor(kit: Kit, url: str) -> Iterator[TradingAccount]:
    """Give the account of a kit with its guard on what is left of Redis."""
    with closing(connect(url)) as client:
        yield replace(kit.account, guard=RiskGuard(client, ACCOUNT))


def _accepted(account: TradingAccount, symbol: str) -> str:
    sent = SubmissionService(account, RUN).submit(order(symbol)).order
    assert OrderState.ACCEPTED is sent.state
    return sent.client_order_id


def _verdicts(account: TradingAccount, repeat: int) -> set[VerdictCode | None]:
    """Ask for a buy and a sell of symbols known and new."""
    service = SubmissionService(account, RUN)
    wanted = [order(symbol, side, repeat=repeat) for symbol in ("AAPL", "MSFT", "TSLA") for side in Side]
    submissions = [service.submit(one) for one in wanted]
    assert all(one.refused for one in submissions)
    return {one.verdict.code if one.verdict else None for one in submissions}


def _assert_refuses_everything(account: TradingAccount) -> None:
    """Check that nothing clears, that a settlement does not heal it, and that the status names the way out.

    A switch that is engaged in the ledger is reason enough before the guard is believed.
    """
    engaged = account.ledger.books.get(ACCOUNT).kill_switch is KillSwitch.ENGAGED
    for repeat in (1, 11):
        assert _verdicts(account, repeat=repeat) <= LOST | ({VerdictCode.KILL_SWITCH_ENGAGED} if engaged else set())
        settle(account, SESSION)
    report = read_status(account)
    assert not report.healthy
    (why,) = [row["value"] for row in report.trading if row["what"] == "why"]
    assert "rebuild-risk-book" in why


def _assert_rebuilt(account: TradingAccount, held: list[str]) -> None:
    """Check that the book is the one the ledger knows, and holds the orders that were lost too."""
    book, snapshot = account.ledger.books.get(ACCOUNT), account.guard.snapshot()
    assert snapshot is not None
    assert (book.epoch, book.kill_switch) == (snapshot.epoch, snapshot.kill_switch)
    assert snapshot.sequence >= book.high_sequence
    assert set(held) == set(snapshot.reservations)
