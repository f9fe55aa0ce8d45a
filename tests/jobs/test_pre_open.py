"""The job of the checks before the open shows its table, also when it fails."""

from pathlib import Path

import dagster as dg
import polars as pl
from support.session_lake import session_lake
from support.trading import ACTION, SESSION, trading_kit
from support.trading_resource import trading_resource

from resources import LakeResource
from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.jobs import CHECK_JOBS


def test_the_table_of_checks_is_shown_and_a_failed_one_fails_the_run(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """A kill switch between two runs, as a table with what to do."""
    lake = session_lake(tmp_path)
    lake.write(Dataset.FEATURES, pl.DataFrame({"session": [SESSION], "symbol": ["AAPL"]}), sessions=[SESSION])
    (job,) = (one for one in CHECK_JOBS if one.name == "pre_open_checks")
    resources = {
        "trading": trading_resource(database_url, redis_url, tmp_path),
        "lake": LakeResource(root=str(tmp_path)),
    }
    with trading_kit(database_url, redis_url) as kit, dg.DagsterInstance.ephemeral() as instance:
        sound = job.execute_in_process(resources=resources, instance=instance)
        assert sound.success
        kit.operations.engage_kill_switch(ACTION)
        failed = job.execute_in_process(resources=resources, instance=instance, raise_on_error=False)
    assert not failed.success
    (event,) = failed.get_step_failure_events()
    told = event.step_failure_data.user_failure_data
    assert told is not None
    rows = {row.data["check"]: row.data for row in told.metadata["checks"].records}
    assert "FAILED" == rows["risk book"]["result"]
    assert "kill_switch_engaged" in str(rows["risk book"]["found"])
    assert "passed" == rows["tie-out"]["result"]
    assert rows["risk book"]["remedy"]
    assert not rows["tie-out"]["remedy"]
