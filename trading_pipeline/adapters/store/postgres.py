"""Connections to PostgreSQL: a bounded pool, one transaction a lend, and a COMMIT whose lost answer is looked up."""

import select
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import psycopg
import structlog
from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from trading_pipeline.core.boundaries import BEGIN, COMMIT, COMMITTED, Observer, unobserved
from trading_pipeline.errors import CommitUnknown, PoolExhausted, ServerUnavailable

CONNECT_SECONDS = 10
STATEMENT_MILLISECONDS = 30_000
RESOLVE_SECONDS = 30
"""How long the fate of a transaction whose COMMIT was not answered is asked for."""

_RETRY_SECONDS = 0.2
_OPTIONS = f"-c timezone=UTC -c statement_timeout={STATEMENT_MILLISECONDS}"
_SERVER_IS_GOING = ("57P", "08")
_NOTHING_WRITTEN = ("40", "55P03", "57014")
_CLAIM = "insert into ledger.commits (id, claimed) values (%s, true) on conflict do nothing"
_FATE = "select claimed from ledger.commits where id = %s"

log = structlog.get_logger(__name__)


class Pool(ConnectionPool[Connection[DictRow]]):
    """A pool whose connections give rows as dicts and end in a commit, a rollback or `ServerUnavailable`.

    The last message of a transaction that wrote is "insert its marker, commit". When the answer is lost, the marker is
    claimed on a fresh connection. A marker that is there already proves the commit. One that could be claimed proves
    that the transaction can never commit: its own insert would fail. So the answer is read, never guessed, and
    holds through restarts and fail-overs.
    """

    def __init__(
        self,
        database_url: str,
        *,
        size: int,
        observer: Observer = unobserved,
        wait_seconds: float = CONNECT_SECONDS,
        resolve_seconds: float = RESOLVE_SECONDS,
        options: str = "",
    ) -> None:
        self._database_url = database_url
        self._observer = observer
        self._wait_seconds = wait_seconds
        self._resolve_seconds = resolve_seconds
        self._lent = 0
        self._count = Lock()
        super().__init__(
            database_url,
            min_size=1,
            max_size=size,
            timeout=wait_seconds,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": CONNECT_SECONDS,
                "options": f"{_OPTIONS} {options}".rstrip(),
            },
            open=False,
        )

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[Connection[DictRow]]:
        """Lend a connection for one transaction, which commits when the block ends and rolls back when it raises.

        Raises:
            PoolExhausted: every connection stayed lent for `timeout` seconds; nothing was done.
            CommitUnknown: the answer to the COMMIT was lost and could not be looked up either.
            ServerUnavailable: PostgreSQL did not answer, or went away; nothing of the transaction was written.
        """
        with unavailable():
            self._observer(BEGIN)
            lent = self._begun(self._wait_seconds if timeout is None else timeout)
            try:
                yield lent
                self._observer(COMMIT)
                self._commit(lent)
            except BaseException:
                _roll_back(lent)
                raise
            finally:
                self._give_back(lent)
            self._observer(COMMITTED)

    def rows(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[DictRow]:
        """Run one statement that is a transaction of its own, in one message, and return its rows.

        For reading, and for writers who look up by themselves what became of a lost answer: nothing else does.

        Raises:
            PoolExhausted: every connection stayed lent; nothing was done.
            ServerUnavailable: PostgreSQL did not answer, or went away; what was to be written may be there.
        """
        with unavailable():
            self._observer(BEGIN)
            lent = self._alive(self._wait_seconds)
            try:
                return lent.execute(statement.encode(), parameters).fetchall()
            finally:
                self._give_back(lent)

    def _alive(self, timeout: float) -> Connection[DictRow]:
        """Take a connection of which nothing says that it has died: an idle one has nothing to read but its end."""
        for _ in range(self.max_size):
            lent = self._take(timeout)
            if not _has_ended(lent):
                return lent
            lent.close()
            self._give_back(lent)
        return self._take(timeout)

    def _begun(self, timeout: float) -> Connection[DictRow]:
        # A connection that died while it lay in the pool shows at its first statement: nothing is lost, the next is
        # tried. After as many as the pool can hold, a fresh one has failed.
        for _ in range(self.max_size):
            lent = self._take(timeout)
            try:
                lent.execute("begin")
            except psycopg.OperationalError as error:
                self._give_back(lent)
                log.info("a pooled connection had died; another one is taken", reason=str(error))
            except BaseException:
                self._give_back(lent)
                raise
            else:
                return lent
        lent = self._take(timeout)
        try:
            lent.execute("begin")
        except BaseException:
            self._give_back(lent)
            raise
        return lent

    def _take(self, timeout: float) -> Connection[DictRow]:
        started = time.monotonic()
        try:
            lent = self.getconn(timeout)
        except PoolTimeout as error:
            if self._lent < self.max_size:
                raise
            waited = round(time.monotonic() - started, 1)
            raise PoolExhausted(
                f"all {self.max_size} database connections of this process stayed in use for {waited} s: let fewer"
                " threads use the ledger at once, or give it a larger pool (Ledger(pool_size=...))",
                pool_size=self.max_size,
                waited_seconds=waited,
            ) from error
        with self._count:
            self._lent += 1
        return lent

    def _give_back(self, lent: Connection[DictRow]) -> None:
        with self._count:
            self._lent -= 1
        self.putconn(lent)

    def _commit(self, lent: Connection[DictRow]) -> None:
        if lent.closed:
            raise psycopg.OperationalError("the connection was lost before the commit")
        marker = uuid.uuid4()
        # One message: either all of it arrives, or nothing. A transaction that only read needs no marker.
        message = (
            f"insert into ledger.commits (id, claimed) select '{marker}', false"
            " where pg_current_xact_id_if_assigned() is not null; commit"
        )
        try:
            lent.execute(message.encode())
        except psycopg.OperationalError as error:
            if not _lost(lent, error):
                raise
            self._look_up(marker, error)

    def _look_up(self, marker: uuid.UUID, lost: psycopg.OperationalError) -> None:
        if self._claim(marker, lost):
            raise ServerUnavailable(
                f"the connection to PostgreSQL was lost at COMMIT ({_line(lost)}); a look-up shows that nothing was"
                " written: try again",
                committed=False,
                marker=str(marker),
            ) from lost
        log.warning("the answer to a COMMIT was lost; a look-up shows that it was done", marker=str(marker))

    def _claim(self, marker: uuid.UUID, lost: psycopg.OperationalError) -> bool:
        """Take the marker on a fresh connection and tell whether it is ours: then the transaction never commits.

        The insert waits for a transaction that holds the marker and is still committing.
        """
        deadline = time.monotonic() + self._resolve_seconds
        while True:
            try:
                with psycopg.connect(
                    self._database_url, autocommit=True, connect_timeout=CONNECT_SECONDS, options=_OPTIONS
                ) as fresh:
                    fresh.execute(_CLAIM, (marker,))
                    row = fresh.execute(_FATE, (marker,)).fetchone()
                return row is None or bool(row[0])
            except psycopg.OperationalError as error:
                if time.monotonic() >= deadline:
                    raise CommitUnknown(
                        f"the connection to PostgreSQL was lost at COMMIT ({_line(lost)}), and the server could not be"
                        f" asked for {self._resolve_seconds} s ({_line(error)}): whether the change was written is"
                        f" unknown; when the server is back, marker {marker} in ledger.commits with claimed = false"
                        " says that it was, no row that it was not",
                        marker=str(marker),
                    ) from error
                time.sleep(_RETRY_SECONDS)


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn what psycopg raises about a server that is not there, or gave up, into `ServerUnavailable`."""
    try:
        yield
    except psycopg.OperationalError as error:
        if (error.sqlstate or "").startswith(_NOTHING_WRITTEN):
            raise ServerUnavailable(
                f"PostgreSQL gave up on a statement ({_line(error)}); nothing was written: try again",
                sqlstate=error.sqlstate,
            ) from error
        raise ServerUnavailable(f"PostgreSQL did not answer: {error}; check DATABASE_URL and the server") from error


def _has_ended(lent: Connection[DictRow]) -> bool:
    if lent.closed:
        return True
    waiting = select.poll()
    waiting.register(lent.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def _lost(lent: Connection[DictRow], error: psycopg.OperationalError) -> bool:
    """Tell a connection that is gone from a server that answered with an error, which is a rollback."""
    return lent.closed or error.sqlstate is None or error.sqlstate.startswith(_SERVER_IS_GOING)


def _roll_back(lent: Connection[DictRow]) -> None:
    if lent.closed or lent.info.transaction_status is TransactionStatus.IDLE:
        return
    try:
        lent.execute("rollback")
    except psycopg.Error as error:
        log.info("a rollback could not be sent; the server does it by itself", reason=_line(error))
        lent.close()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
