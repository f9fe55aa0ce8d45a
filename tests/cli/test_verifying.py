"""`verify-book` and `verify-ledger` as an operator types them, on an account in which something was changed by hand."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import psycopg
import pytest
import redis
from support.commands import run_command
from support.packing import change
from support.trading import ACCOUNT, trading_kit

from trading_pipeline.adapters.guards import records
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.services.verification import compare


def _run(tmp_path: Path, servers: dict[str, str], *arguments: str) -> CompletedProcess[str]:
    return run_command(*arguments, folder=tmp_path, home=tmp_path / ".pipeline", **servers)


@pytest.fixture
def on_servers(database_url: str, redis_url: str) -> dict[str, str]:
    """The variables of an account that has a book."""
    with trading_kit(database_url, redis_url) as kit:
        assert [] == compare(kit.account)
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "ACCOUNT": ACCOUNT, "COLUMNS": "250"}


def test_a_book_changed_by_hand_is_named_with_both_words(
    tmp_path: Path, on_servers: dict[str, str], redis_url: str
) -> None:
    """Exit code 1, a row for each difference, and what to do, as a table and as JSON."""
    with redis.Redis.from_url(redis_url) as client:
        client.hset(book_keys(ACCOUNT).book, "gate_reason", "because")
        change(client, ACCOUNT, "account", records.ACCOUNT, gross=7)
    wrong = _run(tmp_path, on_servers, "verify-book", "--json")
    rows = {row["difference"]: row for row in json.loads(wrong.stdout)}
    assert (1, {"halt_reason", "exposure"}) == (wrong.returncode, set(rows))
    told = ("subject", "ledger", "book", "what_to_do")
    assert ("gate", "ledger and broker agree", "because", "rebuild-risk-book") == tuple(
        rows["halt_reason"][name] for name in told
    )
    shown = _run(tmp_path, on_servers, "verify-book")
    assert 1 == shown.returncode
    for part in ("halt_reason", "gate", "because", "exposure", "rebuild-risk-book"):
        assert part in shown.stdout


def test_a_row_of_the_limits_log_changed_by_hand_is_named(
    tmp_path: Path, on_servers: dict[str, str], database_url: str
) -> None:
    """Exit code 1 with the table, the row and the column."""
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table ledger.limit_changes disable trigger user")
        changed = connection.execute(
            "update ledger.limit_changes set to_value = '1' where limit_name = 'max_order_shares' returning id"
        ).fetchone()
        assert changed is not None
        connection.execute("alter table ledger.limit_changes enable trigger user")
    wrong = _run(tmp_path, on_servers, "verify-ledger", "--json")
    (report,) = json.loads(wrong.stdout)
    assert (1, False, 1) == (wrong.returncode, report["sound"], report["problems"])
    (problem,) = report["listed"]
    said = " ".join(str(value) for value in problem.values())
    for part in ("limit_changes", str(changed[0]), "to_value"):
        assert part in said, said
