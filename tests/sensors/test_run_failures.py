"""Every failed run becomes one alert that an operator can read, and explains the session it would have traded."""

from datetime import date

import dagster as dg

from resources import LedgerResource
from sensors import build_run_failures
from trading_pipeline.adapters.store.ledger import Ledger, migrate
from trading_pipeline.adapters.store.ledger.session_records import Outcome

SESSION = date(2023, 9, 21)
SENSOR = build_run_failures("test-account")


@dg.op
def broken() -> None:
    """Fail with a sentence."""
    raise dg.Failure("the vendor sent nothing")


@dg.job(tags={"dagster/partition": "2023-09-21"})
def doomed() -> None:
    """A job that cannot succeed."""
    broken()


@dg.job(name="daily_session", tags={"dagster/partition": "2023-09-21"})
def doomed_session() -> None:
    """Named as the job that makes a session's orders."""
    broken()


@dg.job(name="daily_session", tags={"dagster/partition": "2023-09-21", "dagster/backfill": "b"})
def doomed_backfill() -> None:
    """One that never makes orders."""
    broken()


def _fail(job: dg.JobDefinition, database_url: str) -> str:
    """Let a job fail and the sensor look at it twice; return the run's id."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        for _ in range(2):
            with dg.build_run_status_sensor_context(
                sensor_name="run_failures",
                dagster_event=result.get_run_failure_event(),
                dagster_instance=instance,
                dagster_run=result.dagster_run,
                resources={"ledger": LedgerResource(database_url=database_url)},
            ) as context:
                SENSOR(context.for_run_failure())
    return result.run_id


def test_a_failed_run_is_recorded_once_with_its_session(database_url: str) -> None:
    """However often the sensor looks at it; a job that makes no orders explains no session."""
    migrate(database_url)
    run_id = _fail(doomed, database_url)
    with Ledger(database_url) as ledger:
        (alert,) = ledger.alerts.latest()
        assert [] == ledger.session_records.of_sessions("test-account", [SESSION])
    assert f"run:{run_id}" == alert["key"]
    assert alert["message"].startswith("doomed 2023-09-21: ")


def test_a_run_that_failed_before_its_orders_explains_its_session_by_what_failed(database_url: str) -> None:
    """Once, with the step and what it said; a backfill explains nothing."""
    migrate(database_url)
    run_id = _fail(doomed_session, database_url)
    _fail(doomed_backfill, database_url)
    with Ledger(database_url) as ledger:
        (told,) = ledger.session_records.of_sessions("test-account", [SESSION])
    assert (Outcome.FAILED, run_id) == (told.outcome, told.run_id)
    assert f"run {run_id} of daily_session failed: broken: " in told.reason
    assert "the vendor sent nothing" in told.reason


def test_the_sensor_runs_from_the_start() -> None:
    """A failure nobody hears of is none."""
    assert dg.DefaultSensorStatus.RUNNING is SENSOR.default_status
