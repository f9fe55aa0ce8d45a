"""`trading-pipeline run`: from an empty folder to filled orders, phase by phase, resuming where it stopped."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date

import dagster as dg
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.cli.console import out
from trading_pipeline.cli.runtime import opened_account
from trading_pipeline.cli.summary import print_summary
from trading_pipeline.core.manifest import insufficient_sessions
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.sessions import xnys
from trading_pipeline.definitions import build_resources, defs
from trading_pipeline.errors import BarsUnavailable, InsufficientFreshness, PipelineError, TradingHalted
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.status import read_status
from trading_pipeline.settings import Settings

CHUNK = 540
"""Sessions a run of the history backfill: a handful of runs, so that progress is seen and a crash loses little."""

SHOWN = 10
"""Sessions named in a message."""
WHY = "select session, symbol, detail from quarantined_bars"

OPERATOR = "trading-pipeline run"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(slots=True)
class PipelineRun:
    """One call of `run`: what it works with and what it did."""

    settings: Settings
    environment: dict[str, str]
    instance: dg.DagsterInstance
    progress: Progress
    done: dict[str, float] = field(default_factory=dict)
    unfit: list[date] = field(default_factory=list)
    """Sessions without features: too few of their symbols had a good bar."""

    @contextmanager
    def phase(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a phase with its progress; give the function that moves it on."""
        task = self.progress.add_task(title, total=total)
        started = time.monotonic()
        yield lambda steps: self.progress.advance(task, steps)
        self.done[title] = time.monotonic() - started

    def execute(self, job: str, *, tags: dict[str, str] | None = None, partition_key: str | None = None) -> None:
        """Run a job in this process.

        Raises:
            PipelineError: a step failed; the error is the step's own where it is one of ours.
        """
        result = defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, partition_key=partition_key, run_config=QUIET, raise_on_error=True
        )
        if not result.success:
            raise PipelineError(f"job {job} failed: see run {result.run_id} in the UI", run_id=result.run_id)

    def materialised(self, asset: str) -> set[date]:
        """Return the sessions of an asset that were materialised."""
        return {date.fromisoformat(key) for key in self.instance.get_materialized_partitions(dg.AssetKey(asset))}


def run_everything(settings: Settings, environment: dict[str, str], count: int) -> None:
    """Run all phases and print the summary.

    Raises:
        BarsUnavailable: the source has fewer sessions than are to be traded.
        TradingHalted: the risk book is missing or halted; an operator must act first.
    """
    sessions = _covered_sessions(settings)
    if len(sessions) <= count:
        raise BarsUnavailable(f"the source covers {len(sessions)} sessions: too few to train and trade {count} of them")
    # Meant so: the job that makes orders runs one session at a time, the others any range.
    warnings.filterwarnings("ignore", message="Asset job .* materializes assets with varying")
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with dg.DagsterInstance.get() as instance, Progress(*columns, console=out) as progress:
        run = PipelineRun(settings=settings, environment=environment, instance=instance, progress=progress)
        _initialise(run)
        _backfill(run, sessions)
        _train(run)
        _trade(run, sessions[-count:])
    with opened_account(settings, environment) as account:
        print_summary(account, sessions[-count:], run.done)
    if run.unfit:
        shown = ", ".join(map(str, run.unfit[:SHOWN])) + (", ..." if len(run.unfit) > SHOWN else "")
        out.print(f"{len(run.unfit)} session(s) have no features, as too few symbols had a good bar: {shown}")
        out.print(f"why: trading-pipeline sql '{WHY}'")


def _covered_sessions(settings: Settings) -> list[date]:
    source = build_resources(settings)["market_data"].source()
    coverage = source.coverage()
    if coverage is None:
        raise BarsUnavailable("no source has any bars: import a file with `trading-pipeline import-bars FILE`")
    return xnys().between(*coverage)


def _initialise(run: PipelineRun) -> None:
    with opened_account(run.settings, run.environment) as account:
        if account.ledger.books.get(account.account).epoch:
            return
        with run.phase("risk book initialised", 1) as advance:
            action = OperatorAction(operator=OPERATOR, reason="first run of a new account")
            RiskOperations(account).initialize_risk_book(run.settings.limits, action)
            advance(1)


def _backfill(run: PipelineRun, sessions: Sequence[date]) -> None:
    """Load what is not there yet. Sessions that are not fit to use are named in the end and stop only themselves."""
    run.unfit = _unfit(run, sessions)
    done = run.materialised("raw_bars") & run.materialised("bars") & {*run.materialised("features"), *run.unfit}
    missing = [session for session in sessions if session not in done]
    if not missing:
        return
    with run.phase("bars and features", len(missing)) as advance:
        for first, last in _ranges(missing):
            with suppress(InsufficientFreshness):
                run.execute(
                    "history",
                    tags={
                        "dagster/asset_partition_range_start": first.isoformat(),
                        "dagster/asset_partition_range_end": last.isoformat(),
                    },
                )
            advance(len(xnys().between(first, last)))
    run.unfit = _unfit(run, sessions)


def _unfit(run: PipelineRun, sessions: Sequence[date]) -> list[date]:
    lake = Lake(run.settings.lake_root)
    if not lake.sessions(Dataset.FRESHNESS, start=sessions[0], end=sessions[-1]):
        return []
    columns = ["session", "session_usable"]
    return insufficient_sessions(lake.read(Dataset.FRESHNESS, start=sessions[0], end=sessions[-1], columns=columns))


def _train(run: PipelineRun) -> None:
    if run.instance.get_latest_materialization_event(dg.AssetKey("model")) is not None:
        return
    with run.phase("model trained and registered", 1) as advance:
        run.execute("train_model")
        advance(1)


def _trade(run: PipelineRun, sessions: Sequence[date]) -> None:
    done = run.materialised("pnl") & run.materialised("submitted_orders")
    waiting = [session for session in sessions if session not in done]
    if not waiting:
        return
    with run.phase("sessions traded", len(waiting)) as advance:
        for session in waiting:
            _require_trading(run)
            run.execute("trade_session", partition_key=session.isoformat())
            advance(1)


def _require_trading(run: PipelineRun) -> None:
    with opened_account(run.settings, run.environment) as account:
        status = read_status(account)
    if not status.healthy:
        facts = ", ".join(f"{row['what']} {row['value']}" for row in status.trading)
        raise TradingHalted(f"the account cannot trade now: {facts}. See `trading-pipeline status`, then run again")


def _ranges(sessions: Sequence[date]) -> list[tuple[date, date]]:
    """Cut sessions into runs of neighbours of at most CHUNK."""
    ranges: list[list[date]] = []
    for session in sessions:
        if ranges and len(ranges[-1]) < CHUNK and xnys().next(ranges[-1][-1]) == session:
            ranges[-1].append(session)
        else:
            ranges.append([session])
    return [(part[0], part[-1]) for part in ranges]
