"""Connections to PostgreSQL: pooled, bounded in time, and with one word for a server that does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from trading_pipeline.core.boundaries import BEGIN, COMMIT, COMMITTED, Observer, unobserved
from trading_pipeline.errors import ServerUnavailable

CONNECT_SECONDS = 10
STATEMENT_MILLISECONDS = 30_000


class Pool(ConnectionPool[Connection[DictRow]]):
    """A pool whose connections give rows as dicts and end in a commit, a rollback or `ServerUnavailable`."""

    def __init__(self, database_url: str, *, size: int, observer: Observer = unobserved) -> None:
        self._observer = observer
        super().__init__(
            database_url,
            min_size=1,
            max_size=size,
            timeout=CONNECT_SECONDS,
            kwargs={
                "row_factory": dict_row,
                "connect_timeout": CONNECT_SECONDS,
                "options": f"-c timezone=UTC -c statement_timeout={STATEMENT_MILLISECONDS}",
            },
            open=False,
        )

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[Connection[DictRow]]:
        """Lend a connection for one transaction.

        Raises:
            ServerUnavailable: PostgreSQL did not answer, or went away; the transaction may or may not have committed.
        """
        with unavailable():
            self._observer(BEGIN)
            with super().connection(timeout) as lent:
                yield lent
                self._observer(COMMIT)
            self._observer(COMMITTED)


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn what psycopg raises about a server that is not there into `ServerUnavailable`."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise ServerUnavailable(f"PostgreSQL did not answer: {error}; check DATABASE_URL and the server") from error
