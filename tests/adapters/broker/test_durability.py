"""The exchange does not wait for the disk; what the ledger has committed after it does."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import tenacity
from support.servers import fresh_database
from support.trading import FREE, RUN, SESSION, Kit, order, trading_kit
from support.waiting import until

from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import embedded_servers, stop_embedded
from trading_pipeline.errors import ServerUnavailable
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService


@pytest.fixture
def crashing() -> Iterator[tuple[Kit, str]]:
    """An account on a PostgreSQL of its own, which may be crashed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        home = Path(folder)
        try:
            with (
                embedded_servers(home) as urls,
                fresh_database(urls) as database_url,
                trading_kit(database_url, urls.redis_url, costs=FREE) as kit,
            ):
                yield kit, database_url
        finally:
            stop_embedded(home)


def _crash(database_url: str) -> None:
    """Kill one server process: PostgreSQL then drops its memory and recovers from the disk, as after a power cut.

    It ends its processes one by one: until the last is gone, somebody else's may still commit.
    """
    with psycopg.connect(database_url, autocommit=True) as victim:
        rows = victim.execute("select pid from pg_stat_activity where backend_type = 'client backend'").fetchall()
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        for (pid,) in rows:
            until(lambda pid=pid: not Path(f"/proc/{pid}").exists())
        with pytest.raises(psycopg.OperationalError):
            victim.execute("select 1")


def _back(kit: Kit) -> None:
    """Wait until PostgreSQL has recovered and what works on the account gets its two connections, however long."""
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(ServerUnavailable),
        wait=tenacity.wait_fixed(0.2),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    ):
        with attempt, kit.ledger.lane(kit.account.account):
            kit.ledger.books.get(kit.account.account)


class _CrashAfterAnswer:
    """A broker whose server crashes when it has answered, before the ledger knows."""

    def __init__(self, kit: Kit, database_url: str) -> None:
        self._kit, self._database_url = kit, database_url

    def __call__(self, *arguments: object) -> object:
        answer = self._kit.exchange.submit(*arguments)
        _crash(self._database_url)
        return answer


def test_a_crash_never_leaves_an_order_in_the_ledger_that_the_exchange_has_forgotten(
    crashing: tuple[Kit, str],
) -> None:
    """Before the ledger's commit the order may be gone, and is then sent again; after it, it is there. Never two."""
    kit, database_url = crashing
    service = SubmissionService(kit.account, RUN)
    known = service.submit(order("AAPL", qty=10)).order
    _crash(database_url)
    _back(kit)
    assert kit.exchange.find(known.client_order_id) is not None

    kit.broker.submit = _CrashAfterAnswer(kit, database_url)
    with pytest.raises(ServerUnavailable):
        service.submit(order("MSFT", qty=5))
    del kit.broker.submit
    _back(kit)
    again = service.submit(order("MSFT", qty=5)).order
    assert again.state is OrderState.ACCEPTED
    settle(kit.account, xnys().next(SESSION))
    assert {"AAPL": 10, "MSFT": 5} == kit.positions() == kit.exchange.positions()
