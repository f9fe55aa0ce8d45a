"""The ledger as one object: a connection pool and the groups of statements that use it."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from psycopg.errors import LockNotAvailable
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.alerts import Alerts
from trading_pipeline.adapters.store.ledger.books import Books
from trading_pipeline.adapters.store.ledger.cash import Cash
from trading_pipeline.adapters.store.ledger.chains import Chains
from trading_pipeline.adapters.store.ledger.cleared import Cleared
from trading_pipeline.adapters.store.ledger.externals import Externals
from trading_pipeline.adapters.store.ledger.fills import Fills
from trading_pipeline.adapters.store.ledger.inbox import Inbox
from trading_pipeline.adapters.store.ledger.monitors import Monitors
from trading_pipeline.adapters.store.ledger.orders import Orders
from trading_pipeline.adapters.store.ledger.restatements import Restatements
from trading_pipeline.adapters.store.ledger.seals import Seals
from trading_pipeline.adapters.store.ledger.sending import Sending
from trading_pipeline.adapters.store.ledger.session_records import SessionRecords
from trading_pipeline.adapters.store.ledger.slices import Slices
from trading_pipeline.adapters.store.ledger.tie_outs import TieOuts
from trading_pipeline.adapters.store.postgres import CONNECT_SECONDS, Pool, unavailable
from trading_pipeline.core.boundaries import Observer, unobserved
from trading_pipeline.errors import ServerUnavailable

LANE_SECONDS = 60


class Ledger:
    """Use as a context manager, or call `close`. Every public method of its parts is one transaction."""

    def __init__(self, database_url: str, *, pool_size: int = 4, observer: Observer = unobserved) -> None:
        self._pool = Pool(database_url, size=pool_size, observer=observer)
        self.orders = Orders(self._pool)
        self.fills = Fills(self._pool)
        self.books = Books(self._pool)
        self.cash = Cash(self._pool)
        self.chains = Chains(self._pool)
        self.cleared = Cleared(self._pool)
        self.externals = Externals(self._pool)
        self.alerts = Alerts(self._pool)
        self.inbox = Inbox(self._pool)
        self.sending = Sending(self._pool)
        self.monitors = Monitors(self._pool)
        self.restatements = Restatements(self._pool)
        self.seals = Seals(self._pool)
        self.slices = Slices(self._pool)
        self.session_records = SessionRecords(self._pool)
        self.tie_outs = TieOuts(self._pool)

    def open(self) -> Self:
        """Connect.

        Raises:
            ServerUnavailable: PostgreSQL did not answer in time.
        """
        try:
            with unavailable():
                self._pool.open(wait=True, timeout=CONNECT_SECONDS)
        except ServerUnavailable:
            self._pool.close()
            raise
        return self

    def close(self) -> None:
        """Give the connections back."""
        self._pool.close()

    @contextmanager
    def lane(self, account: str, *, seconds: int = LANE_SECONDS) -> Iterator[None]:
        """Hold the account for a series of steps that must not mix: settling, rebalancing, cancelling, rebuilding.

        Halts do not wait for it. The lock is PostgreSQL's and ends with its connection, so a killed process frees it.

        Raises:
            ServerUnavailable: another process held the account for too long.
        """
        with self._pool.connection() as connection:
            connection.execute("set local statement_timeout = 0")
            connection.execute(f"set local lock_timeout = '{seconds}s'".encode())
            try:
                connection.execute("select pg_advisory_xact_lock(hashtext('lane'), hashtext(%s))", (account,))
            except LockNotAvailable as busy:
                raise ServerUnavailable(
                    f"another process has been working on account {account} for over {seconds} s: try again",
                    account=account,
                ) from busy
            # A plain message ends the one before it, whose snapshot would keep every dead row of the database as long
            # as the lane is held: those of the head of the chain, which each sealed row changes, cost the most.
            connection.execute("set local lock_timeout = 0")
            yield

    def query(self, sql: str, **parameters: Any) -> list[DictRow]:
        """Run one read-only statement with named parameters and return its rows as dicts."""
        with self._pool.connection() as connection:
            # Within a savepoint: the commit that follows must be allowed to write its marker.
            connection.execute("savepoint query; set transaction read only")
            rows = connection.execute(sql.encode(), parameters).fetchall()
            connection.execute("rollback to savepoint query")
            return rows

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
