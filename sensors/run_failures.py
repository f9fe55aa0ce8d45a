"""Every failed run, where an operator looks: in the ledger's alerts and in the log; and as a session's explanation."""

from datetime import date

import dagster as dg
import structlog

from resources import LedgerResource
from trading_pipeline.adapters.store.ledger.session_records import Outcome
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.provenance import BACKFILL_TAG, RANGE_TAGS

ORDERS = dg.AssetKey("submitted_orders")
DECIDE_ORDERS = frozenset({"daily_session", "trade_session", "submit_orders"})
"""Jobs that make the orders of a session."""

log = structlog.get_logger(__name__)


def build_run_failures(account: str) -> dg.SensorDefinition:
    """Make the sensor of a deployment that trades this account."""

    @dg.run_failure_sensor(
        name="run_failures",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Records each failed run as an alert, which `trading-pipeline status` lists, and why a session was "
        "not traded where the run would have made its orders.",
    )
    def run_failures(context: dg.RunFailureSensorContext, ledger: LedgerResource) -> None:
        """Write one alert a failed run; the same run is never recorded twice."""
        run = context.dagster_run
        partition = run.tags.get("dagster/partition", "")
        message = context.failure_event.message or "the run failed"
        alerts, key = ledger.ledger.alerts, f"run:{run.run_id}"
        session = _decided(run)
        if session is not None and not alerts.known(key):
            # Before the alert: a crash in between writes it once more, which changes nothing.
            why = f"run {run.run_id} of {run.job_name} failed: {_reason(context) or message}"
            ledger.ledger.session_records.record(account, session, Outcome.FAILED, why, run_id=run.run_id)
        alerts.record(
            key=key,
            kind="run_failed",
            message=f"{run.job_name} {partition}: {message}".strip(),
            detail={"run_id": run.run_id, "job": run.job_name, "session": partition},
        )
        log.error("run failed", run_id=run.run_id, job=run.job_name, session=partition, reason=message)

    return run_failures


def _decided(run: dg.DagsterRun) -> date | None:
    """Return the session whose orders the run would have made, None when it is no such run."""
    partition = run.tags.get("dagster/partition", "")
    makes_orders = run.job_name in DECIDE_ORDERS or ORDERS in (run.asset_selection or ())
    if not makes_orders or not partition or any(tag in run.tags for tag in (BACKFILL_TAG, *RANGE_TAGS)):
        return None
    return xnys().require(partition)


def _reason(context: dg.RunFailureSensorContext) -> str:
    """Return what the failed steps said, the innermost cause of each."""
    said = []
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        said.append(f"{event.step_key}: {error.message.strip() if error else event.message}")
    return "; ".join(said)
