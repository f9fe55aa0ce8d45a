"""Runs are kept over a connection that stays open, and are what stock storage reads."""

import dagster as dg
from dagster_postgres.run_storage import PostgresRunStorage
from sqlalchemy import text

from trading_pipeline.instance.run_storage import PooledRunStorage


@dg.op
def nothing() -> None:
    """An op that succeeds."""


@dg.job
def done() -> None:
    """A job that succeeds."""
    nothing()


def test_questions_share_a_connection(instance: dg.DagsterInstance) -> None:
    """The second one is answered by the server process that answered the first."""
    storage = _storage(instance)
    answers = set()
    for _ in range(3):
        with storage.connect() as connection:
            answers.add(connection.execute(text("select pg_backend_pid()")).scalar_one())
    assert 1 == len(answers)


def test_stock_storage_reads_the_same_run(instance: dg.DagsterInstance) -> None:
    """State, start and end are those that a run leaves with Dagster's own class."""
    run_id = done.execute_in_process(instance=instance).run_id
    storage = _storage(instance)
    (ours,) = storage.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    stock = PostgresRunStorage(storage.postgres_url, should_autocreate_tables=False)
    (theirs,) = stock.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    assert ours == theirs
    assert dg.DagsterRunStatus.SUCCESS == ours.dagster_run.status
    assert ours.start_time is not None
    assert ours.end_time is not None


def _storage(instance: dg.DagsterInstance) -> PooledRunStorage:
    storage = instance.run_storage
    assert isinstance(storage, PooledRunStorage)
    return storage
