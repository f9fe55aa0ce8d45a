"""Alerts: what an operator should know."""

from collections.abc import Mapping
from typing import Any

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.postgres import Pool


class Alerts:
    """Statements about `ledger.alerts`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(self, *, key: str, kind: str, message: str, detail: Mapping[str, Any]) -> None:
        """Write an alert; one whose key is known is left as it is."""
        with self._pool.connection() as connection:
            connection.execute(
                """insert into ledger.alerts (key, kind, message, detail) values (%s, %s, %s, %s)
                   on conflict (key) do nothing""",
                (key, kind, message, Jsonb(dict(detail))),
            )

    def latest(self, limit: int = 10) -> list[DictRow]:
        """Return the newest alerts, newest first."""
        with self._pool.connection() as connection:
            return connection.execute("select * from ledger.alerts order by at desc limit %s", (limit,)).fetchall()
