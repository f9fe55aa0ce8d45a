"""The checks before the open name what fails, where and what to do, and write it down for the session."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from structlog.testing import capture_logs
from support.alpaca.bench import Bench
from support.alpaca.server import Fault
from support.session_lake import arrive, session_lake
from support.trading import ACCOUNT, ACTION, RUN, SESSION, order

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.ledger.session_records import Outcome
from trading_pipeline.errors import PipelineError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.pre_open import PreOpen, check_before_open
from trading_pipeline.services.reconciliation import start
from trading_pipeline.services.session_story import stories
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService

BEFORE_THE_OPEN = datetime(2023, 9, 5, 13, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _early(bench: Bench) -> None:
    """Half an hour before the open, also for the account that is opened then."""
    bench.waits.instant = BEFORE_THE_OPEN


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake that is ready for the session, features among it."""
    opened = session_lake(tmp_path)
    opened.write(Dataset.FEATURES, pl.DataFrame({"session": [SESSION], "symbol": ["AAPL"]}), sessions=[SESSION])
    return opened


def _failed(told: PreOpen) -> list[str]:
    return [one.name for one in told.failed]


def _reason(account: TradingAccount) -> str:
    (told,) = stories(account, [SESSION])
    assert Outcome.REFUSED is told.outcome
    return told.reason


def test_all_checks_of_a_sound_account_pass_and_explain_nothing(account: TradingAccount, lake: Lake) -> None:
    """Each says what it found; a session is not explained by them."""
    told = check_before_open(account, lake)
    assert (SESSION, [], 9) == (told.session, _failed(told), len(told.checks))
    assert {"passed"} == {row["result"] for row in told.rows()}
    assert all(row["found"] and row["where"] and not row["remedy"] for row in told.rows())
    assert [None] == [one.outcome for one in stories(account, [SESSION])]


@pytest.mark.parametrize(("seconds", "failed"), [(31, ["clock"]), (-31, ["clock"]), (3, [])])
def test_a_clock_that_halts_fails_by_its_own_name(
    seconds: int, failed: list[str], account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """The account is not blamed for it; a few seconds are a warning in the log."""
    bench.exchange.clock_offset = timedelta(seconds=seconds)
    bench.waits.sleep(31)
    with capture_logs() as logs:
        told = check_before_open(account, lake)
    assert failed == _failed(told)
    assert failed == [one["check"] for one in logs if one["log_level"] == "error"]
    if failed:
        assert "31.0 s apart" in _reason(account)
        assert "synchronise this machine's clock" in _reason(account)
    else:
        assert ["Alpaca's clock and ours differ"] == [one["event"] for one in logs if one["log_level"] == "warning"]


def test_hours_that_are_not_those_of_the_calendar_fail_the_clock(
    account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """A closure that our calendar does not know."""
    bench.exchange.closed_all_day = True
    assert ["clock"] == _failed(check_before_open(account, lake))
    assert "hours are not those of the exchange calendar" in _reason(account)


def test_a_blocked_account_fails_and_its_clock_is_not_believed(
    account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """The block is named."""
    bench.exchange.flags["trading_blocked"] = True
    bench.waits.sleep(31)
    assert ["account", "clock"] == _failed(check_before_open(account, lake))
    assert "trading_blocked is True" in _reason(account)


def test_a_broker_that_does_not_answer_fails(account: TradingAccount, bench: Bench, lake: Lake) -> None:
    """What is unknown is no."""
    bench.waits.sleep(31)
    bench.server.plan_for("GET", "/v2/account", *[Fault(status=503)] * 9)
    assert ["account", "clock"] == _failed(check_before_open(account, lake))


def test_a_book_that_was_lost_fails(account: TradingAccount, bench: Bench, lake: Lake) -> None:
    """With the command that makes it anew."""
    bench.counter.flushall()
    assert ["risk book"] == _failed(check_before_open(account, lake))
    assert "rebuild-risk-book" in _reason(account)


def test_a_start_that_was_not_reconciled_fails_book_and_gate(account: TradingAccount, bench: Bench, lake: Lake) -> None:
    """The process that was started is named."""
    bench.server.plan_for("GET", "/v2/positions", *[Fault(status=503)] * 3)
    assert start(account, ACTION) is None
    assert ["risk book", "reconciliation"] == _failed(check_before_open(account, lake))
    assert "the gate is closed" in _reason(account)


def test_data_that_no_gate_has_judged_and_features_that_are_missing_fail(
    account: TradingAccount, lake: Lake, tmp_path: Path
) -> None:
    """Bars that were restated since, and a lake without anything."""
    arrive(lake, restated=0.5)
    assert ["data"] == _failed(check_before_open(account, lake))
    assert ["data", "features"] == _failed(check_before_open(account, Lake(tmp_path / "empty")))
    assert "no features of session 2023-09-01" in _reason(account)


def test_a_session_that_was_not_tied_out_fails(account: TradingAccount, bench: Bench, lake: Lake) -> None:
    """Until it is."""
    sent = SubmissionService(account, RUN).submit(order("AAPL")).order
    bench.exchange.fill(sent.client_order_id)
    settle(account, SESSION)
    bench.waits.instant = datetime(2023, 9, 6, 12, 0, tzinfo=UTC)
    assert "tie-out" in _failed(check_before_open(account, lake))


def test_a_quarantine_is_a_warning_and_keeps_nothing_from_passing(account: TradingAccount, lake: Lake) -> None:
    """The other symbols trade."""
    RiskOperations(account).quarantine_symbol("NVDA", None, ACTION)
    told = check_before_open(account, lake)
    assert [] == _failed(told)
    (row,) = (row for row in told.rows() if row["result"] == "warning")
    assert ("quarantine", True) == (row["check"], "NVDA" in row["found"])


def test_what_a_failed_check_names_the_submission_refuses(account: TradingAccount, bench: Bench, lake: Lake) -> None:
    """By the same functions: a failed check is never followed by an order."""
    for spoil in (
        lambda: bench.exchange.flags.update(trading_blocked=True),
        lambda: setattr(bench.exchange, "clock_offset", timedelta(seconds=31)),
    ):
        spoil()
        bench.waits.sleep(31)
        assert check_before_open(account, lake).failed
        with pytest.raises(PipelineError):
            SubmissionService(account, RUN).submit(order("AAPL"))
        bench.exchange.flags.update(trading_blocked=False)
    assert [] == bench.exchange.accepted
    assert [] == account.ledger.orders.live(ACCOUNT)


def test_that_a_session_was_traded_stands_when_a_later_check_fails(
    account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """The second look is half an hour before the open, when its orders are at the broker."""
    SubmissionService(account, RUN).submit(order("AAPL"))
    bench.counter.flushall()
    assert check_before_open(account, lake).failed
    assert [Outcome.TRADED] == [one.outcome for one in stories(account, [SESSION])]
