"""Connections of Dagster's storages that are kept open."""

from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage

STATEMENT_TIMEOUT_MILLISECONDS = 60_000
RECYCLE_SECONDS = 600
MAX_OVERFLOW = 20


def keep_connections(storage: PostgresEventLogStorage | PostgresRunStorage) -> None:
    """Let a storage keep its connection instead of opening one a question: connecting is what they cost most."""
    storage.optimize_for_webserver(
        statement_timeout=STATEMENT_TIMEOUT_MILLISECONDS, pool_recycle=RECYCLE_SECONDS, max_overflow=MAX_OVERFLOW
    )
