"""Planned events of a range are stored at once, and are the same as stock storage's."""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg
import psycopg

from trading_pipeline.adapters.store.urls import DAGSTER_SCHEMA, sqlalchemy_url
from trading_pipeline.instance.event_log import BatchedEventLogStorage

DAYS = dg.DailyPartitionsDefinition(start_date=datetime(2023, 1, 1))  # noqa: DTZ001 - Dagster's own convention


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def counted() -> None:
    """An asset of many days."""


def test_a_range_plans_and_materialises_every_partition(instance: dg.DagsterInstance, database_url: str) -> None:
    """One planned and one materialised event a day, all findable by their partition."""
    job = dg.Definitions(assets=[counted], jobs=[dg.define_asset_job("range", [counted])]).resolve_job_def("range")
    result = job.execute_in_process(
        instance=instance,
        tags={
            "dagster/asset_partition_range_start": "2023-01-01",
            "dagster/asset_partition_range_end": "2023-03-01",
        },
    )
    assert result.success
    assert 60 == len(instance.get_materialized_partitions(dg.AssetKey("counted")))
    with psycopg.connect(database_url) as connection:
        planned = connection.execute(
            """select count(*), count(distinct partition) from dagster.event_logs
                where dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED'"""
        ).fetchone()
    assert (60, 60) == planned
    assert isinstance(instance.event_log_storage, BatchedEventLogStorage)


def test_the_url_for_sqlalchemy_names_driver_and_schema() -> None:
    """A bare postgresql:// would mean another driver."""
    url = sqlalchemy_url("postgresql://u:p@h:5432/d?sslmode=require", DAGSTER_SCHEMA)
    assert "postgresql+psycopg2://u:p@h:5432/d?sslmode=require&options=-csearch_path%3Ddagster" == url


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("sound", asset="checked")],
)
def checked() -> Iterator[dg.MaterializeResult]:
    """An asset of many days with a check."""
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="sound", passed=True)])


def test_a_range_plans_a_check_for_every_partition_and_keeps_its_answer(
    instance: dg.DagsterInstance, database_url: str
) -> None:
    """A row a partition, each as small as for one partition alone, and the answer of the run beside them."""
    job = dg.Definitions(assets=[checked], jobs=[dg.define_asset_job("range", [checked])]).resolve_job_def("range")
    tags = {"dagster/asset_partition_range_start": "2023-01-01", "dagster/asset_partition_range_end": "2023-03-01"}
    result = job.execute_in_process(instance=instance, tags=tags)
    assert result.success
    with psycopg.connect(database_url) as connection:
        planned = connection.execute(
            """select count(distinct partition), max(length(evaluation_event)) < 5000
                 from dagster.asset_check_executions where partition is not null"""
        ).fetchone()
        logged = connection.execute(
            """select count(*), max(length(event)) < 5000 from dagster.event_logs
                where dagster_event_type = 'ASSET_CHECK_EVALUATION_PLANNED'"""
        ).fetchone()
    assert (60, True) == planned
    assert (1, True) == logged
    key = dg.AssetCheckKey(dg.AssetKey("checked"), "sound")
    summary = instance.event_log_storage.get_asset_check_summary_records([key])[key]
    assert summary.last_completed_check_execution_record is not None
    assert summary.last_completed_check_execution_record.event.get_dagster_event().asset_check_evaluation_data.passed
