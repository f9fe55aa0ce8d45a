"""What an operator does in the UI: each job does to the ledger and the book what it says, by whom and why."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from support.trading import ACCOUNT, Kit, trading_kit
from support.trading_resource import trading_resource

from resources import LakeResource
from trading_pipeline.core.risk.halts import Breaker
from trading_pipeline.jobs import CHECK_JOBS, OPERATOR_JOBS
from trading_pipeline.services.status import read_status

JOBS = {job.name: job for job in (*OPERATOR_JOBS, *CHECK_JOBS)}
WHO = {"operator": "ada", "reason": "a drill, announced on the desk"}


class Desk:
    """A person at the launchpad."""

    def __init__(self, kit: Kit, resources: Mapping[str, object], instance: dg.DagsterInstance) -> None:
        self.kit = kit
        self._resources = resources
        self._instance = instance

    def run(self, name: str, **config: object) -> dg.ExecuteInProcessResult:
        """Run a job with the config its launchpad asks for."""
        asked = {"ops": {name: {"config": WHO | config}}} if name != "verify_book" else {}
        return JOBS[name].execute_in_process(
            run_config=asked, resources=self._resources, instance=self._instance, raise_on_error=False
        )


@pytest.fixture
def desk(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Desk]:
    """The desk of an account."""
    resources = {
        "trading": trading_resource(database_url, redis_url, tmp_path),
        "lake": LakeResource(root=str(tmp_path)),
    }
    with trading_kit(database_url, redis_url) as kit, dg.DagsterInstance.ephemeral() as instance:
        yield Desk(kit, resources, instance)


def test_limits_are_changed_for_the_account_and_for_a_symbol(desk: Desk) -> None:
    """Both bind in the book at once, and the log has who, why, from and to."""
    before = desk.kit.guard.snapshot()
    assert before is not None
    assert desk.run("set_risk_limits", limits={"max_order_shares": "7"}).success
    until = "2999-01-01T00:00:00+00:00"
    assert desk.run("set_risk_limits", limits={"max_order_shares": "3"}, symbol="AAPL", until=until).success

    book = desk.kit.guard.snapshot()
    assert book is not None
    assert 7 == book.limits.max_order_shares
    own = [(one.limit, one.symbol, one.value) for one in book.limit_set.changes]
    assert [("max_order_shares", "AAPL", 3)] == own
    said = ("operator", "reason", "symbol", "from_value", "to_value")
    told = [tuple(one[name] for name in said) for one in desk.kit.ledger.books.limit_changes(ACCOUNT, limit=2)]
    assert [(*WHO.values(), "AAPL", "7", "3"), (*WHO.values(), None, str(before.limits.max_order_shares), "7")] == told


def test_a_limit_nobody_knows_fails_the_run_and_changes_nothing(desk: Desk) -> None:
    """By its name, on the page of the run."""
    before = desk.kit.guard.snapshot()

    refused = desk.run("set_risk_limits", limits={"max_everything": "7"})

    assert not refused.success
    (event,) = refused.get_step_failure_events()
    assert "max_everything" in str(event.step_failure_data.user_failure_data)
    assert before == desk.kit.guard.snapshot()


def test_the_breaker_is_tripped_and_reset(desk: Desk) -> None:
    """A reset of one that is not tripped is refused."""
    books = desk.kit.ledger.books
    assert not desk.run("reset_circuit_breaker").success
    assert desk.run("trip_circuit_breaker").success
    assert Breaker.TRIPPED is books.get(ACCOUNT).breaker
    assert desk.run("reset_circuit_breaker").success
    assert Breaker.QUIET_PERIOD is books.get(ACCOUNT).breaker


def test_halts_are_told_of_the_newest_first_with_who_and_why(desk: Desk) -> None:
    """In the ledger's history and in what `status` prints: what was refused is no action."""
    verbs = ["engage_kill_switch", "disengage_kill_switch", "trip_circuit_breaker", "reset_circuit_breaker"]
    expected = []
    for verb in verbs:
        who = {"operator": f"who does {verb}", "reason": f"why one must {verb}"}
        assert desk.run(verb, **who).success
        expected.insert(0, {"action": verb, **who})
    assert not desk.run("disengage_kill_switch", operator="eve").success

    told = desk.kit.ledger.books.history(ACCOUNT, len(verbs))
    shown = read_status(desk.kit.account).actions[: len(verbs)]
    for rows in (told, shown):
        assert expected == [{name: row[name] for name in ("action", "operator", "reason")} for row in rows]
    at = [row["at"] for row in told]
    assert sorted(at, reverse=True) == at


def test_a_symbol_is_kept_from_trading_and_let_back(desk: Desk) -> None:
    """By a person's list, and by a quarantine with an end."""
    assert desk.run("block_symbol", symbol="AAPL").success
    assert desk.run("quarantine_symbol", symbol="MSFT", until="2999-01-01T00:00:00+00:00").success
    book = desk.kit.guard.snapshot()
    assert book is not None
    assert ({"AAPL"}, {"MSFT"}) == (book.blocked, book.quarantined.keys())

    assert desk.run("unblock_symbol", symbol="AAPL").success
    assert desk.run("release_symbol", symbol="MSFT").success
    book = desk.kit.guard.snapshot()
    assert book is not None
    assert (set(), set()) == (book.blocked, book.quarantined.keys())


def test_a_comparison_fails_with_the_table_of_differences(desk: Desk, database_url: str) -> None:
    """A sound account is compared without a word; another one names what differs and what to do."""
    assert desk.run("verify_book").success
    with psycopg.connect(database_url) as connection:
        connection.execute("update ledger.books set high_sequence = high_sequence + 1")

    failed = desk.run("verify_book")

    assert not failed.success
    (event,) = failed.get_step_failure_events()
    told = event.step_failure_data.user_failure_data
    assert told is not None
    (row,) = (record.data for record in told.metadata["differences"].records)
    assert ("sequence", "book", "rebuild-risk-book") == (row["difference"], row["subject"], row["what_to_do"])
