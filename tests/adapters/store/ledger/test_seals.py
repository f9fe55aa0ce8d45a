"""Whatever an intruder does to the ledger shows, and the first bad row is named."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from support.trading import ACCOUNT, ACTION

from tests.adapters.store.ledger.conftest import Intruder
from tests.adapters.store.ledger.scenes import busy_ledger
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.adapters.store.ledger.seals import Head

CHAINED = ("order_events", "risk_decisions", "operator_actions", "fills", "limit_changes")


def test_a_ledger_nobody_touched_is_sound(ledger: Ledger) -> None:
    """Every row of every append-only table has its link, in one chain without a gap."""
    busy_ledger(ledger)
    check = ledger.seals.verify()
    assert [] == check.problems
    assert set(CHAINED) <= set(check.rows_by_table)
    assert sum(check.rows_by_table.values()) == check.links == check.head.seq
    assert (3, 2) == (check.orders, check.positions)


def test_an_empty_ledger_is_sound(ledger: Ledger) -> None:
    """The head of nothing is thirty-two zero bytes."""
    check = ledger.seals.verify()
    assert (True, Head(seq=0, hash="00" * 32)) == (check.sound, check.head)


ATTACKS: dict[str, tuple[str, str, str]] = {
    "a fill's price": ("update ledger.fills set price = 1 where execution_id = 'e2'", "fills", "price"),
    "a fill's shares": ("update ledger.fills set qty = 61 where execution_id = 'e1'", "fills", "qty"),
    "a reason": (
        "update ledger.operator_actions set reason = 'a better one' where id = 1",
        "operator_actions",
        "reason",
    ),
    "a nested detail": (
        "update ledger.operator_actions set detail = detail || '{\"orders\": 4}' where action = 'cancel_all_orders'",
        "operator_actions",
        "detail",
    ),
    "a verdict": ("update ledger.risk_decisions set code = 'cleared' where id = 2", "risk_decisions", "code"),
    "what was empty": ("update ledger.risk_decisions set observed = 5 where id = 2", "risk_decisions", "observed"),
    "an event's time": ("update ledger.order_events set at = at + interval '1 s' where id = 3", "order_events", "at"),
    "a row taken out": ("delete from ledger.order_events where id = 5", "order_events", "gone"),
    "a row put in": (
        "insert into ledger.operator_actions (account, action, operator, reason) values ('x', 'y', 'z', 'never done')",
        "operator_actions",
        "never sealed",
    ),
    "two rows exchanged": (
        """with two as (select id, client_order_id, lead(client_order_id) over (order by id) as other,
                             lag(client_order_id) over (order by id) as before from ledger.risk_decisions)
           update ledger.risk_decisions d set client_order_id = coalesce(two.other, two.before)
             from two where two.id = d.id and d.id <= 2""",
        "risk_decisions",
        "client_order_id",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_changed_row_shows_with_its_link_and_what_changed(ledger: Ledger, intruder: Intruder, name: str) -> None:
    """The table, the row and the column are named."""
    busy_ledger(ledger)
    statement, table, what = ATTACKS[name]
    assert intruder.execute(statement).rowcount > 0
    check = ledger.seals.verify()
    named = [problem for problem in check.problems if problem.table == table]
    assert named
    assert what in named[0].what


def test_a_row_and_its_seal_changed_together_break_the_chain(ledger: Ledger, intruder: Intruder) -> None:
    """The sealed content goes into the hash, and the hash into all that follow."""
    busy_ledger(ledger)
    intruder.execute("update ledger.fills set price = 1 where execution_id = 'e2'")
    intruder.execute(
        "update ledger.chain set content = jsonb_set(content, '{price}', '1') where content ->> 'execution_id' = 'e2'"
    )
    problems = ledger.seals.verify().problems
    assert any("does not follow" in problem.what and problem.table == "fills" for problem in problems)


def test_a_link_taken_out_shows(ledger: Ledger, intruder: Intruder) -> None:
    """With the row it sealed, or without."""
    busy_ledger(ledger)
    intruder.execute("delete from ledger.chain where seq = 4")
    problems = ledger.seals.verify().problems
    assert any("links 4 to 4 are missing" in problem.what for problem in problems)


def test_a_tail_cut_off_shows_by_the_head(ledger: Ledger, intruder: Intruder) -> None:
    """The newest action and its link are gone; the head remembers."""
    busy_ledger(ledger)
    intruder.execute("delete from ledger.chain where seq = (select seq from ledger.chain_head)")
    intruder.execute("delete from ledger.operator_actions where action = 'cancel_all_orders'")
    assert any("tail was cut off" in problem.what for problem in ledger.seals.verify().problems)


def test_a_tail_cut_off_with_its_head_shows_by_a_head_written_down(ledger: Ledger, intruder: Intruder) -> None:
    """Whoever can rewrite everything cannot rewrite the note in the operator's drawer."""
    busy_ledger(ledger)
    noted = ledger.seals.head()
    intruder.execute("delete from ledger.operator_actions where action = 'cancel_all_orders'")
    intruder.execute("delete from ledger.chain where seq = (select seq from ledger.chain_head)")
    intruder.execute(
        """update ledger.chain_head h set seq = c.seq, hash = c.hash
             from (select * from ledger.chain order by seq desc limit 1) c"""
    )
    assert ledger.seals.verify().sound
    assert ["the link that was written down is not in the chain: it was cut off or built anew"] == [
        problem.what for problem in ledger.seals.verify(noted).problems
    ]


def test_a_head_written_down_stays_good_as_the_ledger_grows(ledger: Ledger) -> None:
    """It names a link, not the end."""
    busy_ledger(ledger)
    noted = ledger.seals.head()
    ledger.books.record_action(ACCOUNT, "cancel_all_orders", ACTION, {})
    assert ledger.seals.verify(noted).sound
    assert noted != ledger.seals.head()


@pytest.mark.parametrize(
    ("statement", "table", "what"),
    [
        (
            "update ledger.orders set state = 'filled' where symbol = 'AAPL' and side = 'buy'",
            "orders",
            "its events say",
        ),
        ("update ledger.orders set filled_qty = 59 where symbol = 'MSFT'", "orders", "its fills are 60"),
        ("update ledger.positions set qty = 1 where symbol = 'MSFT'", "positions", "qty 1 instead of 60"),
        ("update ledger.positions set realised = 9 where symbol = 'AAPL'", "positions", "realised 9"),
        ("delete from ledger.positions where symbol = 'MSFT'", "positions", "absent"),
        (
            "insert into ledger.positions (account, symbol, qty) values ('a', 'GOOG', 5)",
            "positions",
            "qty 5 instead of 0",
        ),
    ],
)
def test_what_is_derived_must_follow(ledger: Ledger, intruder: Intruder, statement: str, table: str, what: str) -> None:
    """States follow from events, positions and filled shares from fills."""
    busy_ledger(ledger)
    intruder.execute(statement)
    problems = ledger.seals.verify().problems
    assert [table] == [problem.table for problem in problems]
    assert what in problems[0].what


@pytest.mark.parametrize("table", [*CHAINED, "chain", "superseded_fills", "absences"])
@pytest.mark.parametrize("change", ["update ledger.{} set {} = {}", "delete from ledger.{}"])
def test_the_database_itself_refuses_changes(ledger: Ledger, database_url: str, table: str, change: str) -> None:
    """Without working around the triggers there is nothing to find."""
    busy_ledger(ledger)
    column = {"chain": "content", "fills": "price"}.get(table, "at")
    with psycopg.connect(database_url) as honest, honest.cursor() as cursor:
        statement = change.format(table, column, column)
        rows = honest.execute(f"select count(*) from ledger.{table}").fetchone()[0]
        if rows:
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                cursor.execute(statement)


def test_writers_at_once_make_one_chain_without_a_gap(ledger: Ledger) -> None:
    """Eight threads commit against each other; none waits for ever, and no link is lost."""

    def act(number: int) -> None:
        for _ in range(10):
            ledger.books.record_action(ACCOUNT, f"verb_{number}", ACTION, {"number": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(8)))
    check = ledger.seals.verify()
    assert ([], 80) == (check.problems, check.links)


_ACT = """
insert into ledger.operator_actions (account, action, operator, reason)
select 'a', 'b', 'c', 'd' || n from generate_series(1, %s) n
"""
_HEAD_WRITES = "select n_tup_upd from pg_stat_user_tables where schemaname = 'ledger' and relname = 'chain_head'"


def _head_writes(connection: psycopg.Connection) -> int:
    connection.execute("select pg_stat_force_next_flush()")
    row = connection.execute(_HEAD_WRITES).fetchone()
    return int(row[0]) if row else 0


@pytest.mark.parametrize(("rows", "writes"), [(1, 1), (2, 2), (500, 2)])
def test_the_head_is_written_twice_a_transaction_at_most(
    ledger: Ledger, database_url: str, rows: int, writes: int
) -> None:
    """Each write leaves a version that later ones pass over: one for each row made large transactions slow."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        before = _head_writes(connection)
        connection.execute(_ACT, (rows,))
        assert writes == _head_writes(connection) - before
    check = ledger.seals.verify()
    assert ([], rows) == (check.problems, check.links)


def test_transactions_in_turn_on_connections_that_stay_make_one_chain(ledger: Ledger, database_url: str) -> None:
    """What a transaction remembers of the chain ends with it: the next one follows on what others sealed meanwhile."""
    with (
        psycopg.connect(database_url, autocommit=True) as one,
        psycopg.connect(database_url, autocommit=True) as other,
    ):
        for rows in (3, 1, 2):
            one.execute(_ACT, (rows,))
            other.execute(_ACT, (rows,))
    check = ledger.seals.verify()
    assert ([], 12) == (check.problems, check.links)


def test_a_commit_that_fails_after_its_seals_leaves_nothing_behind(ledger: Ledger, database_url: str) -> None:
    """Neither links nor what the connection remembers of them: its next transaction follows on the true head."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """create function ledger.fail() returns trigger language plpgsql as
               $$ begin raise exception 'too late' using errcode = 'check_violation'; end $$;
               create constraint trigger zz_late after insert on ledger.operator_actions deferrable initially deferred
               for each row when (new.reason = 'd3') execute function ledger.fail()"""
        )
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(_ACT, (3,))
        connection.execute(_ACT, (2,))
    check = ledger.seals.verify()
    assert ([], 2) == (check.problems, check.links)


def test_rows_sealed_before_the_commit_and_at_it_make_one_chain(ledger: Ledger, database_url: str) -> None:
    """A transaction may seal at once, take part of it back, and go on."""
    with psycopg.connect(database_url) as connection:
        connection.execute(_ACT, (2,))
        connection.execute("set constraints all immediate")
        connection.execute(_ACT, (2,))
        connection.execute("savepoint here")
        connection.execute(_ACT, (4,))
        connection.execute("rollback to savepoint here")
        connection.execute("set constraints all deferred")
        connection.execute(_ACT, (3,))
    check = ledger.seals.verify()
    assert ([], 7) == (check.problems, check.links)


def test_what_rolls_back_leaves_no_link(ledger: Ledger, database_url: str) -> None:
    """A seal is part of the transaction it seals."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into ledger.operator_actions (account, action, operator, reason) values ('a', 'b', 'c', 'd')"
        )
        connection.rollback()
    assert 0 == ledger.seals.head().seq


def test_the_time_zone_of_a_connection_is_not_sealed(ledger: Ledger, database_url: str) -> None:
    """The same instant has the same text, wherever it is written from."""
    with psycopg.connect(database_url) as connection:
        connection.execute("set timezone = 'Asia/Tokyo'")
        connection.execute(
            "insert into ledger.operator_actions (account, action, operator, reason) values ('a', 'b', 'c', 'd')"
        )
    with psycopg.connect(database_url) as connection:
        connection.execute("set timezone = 'America/New_York'")
    assert ledger.seals.verify().sound


def test_verifying_does_not_disturb_writers(ledger: Ledger) -> None:
    """It sees one instant of the ledger while others write."""
    busy_ledger(ledger)
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(ledger.books.record_action, ACCOUNT, "verb", ACTION, {}) for _ in range(60)]
        checks = [ledger.seals.verify() for _ in range(5)]
        for write in writes:
            write.result()
    assert all(check.sound for check in checks)
