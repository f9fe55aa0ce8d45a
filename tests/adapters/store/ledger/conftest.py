"""A migrated ledger on a database of the test's own."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.rows import dict_row

from trading_pipeline.adapters.store.ledger import Ledger, migrate


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """The ledger."""
    migrate(database_url)
    with Ledger(database_url) as opened:
        yield opened


class Intruder:
    """Somebody with the rights of the owner, who switches the triggers off before the first attack."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._let_in = False

    def execute(self, statement: str) -> psycopg.Cursor:
        """Run a statement no honest program would."""
        if not self._let_in:
            tables = self._connection.execute("select tablename from pg_tables where schemaname = 'ledger'").fetchall()
            for table in tables:
                self._connection.execute(f"alter table ledger.{table['tablename']} disable trigger user")
            self._let_in = True
        return self._connection.execute(statement)


@pytest.fixture
def intruder(ledger: Ledger, database_url: str) -> Iterator[Intruder]:
    """An intruder."""
    del ledger
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        yield Intruder(connection)
