"""Every failed run becomes one alert that an operator can read."""

import dagster as dg

from resources import LedgerResource
from sensors import run_failures
from trading_pipeline.adapters.store.ledger import Ledger, migrate


@dg.op
def broken() -> None:
    """Fail with a sentence."""
    raise dg.Failure("the vendor sent nothing")


@dg.job(tags={"dagster/partition": "2023-09-21"})
def doomed() -> None:
    """A job that cannot succeed."""
    broken()


def test_a_failed_run_is_recorded_once_with_its_session(database_url: str) -> None:
    """However often the sensor looks at it."""
    migrate(database_url)
    with dg.DagsterInstance.ephemeral() as instance:
        result = doomed.execute_in_process(instance=instance, raise_on_error=False)
        for _ in range(2):
            with dg.build_run_status_sensor_context(
                sensor_name="run_failures",
                dagster_event=result.get_run_failure_event(),
                dagster_instance=instance,
                dagster_run=result.dagster_run,
                resources={"ledger": LedgerResource(database_url=database_url)},
            ) as context:
                run_failures(context.for_run_failure())
    with Ledger(database_url) as ledger:
        (alert,) = ledger.alerts.latest()
    assert f"run:{result.run_id}" == alert["key"]
    assert alert["message"].startswith("doomed 2023-09-21: ")


def test_the_sensor_runs_from_the_start() -> None:
    """A failure nobody hears of is none."""
    assert dg.DefaultSensorStatus.RUNNING is run_failures.default_status
