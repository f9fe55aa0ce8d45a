"""The schemas that Dagster and MLflow keep their tables in."""

from typing import LiteralString

import psycopg
from psycopg import Connection, sql
from psycopg.rows import TupleRow

from trading_pipeline.adapters.store.urls import DAGSTER_SCHEMA, MLFLOW_SCHEMA, sqlalchemy_url

_UNFINISHED = f"{DAGSTER_SCHEMA}_unfinished"
_LOCK = "select pg_advisory_lock(hashtext('trading_pipeline schemas'))"
_READY = "select exists (select from pg_tables where schemaname = %s) and to_regnamespace(%s) is not null"
_HAS_TABLES = "select exists (select from pg_tables where schemaname = %s)"


def create_schemas(database_url: str) -> None:
    """Create what is missing of them; of many processes at once, one does.

    Dagster creates its tables one by one when a storage is opened first, and takes them for complete from then on:
    a process that was killed meanwhile would leave an instance that fails for ever. So all are made in another schema,
    which gets its name when they are complete.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        if _says_yes(connection, _READY, DAGSTER_SCHEMA, MLFLOW_SCHEMA):
            return
        connection.execute(_LOCK)  # until the connection ends
        connection.execute(_statement("create schema if not exists {}", MLFLOW_SCHEMA))
        if _says_yes(connection, _HAS_TABLES, DAGSTER_SCHEMA):
            return
        connection.execute(_statement("drop schema if exists {} cascade", _UNFINISHED))
        connection.execute(_statement("create schema {}", _UNFINISHED))
        _create_tables(sqlalchemy_url(database_url, _UNFINISHED))
        with connection.transaction():
            connection.execute(_statement("drop schema if exists {}", DAGSTER_SCHEMA))
            connection.execute(_statement("alter schema {} rename to {}", _UNFINISHED, DAGSTER_SCHEMA))


def _says_yes(connection: Connection[TupleRow], question: LiteralString, *names: str) -> bool:
    return connection.execute(question, names).fetchone() == (True,)


def _create_tables(url: str) -> None:
    # Only for a new database: what is imported here costs every command half a second.
    from dagster_postgres.event_log import PostgresEventLogStorage  # noqa: PLC0415
    from dagster_postgres.run_storage import PostgresRunStorage  # noqa: PLC0415
    from dagster_postgres.schedule_storage import PostgresScheduleStorage  # noqa: PLC0415

    for storage in (PostgresRunStorage, PostgresEventLogStorage, PostgresScheduleStorage):
        storage(url, should_autocreate_tables=True).dispose()


def _statement(text: str, *names: str) -> sql.Composed:
    return sql.SQL(text).format(*map(sql.Identifier, names))
