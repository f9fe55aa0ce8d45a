"""The pool: bounded, and sure of what it committed, on a real PostgreSQL behind a line that is cut at the commit."""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
from support.line import Line, Passage, line_to
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from trading_pipeline.adapters.store.ledger import migrate
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.boundaries import COMMIT, COMMITTED
from trading_pipeline.embedded import embedded_servers, stop_embedded
from trading_pipeline.errors import CommitUnknown, PoolExhausted, ServerUnavailable

_WRITE = "insert into ledger.alerts (key, kind, message) values ('one', 'test', 'written')"


@contextmanager
def _pool(url: str, **settings: object) -> Iterator[Pool]:
    pool = Pool(url, size=2, **settings)
    pool.open(wait=True, timeout=10)
    try:
        yield pool
    finally:
        pool.close()


@pytest.fixture
def url(database_url: str) -> str:
    """A database with the ledger's tables."""
    migrate(database_url)
    return database_url


@pytest.fixture
def line(url: str) -> Iterator[tuple[Line, str]]:
    """A line to it."""
    with line_to(url) as opened:
        yield opened


def _write(pool: Pool, then: Callable[[psycopg.Connection], object] = lambda _: None) -> None:
    with pool.connection() as connection:
        connection.execute(_WRITE)
        then(connection)


def _borrow(pool: Pool) -> None:
    with pool.connection(timeout=0.05):
        pass


@retry(retry=retry_if_exception_type(psycopg.OperationalError), stop=stop_after_delay(60), wait=wait_fixed(0.1))
def _written(url: str) -> int:
    """Ask again where the question meets a server that is only about to notice its crash."""
    with psycopg.connect(url) as connection:
        return connection.execute("select count(*) from ledger.alerts").fetchone()[0]


def _cut_before(passage: Passage) -> None:
    passage.leave_client()
    passage.leave_server()


def _cut_after(passage: Passage) -> None:
    passage.forward()
    passage.await_answer()
    _cut_before(passage)


def test_a_commit_whose_answer_was_lost_is_found_done(line: tuple[Line, str], url: str) -> None:
    """The server committed, the line broke: the caller goes on as if nothing had happened."""
    with _pool(line[1]) as pool:
        line[0].plan = _cut_after
        _write(pool)
        assert line[0].plan is None
    assert 1 == _written(url)


def test_a_commit_that_never_arrived_is_found_undone(line: tuple[Line, str], url: str) -> None:
    """The caller is told that nothing was written, and a repeat writes it once."""
    with _pool(line[1]) as pool:
        line[0].plan = _cut_before
        with pytest.raises(ServerUnavailable, match="nothing was written") as told:
            _write(pool)
        assert not isinstance(told.value, CommitUnknown)
        assert 0 == _written(url)
        _write(pool)
    assert 1 == _written(url)


def test_a_commit_that_arrives_after_the_look_up_commits_nothing(line: tuple[Line, str], url: str) -> None:
    """A message that was under way for longer than the caller waited cannot contradict what the caller was told."""
    held: list[Passage] = []

    def hold(passage: Passage) -> None:
        held.append(passage)
        passage.leave_client()

    with _pool(line[1]) as pool:
        line[0].plan = hold
        with pytest.raises(ServerUnavailable, match="nothing was written"):
            _write(pool)
        held[0].forward()
        assert b"duplicate key" in held[0].await_answer()
    assert 0 == _written(url)


@pytest.mark.parametrize("cut", [_cut_before, _cut_after])
def test_a_commit_nobody_can_ask_about_stays_unknown(
    line: tuple[Line, str], url: str, cut: Callable[[Passage], None]
) -> None:
    """The error says that it is unknown, and how to find out; what it names is the truth."""

    def cut_all(passage: Passage) -> None:
        line[0].refusing = True
        cut(passage)

    with _pool(line[1], resolve_seconds=0) as pool:
        line[0].plan = cut_all
        with pytest.raises(CommitUnknown, match=r"is unknown; when the server is back") as unknown:
            _write(pool)
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select claimed from ledger.commits where id = %s", (unknown.value.fields["marker"],)
        ).fetchone()
    assert (row == (False,)) == (_written(url) == 1) == (cut is _cut_after)


def test_a_backend_terminated_before_the_commit_leaves_nothing(url: str) -> None:
    """An administrator's pg_terminate_backend between the last statement and the COMMIT."""
    victims: list[int] = []

    def terminate(boundary: str) -> None:
        if boundary == COMMIT and victims:
            with psycopg.connect(url, autocommit=True) as other:
                other.execute("select pg_terminate_backend(%s, 5000)", (victims.pop(),))

    with _pool(url, observer=terminate) as pool:
        with pytest.raises(ServerUnavailable, match="nothing was written"):
            _write(pool, lambda connection: victims.append(connection.info.backend_pid))
        assert 0 == _written(url)
        _write(pool)
    assert 1 == _written(url)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that may crash, with the ledger's tables."""
    home = tmp_path_factory.mktemp("crashing")
    with embedded_servers(home) as urls:
        migrate(urls.database_url)
        yield urls.database_url
    stop_embedded(home)
    shutil.rmtree(home)


@pytest.mark.parametrize("when", ["before", "racing", "after"])
def test_a_server_that_crashes_at_the_commit_is_asked_after_its_restart(own_server: str, when: str) -> None:
    """SIGKILL of a backend restarts PostgreSQL through recovery; what the caller is told is what the table holds."""
    backend: list[int] = []

    def crash(passage: Passage) -> None:
        if when != "before":
            passage.forward()
        if when == "after":
            passage.await_answer()
        os.kill(backend[0], signal.SIGKILL)
        _cut_before(passage)

    with line_to(own_server) as (line, through), _pool(through) as pool:
        with pool.connection() as connection:
            connection.execute("delete from ledger.alerts")
            backend.append(connection.info.backend_pid)
        line.plan = crash
        told = 1
        try:
            _write(pool)
        except ServerUnavailable as failure:
            told = int(failure.fields["committed"])
        assert told == _written(own_server)
        if when != "racing":
            assert (1 if when == "after" else 0) == told


def test_a_pool_in_use_says_so(url: str) -> None:
    """Nobody waits for ever: the error names the size, the wait and the remedy."""
    with _pool(url) as pool, pool.connection(), pool.connection():
        with pytest.raises(PoolExhausted, match=r"all 2 database connections .* larger pool") as full:
            _borrow(pool)
        assert 2 == full.value.fields["pool_size"]
        assert "waited_seconds" in full.value.fields


def test_a_server_that_is_away_is_not_called_a_busy_pool(line: tuple[Line, str]) -> None:
    """Idle connections lost and no new ones to be had."""
    with _pool(line[1]) as pool:
        line[0].close()
        with pytest.raises(ServerUnavailable, match="did not answer"):
            _borrow(pool)


def test_connections_that_died_in_the_pool_are_replaced(url: str) -> None:
    """A restart of the server while nobody used it costs no caller an error."""
    with _pool(url) as pool:
        with pool.connection() as one, pool.connection() as other:
            pids = [one.info.backend_pid, other.info.backend_pid]
        with psycopg.connect(url, autocommit=True) as administrator:
            for pid in pids:
                administrator.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        _write(pool)
    assert 1 == _written(url)


def test_what_raises_is_rolled_back(url: str) -> None:
    """An error of the caller's own, too."""
    with _pool(url) as pool:
        with pytest.raises(KeyError):
            _write(pool, lambda _: {}["missing"])
        assert 0 == _written(url)


def test_a_failed_transaction_is_never_reported_as_committed(url: str) -> None:
    """PostgreSQL answers the COMMIT of a failed transaction with a silent ROLLBACK; the caller hears of it."""

    def fail_and_go_on(connection: psycopg.Connection) -> None:
        with suppress(psycopg.errors.DivisionByZero):
            connection.execute("select 1 / 0")

    with _pool(url) as pool:
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            _write(pool, fail_and_go_on)
        assert 0 == _written(url)


def test_reading_leaves_no_marker(url: str) -> None:
    """Only what was written has to be proven."""
    with _pool(url) as pool:
        with pool.connection() as connection:
            connection.execute("select 1 from ledger.alerts")
            before = connection.execute("select count(*) as n from ledger.commits").fetchone()
        _write(pool)
        with pool.connection() as connection:
            after = connection.execute("select count(*) as n from ledger.commits").fetchone()
    assert before["n"] + 1 == after["n"]


def test_a_deadlock_is_an_invitation_to_try_again(url: str) -> None:
    """The transaction that PostgreSQL gives up wrote nothing, and the message says so."""
    met = threading.Barrier(2)
    told: list[ServerUnavailable] = []

    def update(first: str, second: str) -> None:
        try:
            with pool.connection() as connection:
                connection.execute("update ledger.alerts set message = %s where key = %s", (first, first))
                met.wait()
                connection.execute("update ledger.alerts set message = %s where key = %s", (first, second))
        except ServerUnavailable as failure:
            told.append(failure)

    with _pool(url) as pool:
        with pool.connection() as connection:
            connection.execute("insert into ledger.alerts (key, kind, message) values ('a', '', ''), ('b', '', '')")
        threads = [threading.Thread(target=update, args=pair) for pair in (("a", "b"), ("b", "a"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pool.connection() as connection:
            rows = connection.execute("select distinct message from ledger.alerts").fetchall()
    assert (1, 1) == (len(told), len(rows))
    assert "nothing was written: try again" in told[0].message


def test_the_observer_hears_of_the_commit_after_it_was_done(url: str) -> None:
    """What is raised at COMMITTED undoes nothing."""

    def fail(boundary: str) -> None:
        if boundary == COMMITTED:
            raise InterruptedError

    with _pool(url, observer=fail) as pool, pytest.raises(InterruptedError):
        _write(pool)
    assert 1 == _written(url)
