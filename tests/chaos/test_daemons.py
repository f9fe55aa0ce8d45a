"""Two Dagster daemons on one instance, as after a deployment that forgot to stop the old one.

Dagster notices two daemons by their heartbeats and says so, but stops neither: both take runs from the queue.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from support.pipeline import HISTORY, Pipeline, errors_of, last_sessions, pipeline

from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.services.verification import verify_book

_DAGSTER = (sys.executable, "-m", "dagster")
_CODE = ("-m", "trading_pipeline.definitions", "-a", "defs")
_WORKSPACE = ("-w", str(Path(__file__).parents[2] / "workspace.yaml"))
(SESSION,) = last_sessions(1)
DECIDED = [dg.AssetKey("predictions"), dg.AssetKey("target_portfolio")]
ASKED = 2
"""Daemons, runs in the queue, and runs that others start past the queue."""
PATIENCE_SECONDS = 240


@pytest.fixture
def decided(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Pipeline]:
    """A pipeline whose target portfolio stands and whose orders nobody has sent."""
    with pipeline(tmp_path, database_url, redis_url) as opened:
        assert "" == errors_of(opened.run_range("history", *HISTORY))
        assert "" == errors_of(opened.run("train_model"))
        decision = opened.defs.resolve_job_def("daily_session").execute_in_process(
            instance=opened.instance, partition_key=SESSION.isoformat(), asset_selection=DECIDED
        )
        assert decision.success
        yield opened


@pytest.mark.timeout(900)
def test_two_daemons_send_every_order_once(decided: Pipeline, database_url: str) -> None:
    """Whoever starts a run of the session, from the queue or past it, each intent reaches the exchange once."""
    asked = ["-j", "submit_orders", "--tags", json.dumps({"dagster/partition": SESSION.isoformat()})]
    for _ in range(ASKED):
        subprocess.run([*_DAGSTER, "job", "launch", *_WORKSPACE, *asked], check=True)
    with ExitStack() as stack:
        for number in range(ASKED):
            stack.enter_context(_daemon(decided, number))
        past = [
            stack.enter_context(subprocess.Popen([*_DAGSTER, "job", "execute", *_CODE, *asked])) for _ in range(ASKED)
        ]
        for process in past:
            stack.callback(process.kill)
        assert [0] * ASKED == [process.wait(PATIENCE_SECONDS) for process in past]
        assert {dg.DagsterRunStatus.SUCCESS} == set(_ends_of_runs(decided))

    with decided.account() as account, psycopg.connect(database_url) as watch:
        orders = account.ledger.orders.of_session(account.account, SESSION)
        arrived = watch.execute("select client_order_id from exchange.orders").fetchall()
        assert 3 == len(orders)
        assert {OrderState.ACCEPTED} == {one.state for one in orders}
        assert sorted((one.client_order_id,) for one in orders) == sorted(arrived)
        assert verify_book(account).agrees


@contextmanager
def _daemon(opened: Pipeline, number: int) -> Iterator[None]:
    """Run a daemon; its log is in the pipeline's folder."""
    log = opened.settings.pipeline_home / f"daemon-{number}.log"
    command = [sys.executable, "-m", "dagster._daemon", "run", *_WORKSPACE]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _ends_of_runs(opened: Pipeline) -> list[dg.DagsterRunStatus]:
    """Wait until all runs of the job have ended, and return how."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        runs = opened.instance.get_runs(dg.RunsFilter(job_name="submit_orders"))
        if len(runs) == 2 * ASKED and all(run.is_finished for run in runs):
            return [run.status for run in runs]
        time.sleep(0.5)
    pytest.fail("the runs did not end")
