"""Every session was traded or explained, and one that is neither is found."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.alpaca.bench import Bench
from support.session_lake import arrive, session_lake, target
from support.trading import ACTION, RUN, SESSION, Kit, order

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.ledger.session_records import Outcome
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError, GateNotPassed, ServerUnavailable
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebalance import rebalance
from trading_pipeline.services.session_story import (
    Story,
    alert_unexplained,
    explain_session,
    last_stories,
    stories,
    unexplained,
)
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.status import read_status
from trading_pipeline.services.submission import SubmissionService

NEXT = xnys().next(SESSION)
WEDNESDAY_NOON = datetime(2023, 9, 6, 16, 0, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake that is ready for the orders of the test's session."""
    return session_lake(tmp_path)


def _trade(account: TradingAccount, lake: Lake) -> None:
    rebalance(account, lake, SESSION, provenance=Provenance(run_id="run 1"))


def _story(account: TradingAccount) -> Story:
    return stories(account, [SESSION])[0]


def test_a_session_whose_orders_were_sent_was_traded_with_its_counts(kit: Kit, lake: Lake) -> None:
    """As `status` shows it; the seal holds."""
    _trade(kit.account, lake)
    told = _story(kit.account)
    assert (Outcome.TRADED, 1, 1, 0) == (told.outcome, told.orders, told.at_the_broker, told.refused)
    assert "1 of 1 order(s) at the broker" in told.reason
    assert "STALE left out" in told.reason
    assert [told.row()] == read_status(kit.account).stories
    assert kit.ledger.seals.verify().sound


def test_a_session_whose_target_is_held_had_nothing_to_do(kit: Kit, lake: Lake) -> None:
    """That is an explanation."""
    target(lake, 0)
    _trade(kit.account, lake)
    assert Outcome.NOTHING_TO_DO is _story(kit.account).outcome


def test_a_session_whose_orders_the_guard_refused_says_why(kit: Kit, lake: Lake) -> None:
    """Under the kill switch every one."""
    kit.operations.engage_kill_switch(ACTION)
    _trade(kit.account, lake)
    told = _story(kit.account)
    assert (Outcome.REFUSED, 1, 0, 1) == (told.outcome, told.orders, told.at_the_broker, told.refused)
    assert "kill_switch_engaged" in told.reason


def test_a_refusal_to_decide_is_an_explanation_by_its_name(kit: Kit, lake: Lake) -> None:
    """Bars that were restated, and a target that is not there."""
    arrive(lake, restated=0.5)
    with pytest.raises(GateNotPassed):
        _trade(kit.account, lake)
    told = _story(kit.account)
    assert Outcome.REFUSED is told.outcome
    assert told.reason.startswith("GateNotPassed: session 2023-09-01")


def test_a_missing_target_is_an_explanation(kit: Kit, tmp_path: Path) -> None:
    """Whatever came before it left none."""
    with pytest.raises(DataQualityError):
        _trade(kit.account, Lake(tmp_path))
    assert "DataQualityError" in _story(kit.account).reason


def test_a_later_failure_does_not_undo_that_a_session_was_traded(kit: Kit, lake: Lake) -> None:
    """A retry that finds the ledger away, a run whose last step failed."""
    _trade(kit.account, lake)
    kit.ledger.session_records.record(kit.account.account, SESSION, Outcome.FAILED, "pnl: no price")
    assert Outcome.TRADED is _story(kit.account).outcome
    kit.ledger.session_records.record(kit.account.account, NEXT, Outcome.FAILED, "features: no bars")
    kit.ledger.session_records.record(kit.account.account, NEXT, Outcome.NOTHING_TO_DO, "held already")
    assert [Outcome.NOTHING_TO_DO] == [one.outcome for one in stories(kit.account, [NEXT])]


def test_a_process_that_died_after_it_had_sent_leaves_a_traded_session(
    kit: Kit, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its orders say so; a retry writes the word it had no time for."""
    with monkeypatch.context() as dying:

        def die(*_: object, **__: object) -> None:
            raise ServerUnavailable("the process was killed here")

        dying.setattr(kit.ledger.session_records, "record", die)
        with pytest.raises(ServerUnavailable):
            _trade(kit.account, lake)
    told = _story(kit.account)
    assert (Outcome.TRADED, 1) == (told.outcome, told.at_the_broker)
    assert "left no word" in told.reason
    _trade(kit.account, lake)
    assert "1 of 1 order(s)" in _story(kit.account).reason


def test_a_session_nobody_traded_or_explained_is_found_and_alerted_once(
    account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """Once the next one has opened: until then it may still be traded."""
    _trade(account, lake)
    bench.waits.instant = xnys().open_at(xnys().next(NEXT)).replace(minute=29)
    assert [] == unexplained(account)
    bench.waits.instant = WEDNESDAY_NOON
    for _ in range(2):
        assert [NEXT] == [one.session for one in alert_unexplained(account)]
    alerts = [one for one in account.ledger.alerts.latest(50) if one["kind"] == "session_unexplained"]
    assert 1 == len(alerts)
    assert f"session {NEXT} was neither traded nor explained" in alerts[0]["message"]
    status = read_status(account)
    assert not status.healthy
    assert "UNEXPLAINED" == status.stories[-1]["outcome"]
    assert any(f"neither traded nor explained: {NEXT}" in row["value"] for row in status.trading)


def test_an_operator_explains_what_nothing_else_does(account: TradingAccount, bench: Bench, lake: Lake) -> None:
    """With a name and a reason, audited."""
    _trade(account, lake)
    bench.waits.instant = WEDNESDAY_NOON
    assert Outcome.EXPLAINED is explain_session(account, NEXT, ACTION).outcome
    assert [] == unexplained(account)
    assert ACTION.reason in last_stories(account)[-1].reason
    assert "explain_session" == account.ledger.books.history(account.account, 1)[0]["action"]


def test_an_account_that_has_just_begun_owes_no_story(account: TradingAccount, bench: Bench) -> None:
    """Sessions before it was initialised were nobody's; nor are weekends and holidays sessions."""
    bench.waits.instant = datetime(2023, 9, 4, 16, 0, tzinfo=UTC)  # Labor Day
    assert [] == unexplained(account)
    SubmissionService(account, RUN).submit(order("AAPL"))
    bench.waits.instant = datetime(2023, 9, 5, 16, 0, tzinfo=UTC)
    assert [SESSION] == [one.session for one in last_stories(account)]


def test_the_simulated_exchange_owes_a_story_only_of_what_was_run(kit: Kit, lake: Lake) -> None:
    """It may jump over sessions."""
    _trade(kit.account, lake)
    settle(kit.account, xnys().shift(SESSION, 3))
    assert [] == unexplained(kit.account)
    assert [Outcome.TRADED, None, None, None] == [one.outcome for one in last_stories(kit.account)]
