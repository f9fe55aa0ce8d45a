"""A session that did not tie out is followed by no other, until one does; the answers are sealed."""

from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
from support.alpaca.bench import Bench
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, hold, order, quotes

from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import TieOutFailed, TieOutMissing, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.status import read_status
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.tie_out import missing_tie_out, require_agreement, tie_out, tie_out_session

NEXT = xnys().next(SESSION)
AFTER_THE_CLOSE = datetime(2023, 9, 5, 20, 30, tzinfo=UTC)
BEFORE_THE_NEXT_OPEN = datetime(2023, 9, 6, 12, 0, tzinfo=UTC)


def _let_the_broker_hold(database_url: str, qty: int) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("update exchange.executions set qty = %s", (qty,))


def test_an_account_that_agrees_ties_out_and_trades_on(kit: Kit) -> None:
    """With what it held, sealed."""
    hold(kit)
    found = tie_out(kit.account, ACTION)
    assert (NEXT, True, ()) == (found.session, found.agrees, found.differences)
    require_agreement(found)
    assert not SubmissionService(kit.account, RUN).submit(order("MSFT", session=NEXT)).refused
    (row,) = kit.ledger.query("select positions from ledger.tie_outs")
    assert {"AAPL": "10"} == row["positions"]
    assert kit.ledger.seals.verify().sound
    assert {"what": "tie_out", "value": f"session {NEXT} tied out"} in read_status(kit.account).trading


def test_after_a_failed_tie_out_nothing_is_recorded_or_sent_until_one_succeeds(kit: Kit, database_url: str) -> None:
    """Flattening stays possible."""
    hold(kit)
    _let_the_broker_hold(database_url, 12)
    found = tie_out(kit.account, ACTION)
    assert not found.agrees
    wanted = order("MSFT", session=NEXT)
    with pytest.raises(TieOutFailed, match="AAPL"):
        SubmissionService(kit.account, RUN).submit(wanted)
    assert kit.ledger.orders.get(wanted.intent.client_order_id) is None
    _let_the_broker_hold(database_url, 10)
    with pytest.raises(TieOutFailed, match="did not tie out"):
        SubmissionService(kit.account, RUN).submit(wanted)
    assert not read_status(kit.account).healthy
    assert tie_out(kit.account, ACTION).agrees
    assert read_status(kit.account).healthy
    assert not SubmissionService(kit.account, RUN).submit(wanted).refused


def test_flattening_works_after_a_failed_tie_out(kit: Kit, database_url: str) -> None:
    """It brings the account nearer to nothing."""
    hold(kit)
    _let_the_broker_hold(database_url, 12)
    tie_out(kit.account, ACTION)
    _let_the_broker_hold(database_url, 10)
    done = kit.operations.flatten_positions(ACTION, quotes)
    assert [False] == [one.refused for one in done.submissions]
    assert Decimal(10) == kit.ledger.orders.live(ACCOUNT)[0].remaining


def test_an_order_that_a_crash_left_cleared_waits_for_a_tie_out_that_succeeds(kit: Kit, database_url: str) -> None:
    """Whoever resumes does not send it meanwhile; it keeps its exposure."""
    hold(kit)
    kit.broker.before = [TransientError("429: too many requests", retry_after_seconds=30)]
    service = SubmissionService(kit.account, RUN)
    left = service.submit(order("MSFT", session=NEXT)).order
    assert OrderState.CLEARED is left.state
    _let_the_broker_hold(database_url, 12)
    tie_out(kit.account, ACTION)
    _let_the_broker_hold(database_url, 10)
    service.resume()
    with pytest.raises(TieOutFailed):
        service.submit(order("MSFT", session=NEXT))
    assert kit.exchange.find(left.client_order_id) is None
    assert [left.client_order_id] == kit.ledger.orders.live_ids(ACCOUNT)

    assert tie_out(kit.account, ACTION).agrees
    service.resume()
    assert kit.exchange.find(left.client_order_id) is not None


def test_a_submission_that_is_complete_may_be_repeated_after_a_failed_tie_out(kit: Kit, database_url: str) -> None:
    """Nothing would be recorded or sent."""
    hold(kit)
    done = SubmissionService(kit.account, RUN).submit(order("MSFT", session=NEXT)).order
    _let_the_broker_hold(database_url, 12)
    tie_out(kit.account, ACTION)
    again = SubmissionService(kit.account, RUN).submit(order("MSFT", session=NEXT)).order
    assert (done.client_order_id, OrderState.ACCEPTED) == (again.client_order_id, again.state)


def _trade(account: TradingAccount, bench: Bench) -> None:
    sent = SubmissionService(account, RUN).submit(order("AAPL")).order
    bench.exchange.fill(sent.client_order_id)
    settle(account, SESSION)


def test_a_broker_of_real_time_takes_no_order_before_the_session_it_traded_was_tied_out(
    account: TradingAccount, bench: Bench
) -> None:
    """Named, with the command that mends it; one before the close does not, flattening is possible, one after does."""
    _trade(account, bench)
    assert not tie_out(account, ACTION).final
    bench.waits.instant = AFTER_THE_CLOSE
    wanted = order("MSFT", session=NEXT)
    with pytest.raises(TieOutMissing, match=f"session {NEXT} was not tied out after its close: run .*tie-out"):
        SubmissionService(account, RUN).submit(wanted)
    assert account.ledger.orders.get(wanted.intent.client_order_id) is None
    status = read_status(account)
    assert not status.healthy
    assert any(f"session {NEXT} was not tied out" in row["value"] for row in status.trading)
    assert [False] == [one.refused for one in RiskOperations(account).flatten_positions(ACTION, quotes).submissions]
    assert tie_out(account, ACTION).final
    assert not SubmissionService(account, RUN).submit(wanted).refused


def test_a_position_held_through_a_session_without_a_trade_wants_its_tie_out_too(
    account: TradingAccount, bench: Bench
) -> None:
    """What is held may change without us; an account that is flat and did nothing has nothing to tie out."""
    bench.waits.instant = BEFORE_THE_NEXT_OPEN
    assert missing_tie_out(account) is None
    bench.waits.instant = datetime(2023, 9, 5, 14, 0, tzinfo=UTC)
    _trade(account, bench)
    bench.waits.instant = AFTER_THE_CLOSE
    assert tie_out(account, ACTION).agrees
    bench.waits.instant = datetime(2023, 9, 6, 21, 0, tzinfo=UTC)
    assert xnys().next(NEXT) == missing_tie_out(account)


def test_an_order_that_may_still_work_makes_its_session_one_to_tie_out(account: TradingAccount, bench: Bench) -> None:
    """Nothing of it was filled: it may be, and nobody would have looked."""
    SubmissionService(account, RUN).submit(order("AAPL"))
    bench.waits.instant = AFTER_THE_CLOSE
    assert NEXT == missing_tie_out(account)


def test_the_simulated_exchange_wants_no_tie_out_that_no_run_has_made(kit: Kit) -> None:
    """It has a session only when a run brings it there."""
    hold(kit)
    assert missing_tie_out(kit.account) is None


def test_a_session_that_was_left_behind_shows_the_answer_it_got(kit: Kit) -> None:
    """And none where it got none."""
    hold(kit)
    given = tie_out_session(kit.account, NEXT, ACTION)
    settle(kit.account, xnys().next(NEXT))
    assert given == tie_out_session(kit.account, NEXT, ACTION)
    assert tie_out_session(kit.account, SESSION, ACTION) is None
