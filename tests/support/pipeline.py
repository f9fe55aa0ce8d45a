"""A small but whole pipeline: real Dagster on the test's own database, the bundled sample, one trained model."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import redis

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.ledger import migrate
from trading_pipeline.cli.runtime import opened_account
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.sessions import xnys
from trading_pipeline.definitions import build_definitions
from trading_pipeline.instance.home import prepare_dagster_home
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.settings import Settings

LAST = date(2023, 9, 21)
HISTORY = (date(2022, 1, 3), LAST)
ACTION = OperatorAction(operator="ada", reason="the reason a test has to act")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Pipeline:
    """Definitions with the instance they run on."""

    settings: Settings
    environment: dict[str, str]
    instance: dg.DagsterInstance
    defs: dg.Definitions

    @property
    def lake(self) -> Lake:
        """The lake."""
        return Lake(self.settings.lake_root)

    def run(
        self, job: str, *, tags: dict[str, str] | None = None, session: date | None = None, **ops: dict[str, object]
    ) -> dg.ExecuteInProcessResult:
        """Run a job in this process without raising; operator configuration goes by op name."""
        config = QUIET | ({"ops": {name: {"config": values} for name, values in ops.items()}} if ops else {})
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=tags,
            partition_key=session.isoformat() if session else None,
            run_config=config,
            raise_on_error=False,
        )

    def run_range(self, job: str, first: date, last: date) -> dg.ExecuteInProcessResult:
        """Run a job over a range of sessions in one run."""
        return self.run(
            job,
            tags={
                "dagster/asset_partition_range_start": first.isoformat(),
                "dagster/asset_partition_range_end": last.isoformat(),
            },
        )

    def metadata(self, asset: str, session: date) -> dict[str, object]:
        """Return the metadata of an asset's newest materialisation of a session."""
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[session.isoformat()]), limit=1
        ).records
        materialization = records[0].asset_materialization
        assert materialization is not None
        return {name: value.value for name, value in materialization.metadata.items()}

    @contextmanager
    def account(self) -> Iterator[TradingAccount]:
        """Open the trading account."""
        with opened_account(self.settings, self.environment) as account:
            yield account


@contextmanager
def pipeline(home: Path, database_url: str, redis_url: str, **settings: object) -> Iterator[Pipeline]:
    """Give a pipeline in an empty folder with an initialised risk book."""
    configured = Settings(_env_file=None, pipeline_home=home, **settings)
    migrate(database_url)
    with redis.Redis.from_url(redis_url) as client:  # the server outlives the pipelines of other files
        client.flushall()
    environment = prepare_dagster_home(home, database_url, redis_url)
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with dg.DagsterInstance.get() as instance:
            opened = Pipeline(
                settings=configured, environment=environment, instance=instance, defs=build_definitions(configured)
            )
            with opened.account() as account:
                RiskOperations(account).initialize_risk_book(configured.limits, ACTION)
            yield opened
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def errors_of(result: dg.ExecuteInProcessResult) -> str:
    """Return what the failed steps of a run said, or why it failed as a whole; nothing for a success."""
    failures = result.filter_events(lambda one: one.is_step_failure) or result.filter_events(lambda one: one.is_failure)
    messages: list[str] = []
    for event in failures:
        error = event.event_specific_data.error
        while error is not None:
            messages.append(error.message)
            error = error.cause
    return " ".join(messages)


def last_sessions(count: int) -> list[date]:
    """Return the newest sessions of the sample."""
    return [xnys().shift(LAST, -back) for back in range(count - 1, -1, -1)]
