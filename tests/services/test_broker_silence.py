"""A broker that does not answer is counted wherever an account is opened, and trips the breaker by itself."""

from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from support.alpaca.bench import Bench
from support.alpaca.server import Fault
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, order
from support.trading_resource import trading_resource

from trading_pipeline.adapters.broker.simulated import SimulatedExchange
from trading_pipeline.adapters.broker.watched import WatchedBroker
from trading_pipeline.cli.runtime import opened_account
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.risk.monitor_limits import MonitorLimits
from trading_pipeline.errors import SessionNotTradable, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.watching import watch
from trading_pipeline.settings import Settings

SILENT = [Fault(status=503)] * 500


@pytest.fixture
def watched(account: TradingAccount) -> TradingAccount:
    """An account at Alpaca, its broker wrapped as every composition root does."""
    return replace(account, broker=WatchedBroker(account.broker, account.ledger.monitors, ACCOUNT))


def test_a_silent_broker_trips_by_the_monitors_own_looks(watched: TradingAccount, bench: Bench) -> None:
    """What an account at Alpaca knows without asking, as its newest session, is no answer: the row goes on."""
    bench.server.plan(*SILENT)
    looks = [watch(watched).tripped for _ in range(6)]
    assert [""] * 5 == looks[:5]
    assert looks[5].startswith("broker_errors: 6 unanswered calls in a row against a limit of 5")
    assert Breaker.TRIPPED is watched.ledger.books.get(ACCOUNT).breaker

    bench.server.faults.clear()
    assert {} == watched.broker.positions()
    assert 0 == watched.ledger.monitors.get(ACCOUNT).broker_errors


def test_what_is_known_without_asking_ends_no_row(watched: TradingAccount, bench: Bench) -> None:
    """The newest session, moving time, questions about nothing, and a session that is over; an answer does."""
    bench.server.plan(*SILENT)
    with pytest.raises(TransientError):
        watched.broker.positions()
    broker = watched.broker
    assert SESSION == broker.current_session
    broker.advance(SESSION)
    assert ({}, []) == (broker.find_many([]), broker.executions([]))
    with pytest.raises(SessionNotTradable):
        broker.require_tradable(watched.calendar.previous(SESSION))
    assert 1 == watched.ledger.monitors.get(ACCOUNT).broker_errors
    with pytest.raises(TransientError):
        broker.require_tradable(SESSION)
    assert 2 == watched.ledger.monitors.get(ACCOUNT).broker_errors


def test_whoever_works_on_the_account_counts_in_one_row(watched: TradingAccount, bench: Bench) -> None:
    """Reconciliations and looks; the next one is refused an order that grows."""
    bench.server.plan(*SILENT)
    for _ in range(5):
        with pytest.raises(TransientError):
            reconcile(watched, ACTION)
    assert watch(watched).tripped
    bench.server.faults.clear()
    refused = SubmissionService(watched, RUN).submit(order()).verdict
    assert refused is not None
    assert VerdictCode.BREAKER_TRIPPED is refused.code


@contextmanager
def _as_a_run(trading: object) -> AbstractContextManager[TradingAccount]:
    with dg.build_resources({"trading": trading}) as opened:
        yield opened.trading.account


def test_every_composition_root_counts(
    kit: Kit, database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resource of all runs and the commands of a shell, in one row that the monitor trips on."""
    kit.operations.set_risk_limits(RiskLimits(monitor=MonitorLimits(max_consecutive_broker_errors=2)), ACTION)

    def away(_: SimulatedExchange) -> object:
        raise TransientError("no route to the broker")

    monkeypatch.setattr(SimulatedExchange, "positions", away)
    settings = Settings(_env_file=None, pipeline_home=tmp_path, account=ACCOUNT)
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    roots = [
        lambda: _as_a_run(trading_resource(database_url, redis_url, tmp_path)),
        lambda: opened_account(settings, environment),
        lambda: _as_a_run(trading_resource(database_url, redis_url, tmp_path)),
    ]
    counted = []
    for root in (*roots, lambda: nullcontext(kit.account)):
        with root() as account, pytest.raises(TransientError):
            account.broker.positions()
        counted.append(kit.ledger.monitors.get(ACCOUNT).broker_errors)
    assert [1, 2, 3, 3] == counted, "the last one is not wrapped: it shows that the wrapping is what counts"

    tripped = watch(kit.account).tripped
    assert all(part in tripped for part in ("broker_errors: 3", "limit of 2", "positions: no route to the broker"))
