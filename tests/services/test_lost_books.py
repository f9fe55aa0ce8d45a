"""Redis comes back without what ledger and guard did last: nothing clears until an operator rebuilds the book.

And whatever else strikes Redis, a switch that was engaged is engaged afterwards.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
from support.redis_servers import StartRedis, redis_servers
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, intent, order, trading_kit

from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import ClearanceRequest, Verdict, VerdictCode
from trading_pipeline.core.risk.halts import KillSwitch, TradingState
from trading_pipeline.embedded import ServerUrls
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.facts import Facts
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.status import read_status, trading_state
from trading_pipeline.services.submission import SubmissionService

DURABLE = ("--appendonly", "yes")
ENGAGED = VerdictCode.KILL_SWITCH_ENGAGED
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


def evicted_book(start: StartRedis, home: Path) -> Loss:
    """The book is thrown out to make room, and the ids of what is over stay."""
    yield from _without(start, home, book_keys(ACCOUNT).book)


def evicted_history(start: StartRedis, home: Path) -> Loss:
    """The ids of what is over are thrown out, and the book stays."""
    yield from _without(start, home, book_keys(ACCOUNT).history)


def _without(start: StartRedis, home: Path, key: str) -> Loss:
    url, _ = start(*DURABLE, home=home)
    yield url
    yield url
    with closing(connect(url)) as client:
        assert 1 == client.delete(key)
    yield url


WAYS = [old_dump, flush, stale_replica]


def restart(start: StartRedis, home: Path) -> Loss:
    """A server is killed and started again on what it wrote down."""
    url, process = start(*DURABLE, home=home)
    yield url
    yield url
    process.kill()
    process.wait()
    start(*DURABLE, home=home)
    yield url


def forgotten_scripts(start: StartRedis, home: Path) -> Loss:
    """Somebody flushes the scripts."""
    url, _ = start(*DURABLE, home=home)
    yield url
    yield url
    with closing(connect(url)) as client:
        client.script_flush()
    yield url


def read_only(start: StartRedis, home: Path) -> Loss:
    """A server is demoted for a while."""
    url, _ = start(*DURABLE, home=home)
    yield url
    yield url
    with closing(connect(url)) as client:
        client.replicaof("127.0.0.1", 1)
        yield url
        client.replicaof("NO", "ONE")


def out_of_memory(start: StartRedis, home: Path) -> Loss:
    """A server has no room for a while."""
    url, _ = start(*DURABLE, home=home)
    yield url
    yield url
    with closing(connect(url)) as client:
        client.config_set("maxmemory", 1)
        yield url
        client.config_set("maxmemory", 0)


EVICTED = [evicted_book, evicted_history]
KEEPING = [restart, forgotten_scripts, read_only, out_of_memory]


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
            assert _asked(left).code in LOST

            RiskOperations(left).rebuild_risk_book(ACTION)

            _assert_rebuilt(left, held)
            assert ENGAGED is _asked(left).code
            assert {ENGAGED} == _verdicts(left, repeat=2)
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


@pytest.fixture(scope="module")
def lasting(database: str, servers: ServerUrls) -> Iterator[Kit]:
    """One account for all servers: on each its book is made anew."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    with trading_kit(database, servers.redis_url) as opened:
        yield opened


@pytest.mark.parametrize("way", [*EVICTED, *KEEPING])
def test_an_engaged_switch_is_engaged_after_whatever_strikes_redis(
    way: Callable[[StartRedis, Path], Loss], lasting: Kit, start: StartRedis, home: Path
) -> None:
    """In ledger and book: after a rebuild where the book is only half there, by itself where it lost nothing."""
    loss, number = way(start, home), [*EVICTED, *KEEPING].index(way) + 1
    with _survivor(lasting, next(loss)) as account:
        operations = RiskOperations(account)
        operations.rebuild_risk_book(ACTION)
        held = _accepted(account, "AAPL", repeat=number)
        next(loss)
        operations.engage_kill_switch(ACTION)
    with _survivor(lasting, next(loss)) as left:
        assert not _asked(left).cleared
        assert {ENGAGED} == _verdicts(left, repeat=100 * number)
        next(loss, None)  # what was struck for a while is well again
        assert not _asked(left).cleared
        assert (TradingState.HALTED, way in KEEPING) == (trading_state(left)[0], _asked(left).code is ENGAGED)
        if way in EVICTED:
            RiskOperations(left).rebuild_risk_book(ACTION)

        _assert_rebuilt(left, [held])
        assert KillSwitch.ENGAGED is left.ledger.books.get(ACCOUNT).kill_switch
        assert ENGAGED is _asked(left).code
        assert {ENGAGED} == _verdicts(left, repeat=100 * number + 1)
        RiskOperations(left).disengage_kill_switch(ACTION)
        RiskOperations(left).cancel_all_orders(ACTION)
    loss.close()


def test_a_switch_pressed_while_redis_was_away_stops_what_starts_after_it(
    lasting: Kit, start: StartRedis, home: Path
) -> None:
    """Redis comes back with the book of before, which knows of no switch: no submission passes, nor does the guard.

    A reconciliation, which finds that nothing else was lost, tells it.
    """
    url, process = start(*DURABLE, home=home)
    with _survivor(lasting, url) as left:
        RiskOperations(left).rebuild_risk_book(ACTION)
        process.kill()
        process.wait()
        assert RiskOperations(left).engage_kill_switch(ACTION).stale
        assert {ENGAGED} == _verdicts(left, repeat=2_000)
        start(*DURABLE, home=home)
        book = left.guard.snapshot()
        assert book is not None
        assert KillSwitch.DISENGAGED is book.kill_switch
        sent = list(lasting.broker.sent)
        assert ({ENGAGED}, sent) == (_verdicts(left, repeat=2_001), lasting.broker.sent)
        assert VerdictCode.BOOK_STALE is _asked(left).code

        reconcile(left, ACTION)

        _assert_rebuilt(left, [])
        assert ({ENGAGED}, ENGAGED) == (_verdicts(left, repeat=2_002), _asked(left).code)
        RiskOperations(left).disengage_kill_switch(ACTION)


def _asked(account: TradingAccount) -> Verdict:
    """Ask the guard itself, as whoever does not believe the ledger's switch would."""
    book, wanted = account.ledger.books.get(ACCOUNT), intent("TSLA")
    facts = Facts(account, [wanted]).of(wanted)
    return account.guard.clear(
        ClearanceRequest.of(wanted, market=facts, epoch=book.epoch, min_sequence=book.high_sequence)
    )


@contextmanager
def _survivor(kit: Kit, url: str) -> Iterator[TradingAccount]:
    """Give the account of a kit with its guard on what is left of Redis."""
    with closing(connect(url)) as client:
        yield replace(kit.account, guard=RiskGuard(client, ACCOUNT))


def _accepted(account: TradingAccount, symbol: str, repeat: int = 0) -> str:
    sent = SubmissionService(account, RUN).submit(order(symbol, repeat=repeat)).order
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
        assert _verdicts(account, repeat=repeat) <= LOST | ({ENGAGED} if engaged else set())
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
