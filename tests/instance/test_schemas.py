"""Dagster's tables are all there or none, whoever was killed or came at the same time."""

from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

import psycopg
import pytest
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from sqlalchemy import MetaData
from support.dying import Crash

from trading_pipeline.adapters.store.urls import DAGSTER_SCHEMA, sqlalchemy_url
from trading_pipeline.instance.schemas import create_schemas


def _tables(database_url: str) -> dict[str, int]:
    """Count the tables of each schema of Dagster's."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select schemaname, count(*) from pg_tables where schemaname like 'dagster%' group by 1"
        ).fetchall()
    return dict(rows)


def _complete(database_url: str) -> bool:
    """Whether Dagster finds all it wants without creating anything."""
    url = sqlalchemy_url(database_url, DAGSTER_SCHEMA)
    events = PostgresEventLogStorage(url, should_autocreate_tables=False)
    runs = PostgresRunStorage(url, should_autocreate_tables=False)
    schedules = PostgresScheduleStorage(url, should_autocreate_tables=False)
    indexed = events.has_secondary_index("asset_key_index_columns") and runs.has_built_index("bulk_action_types")
    revisions = [one.alembic_version() for one in (events, runs, schedules)]
    return events.supports_asset_checks and indexed and all(at is not None and at == to for at, to in revisions)


@pytest.mark.parametrize("table", ["runs", "bulk_actions", "event_logs", "asset_check_executions", "job_ticks", None])
def test_tables_of_a_process_that_died_are_made_anew(
    table: str | None, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them counts until all are there."""
    whole = MetaData.create_all
    died = []

    def dies(self: MetaData, *arguments: object, **named: object) -> None:
        before = [*takewhile(lambda one: one.name != table, self.sorted_tables)]
        whole(self, *arguments, tables=before, **named)  # type: ignore[arg-type]
        if len(before) < len(self.sorted_tables) or table is None:
            died.append(table)
            raise Crash(table)

    with monkeypatch.context() as dying:
        dying.setattr(MetaData, "create_all", dies)
        with pytest.raises(Crash):
            create_schemas(database_url)
    assert [table] == died
    assert DAGSTER_SCHEMA not in _tables(database_url)
    create_schemas(database_url)
    assert _complete(database_url)
    assert [DAGSTER_SCHEMA] == list(_tables(database_url))


def test_an_empty_schema_of_before_is_filled(database_url: str) -> None:
    """Earlier versions created the schema alone and left the tables to Dagster."""
    with psycopg.connect(database_url) as connection:
        connection.execute("create schema dagster")
    create_schemas(database_url)
    assert _complete(database_url)


def test_a_schema_that_somebody_dropped_is_made_again(database_url: str) -> None:
    """Dagster's tables stay as they are meanwhile."""
    create_schemas(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("drop schema mlflow")
    create_schemas(database_url)
    with psycopg.connect(database_url) as connection:
        assert ("mlflow",) == connection.execute("select to_regnamespace('mlflow')::text").fetchone()
    assert _complete(database_url)


def test_of_many_processes_at_once_one_creates_them(database_url: str) -> None:
    """The others wait, and find them."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create_schemas, [database_url] * 4))
    assert _complete(database_url)
    before = _tables(database_url)
    create_schemas(database_url)
    assert before == _tables(database_url)
