"""How Dagster's storages of PostgreSQL are opened here, and their connections kept."""

from collections.abc import Mapping
from typing import Any

from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.utils import pg_url_from_config

STATEMENT_TIMEOUT_MILLISECONDS = 60_000
RECYCLE_SECONDS = 600
MAX_OVERFLOW = 20


def keep_connections(storage: PostgresEventLogStorage | PostgresRunStorage) -> None:
    """Let a storage keep its connection instead of opening one a question: connecting is what they cost most."""
    storage.optimize_for_webserver(
        statement_timeout=STATEMENT_TIMEOUT_MILLISECONDS, pool_recycle=RECYCLE_SECONDS, max_overflow=MAX_OVERFLOW
    )


def arguments_of(inst_data: Any, config_value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a storage is built of, from its part of `dagster.yaml`."""
    return {
        "postgres_url": pg_url_from_config(config_value),
        "should_autocreate_tables": config_value.get("should_autocreate_tables", True),
        "inst_data": inst_data,
    }
