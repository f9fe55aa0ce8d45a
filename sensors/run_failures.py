"""Every failed run, where an operator looks: in the ledger's alerts and in the log."""

import dagster as dg
import structlog

from resources import LedgerResource

log = structlog.get_logger(__name__)


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Records each failed run as an alert: `trading-pipeline status` lists them.",
)
def run_failures(context: dg.RunFailureSensorContext, ledger: LedgerResource) -> None:
    """Write one alert a failed run; the same run is never recorded twice."""
    run = context.dagster_run
    partition = run.tags.get("dagster/partition", "")
    message = context.failure_event.message or "the run failed"
    ledger.ledger.alerts.record(
        key=f"run:{run.run_id}",
        kind="run_failed",
        message=f"{run.job_name} {partition}: {message}".strip(),
        detail={"run_id": run.run_id, "job": run.job_name, "session": partition},
    )
    log.error("run failed", run_id=run.run_id, job=run.job_name, session=partition, reason=message)
