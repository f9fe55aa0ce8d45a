"""The processes of a run: the product's commands, jobs and services at the run's time, each one that can be killed.

They are forked from one that has imported everything, so that a start costs no imports.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import dagster as dg

from support.pipeline import QUIET, errors_of
from support.shared_time import SharedTime
from trading_pipeline.adapters.alpaca.transport import AlpacaReader, Bounds
from trading_pipeline.adapters.broker.alpaca import opening
from trading_pipeline.adapters.broker.alpaca.writer import AlpacaWriter
from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.cli import main as command_line
from trading_pipeline.cli.runtime import opened_account
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.definitions import build_definitions
from trading_pipeline.errors import PipelineError, TransientError
from trading_pipeline.services import stream as stream_service
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.stream import Pace
from trading_pipeline.services.sweep import sweep
from trading_pipeline.settings import load_settings

ACTION = OperatorAction(operator="schedule", reason="what a schedule does in a session")
_BETWEEN_SWEEPS = 0.3
_BOUNDS = Bounds(connect_seconds=1, read_seconds=0.7, total_seconds=1.2, attempts=4, budget_patience_seconds=5)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every process of a run needs to know."""

    environment: dict[str, str]
    folder: Path
    database_url: str

    @property
    def time(self) -> SharedTime:
        """The run's time."""
        return SharedTime(self.folder / "time", self.database_url)


Work = Callable[..., int]


def start(setup: Setup, work: Work, *arguments: object) -> ForkServerProcess:
    """Start a process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.paper.warmed"])
    with _modules_to_be_found():
        process = context.Process(target=_run, args=(setup, work, arguments), name=work.__name__, daemon=True)
        process.start()
    return process


@contextmanager
def _modules_to_be_found() -> Iterator[None]:
    """Tell the process that is forked from where modules are: until Python 3.12 it is not given our path."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def initialise() -> int:
    """Begin the risk book."""
    settings = load_settings()
    with opened_account(settings, dict(os.environ)) as account:
        RiskOperations(account).initialize_risk_book(settings.limits, ACTION)
    return 0


def submit(session: date) -> int:
    """Run the job that submits a session's orders."""
    return _job("submit_orders", partition_key=session.isoformat())


def close_session() -> int:
    """Run the job of the evening: restate, sweep, cancel what is left, tie out."""
    said = {"operator": ACTION.operator, "reason": ACTION.reason}
    return _job("close_session", ops={"close_session": {"config": said}})


def look() -> int:
    """Sweep and reconcile, once each."""
    settings = load_settings()
    with opened_account(settings, dict(os.environ)) as account:
        sweep(account)
        reconcile(account, ACTION)
    return 0


def sweep_on() -> int:
    """Sweep again and again, as the sensor does."""
    settings = load_settings()
    while True:
        try:
            with opened_account(settings, dict(os.environ)) as account:
                while True:
                    sweep(account)
                    time.sleep(_BETWEEN_SWEEPS)
        except TransientError:
            time.sleep(_BETWEEN_SWEEPS)


def stream() -> int:
    """Run `trading-pipeline stream`."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.argv = ["trading-pipeline", "stream"]
    command_line()
    return 0


def _job(name: str, *, partition_key: str | None = None, **config: object) -> int:
    with dg.DagsterInstance.get() as instance:
        job = build_definitions(load_settings()).resolve_job_def(name)
        result = job.execute_in_process(
            instance=instance, partition_key=partition_key, run_config=QUIET | config, raise_on_error=False
        )
    sys.stderr.write(f"{name}: {errors_of(result) or 'done'}\n")
    return 0 if result.success else 1


def _run(setup: Setup, work: Work, arguments: tuple[object, ...]) -> None:
    os.environ.update(setup.environment)
    log = os.open(setup.folder / f"{work.__name__}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    _at_the_time_of(setup.time)
    try:
        sys.exit(work(*arguments))
    except PipelineError as error:
        os.write(log, f"{work.__name__}: {type(error).__name__}: {error}\n".encode())
        sys.exit(1)


def _at_the_time_of(clock: SharedTime) -> None:
    """Put the run's time where the product asks the machine, and shorten what it would wait for."""
    SystemClock.now = lambda _: clock.now()  # type: ignore[method-assign]
    SystemClock.pause = lambda _, duration: clock.pause(duration)  # type: ignore[method-assign]
    opening.READ_BOUNDS = _BOUNDS  # type: ignore[misc]
    AlpacaWriter.__init__.__kwdefaults__["bounds"] = _BOUNDS  # type: ignore[misc]
    AlpacaReader.__init__.__kwdefaults__["sleep"] = clock.advance  # type: ignore[misc]
    stream_service.Pace = partial(Pace, look=0.05, sweep=3.0, first_wait=0.05, longest_wait=0.3)  # type: ignore[misc,assignment]
