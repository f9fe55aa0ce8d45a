"""Reading the ledger with SQL of one's own can read everything and change nothing."""

import psycopg
import pytest
from support.trading import ACCOUNT

from trading_pipeline.adapters.store.ledger import Ledger, migrate


def test_a_query_reads_rows_by_named_parameters(database_url: str) -> None:
    """As often as one likes, on the same connection."""
    migrate(database_url)
    with Ledger(database_url, pool_size=1) as ledger:
        for number in (1, 2):
            assert [{"number": number}] == ledger.query("select %(number)s::int as number", number=number)


def test_a_query_that_would_write_is_refused_and_the_ledger_writes_on(database_url: str) -> None:
    """Nothing of it stays, nor does the refusal stick to the connection."""
    migrate(database_url)
    with Ledger(database_url, pool_size=1) as ledger:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            ledger.query("delete from ledger.alerts returning key")
        ledger.alerts.record(key="one", kind="test", message="written", detail={})
        assert ["one"] == [row["key"] for row in ledger.alerts.latest()]


def test_whoever_holds_the_lane_keeps_no_dead_rows(ledger: Ledger) -> None:
    """A snapshot kept for as long would keep every version of every row that is changed meanwhile."""
    with ledger.lane(ACCOUNT):
        held = ledger.query(
            """select backend_xmin from pg_stat_activity
                where datname = current_database() and state = 'idle in transaction'"""
        )
    assert [None] == [row["backend_xmin"] for row in held]
