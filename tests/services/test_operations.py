"""What operators do is written down first, checked, and undone by nobody else."""

from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, hold, order, trading_kit

from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import KillSwitch, OperatorAction
from trading_pipeline.core.risk.limits import LimitChange, RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import OperatorError, TransientError
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.status import read_status
from trading_pipeline.services.submission import GRACE, SubmissionService


class Died(BaseException):
    """The process is gone."""


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        ("", "a reason that is long enough"),
        ("ada", "short"),
        ("ada", "short" + " " * 10),
        ("ada", "x" * 513),
        ("ada", "a reason that is padded" + " " * 500),
        ("ada", "tab\there it is"),
    ],
)
def test_who_and_why_are_required(operator: str, reason: str) -> None:
    """An action without either does not exist."""
    with pytest.raises(OperatorError):
        OperatorAction(operator=operator, reason=reason)


def test_a_book_is_initialised_once(kit: Kit) -> None:
    """A second initialise would forget what the first has seen."""
    with pytest.raises(OperatorError, match="rebuild"):
        kit.operations.initialize_risk_book(RiskLimits(), ACTION)


def test_engaging_twice_and_disengaging_twice_are_errors(kit: Kit) -> None:
    """The operator's picture was wrong: say so."""
    with pytest.raises(OperatorError):
        kit.operations.disengage_kill_switch(ACTION)
    kit.operations.engage_kill_switch(ACTION)
    with pytest.raises(OperatorError):
        kit.operations.engage_kill_switch(ACTION)


def test_a_second_trip_keeps_the_first_reason(kit: Kit) -> None:
    """The first cause is the cause; both are in the audit trail, newest first."""
    second = OperatorAction(operator="bob", reason="something else went wrong")
    kit.operations.trip_circuit_breaker(ACTION)
    record = kit.operations.trip_circuit_breaker(second)

    assert ACTION.reason == record.breaker_reason
    history = kit.ledger.books.history(ACCOUNT)
    assert ["bob", "ada", "ada"] == [row["operator"] for row in history]


def test_only_a_tripped_breaker_can_be_reset(kit: Kit) -> None:
    """And then it is quiet before it is open."""
    with pytest.raises(OperatorError):
        kit.operations.reset_circuit_breaker(ACTION)
    kit.operations.trip_circuit_breaker(ACTION)
    kit.operations.reset_circuit_breaker(ACTION)

    verdict = SubmissionService(kit.account, RUN).submit(order()).verdict
    assert verdict is not None
    assert VerdictCode.QUIET_PERIOD is verdict.code


def test_a_tripped_breaker_lets_only_reducing_orders_through(kit: Kit) -> None:
    """The way out stays open, and it cannot cross zero."""
    hold(kit)
    kit.operations.trip_circuit_breaker(ACTION)
    service, session = SubmissionService(kit.account, RUN), kit.exchange.current_session
    assert session is not None

    assert service.submit(order(qty=1, session=session)).refused
    assert service.submit(order(side=Side.SELL, qty=11, session=session)).refused
    assert OrderState.ACCEPTED is service.submit(order(side=Side.SELL, qty=10, session=session)).order.state


def test_cancel_all_ends_orders_and_frees_their_exposure(kit: Kit) -> None:
    """At the broker, in the ledger and in the book."""
    SubmissionService(kit.account, RUN).submit(order())
    cancellation = kit.operations.cancel_all_orders(ACTION)

    assert [OrderState.CANCELED] == [one.state for one in cancellation.canceled]
    assert {} == kit.ledger.orders.exposure(ACCOUNT)
    settle(kit.account, xnys().next(SESSION))
    assert {} == kit.positions()


def test_lowering_a_limit_below_the_holding_leaves_only_reducing_orders(kit: Kit) -> None:
    """The holding stays, growing stops."""
    hold(kit, qty=10)
    kit.operations.set_risk_limits(RiskLimits(max_position_shares=5), ACTION)
    service, session = SubmissionService(kit.account, RUN), kit.exchange.current_session
    assert session is not None

    assert service.submit(order(qty=1, session=session)).refused
    assert OrderState.ACCEPTED is service.submit(order(side=Side.SELL, qty=3, session=session)).order.state


def test_a_rebuild_keeps_positions_reservations_and_limits(kit: Kit) -> None:
    """The new book holds what the ledger knows, in a new epoch."""
    hold(kit, qty=10)
    session = kit.exchange.current_session
    assert session is not None
    SubmissionService(kit.account, RUN).submit(order("MSFT", qty=4, session=session))
    before = kit.guard.snapshot()
    record = kit.operations.rebuild_risk_book(ACTION)
    after = kit.guard.snapshot()
    assert before is not None
    assert after is not None

    assert before.epoch < record.epoch == after.epoch
    assert dict(before.positions) == dict(after.positions)
    assert set(before.reservations) == set(after.reservations)
    assert before.limits == after.limits


def test_status_says_what_is_wrong_and_what_to_do(kit: Kit, redis_url: str) -> None:
    """Healthy means that orders could clear."""
    assert read_status(kit.account).healthy
    kit.operations.engage_kill_switch(ACTION)
    report = read_status(kit.account)
    assert not report.healthy
    assert {"what": "kill_switch_reason", "value": f"ada: {ACTION.reason}"} in report.trading


def test_positions_of_the_ledger_book_and_broker_agree_after_everything(kit: Kit) -> None:
    """Three views of the same shares."""
    hold(kit, "AAPL", Side.BUY, 10)
    _hold_more = order("AAPL", Side.SELL, 25, session=kit.exchange.current_session)
    SubmissionService(kit.account, RUN).submit(_hold_more)
    settle(kit.account, xnys().shift(SESSION, 2))
    snapshot = kit.guard.snapshot()
    assert snapshot is not None

    expected = {"AAPL": Decimal(-15)}
    assert expected == kit.positions()
    assert expected == kit.exchange.positions()
    assert {"AAPL": -15} == {symbol: shares for symbol, shares in snapshot.positions.items() if shares}


def test_a_blocked_symbol_clears_nothing_until_it_is_unblocked(kit: Kit) -> None:
    """The restricted list is an operator's, with who and why."""
    kit.operations.block_symbol("AAPL", ACTION)
    refused = SubmissionService(kit.account, RUN).submit(order()).verdict
    assert refused is not None
    assert VerdictCode.SYMBOL_BLOCKED is refused.code
    assert {"AAPL": ACTION.reason} == kit.ledger.books.blocked(ACCOUNT)

    kit.operations.unblock_symbol("AAPL", ACTION)
    assert OrderState.ACCEPTED is SubmissionService(kit.account, RUN).submit(order()).order.state
    with pytest.raises(OperatorError, match="not blocked"):
        kit.operations.unblock_symbol("AAPL", ACTION)


def test_each_change_of_a_limit_is_logged_with_from_and_to(kit: Kit) -> None:
    """Who, why, from, to, until: one row a change, newest first; the first values of a book are logged too."""
    until = datetime(2100, 1, 1, tzinfo=UTC)
    kit.operations.change_risk_limits(
        [
            LimitChange(limit="max_order_shares", value=7),
            LimitChange(limit="max_order_shares", value=3, symbol="AAPL", until=until),
        ],
        ACTION,
    )

    newest, before, *first = kit.ledger.books.limit_changes(ACCOUNT, limit=100)
    assert ("max_order_shares", "AAPL", "7", "3", until) == tuple(newest.values())[1:6]
    assert ("max_order_shares", None, "5000", "7", None) == tuple(before.values())[1:6]
    assert {(ACTION.operator, ACTION.reason)} == {(row["operator"], row["reason"]) for row in (newest, before, *first)}
    assert set(RiskLimits().as_text()) == {row["limit_name"] for row in first}
    assert {None} == {row["from_value"] for row in first}


def test_limits_of_ledger_and_book_are_the_same_after_changes_and_a_rebuild(kit: Kit) -> None:
    """A symbol's own limit binds that symbol only, is inherited again on demand, and survives the loss of the book."""
    kit.operations.change_risk_limits([LimitChange(limit="max_order_shares", value=5, symbol="AAPL")], ACTION)
    kit.operations.rebuild_risk_book(ACTION)
    service, book = SubmissionService(kit.account, RUN), kit.guard.snapshot()
    assert book is not None
    assert kit.ledger.books.get(ACCOUNT).limit_set == book.limit_set

    refused = service.submit(order("AAPL", qty=6)).verdict
    assert refused is not None
    assert (VerdictCode.ORDER_SHARES, 6, 5) == (refused.code, refused.observed, refused.limit)
    assert OrderState.ACCEPTED is service.submit(order("MSFT", qty=6)).order.state
    kit.operations.change_risk_limits([LimitChange(limit="max_order_shares", value=None, symbol="AAPL")], ACTION)
    assert OrderState.ACCEPTED is service.submit(order("AAPL", qty=6)).order.state


def test_setting_the_limits_that_hold_already_is_an_error(kit: Kit) -> None:
    """The operator's picture was wrong, and a change that has expired changes nothing either."""
    with pytest.raises(OperatorError, match="no limit"):
        kit.operations.set_risk_limits(RiskLimits(), ACTION)
    past = datetime(2020, 1, 1, tzinfo=UTC)
    with pytest.raises(OperatorError, match="expired"):
        kit.operations.change_risk_limits([LimitChange(limit="max_order_shares", value=1, until=past)], ACTION)


def test_a_closed_gate_lets_only_reducing_orders_through(kit: Kit) -> None:
    """Until somebody has reconciled; closing or opening it twice is an error."""
    kit.operations.close_gate(ACTION)
    verdict = SubmissionService(kit.account, RUN).submit(order()).verdict
    assert verdict is not None
    assert (VerdictCode.GATE_CLOSED, f"ada: {ACTION.reason}") == (verdict.code, verdict.detail)
    with pytest.raises(OperatorError, match="closed already"):
        kit.operations.close_gate(ACTION)

    kit.operations.open_gate(ACTION)
    assert OrderState.ACCEPTED is SubmissionService(kit.account, RUN).submit(order()).order.state
    with pytest.raises(OperatorError, match="open already"):
        kit.operations.open_gate(ACTION)


def test_a_quarantined_symbol_trades_again_after_its_release(kit: Kit) -> None:
    """The quarantine is in ledger and book, and releasing what is not held is an error."""
    kit.operations.quarantine_symbol("AAPL", None, ACTION)
    verdict = SubmissionService(kit.account, RUN).submit(order()).verdict
    assert verdict is not None
    assert VerdictCode.SYMBOL_QUARANTINED is verdict.code
    assert {"AAPL": None} == kit.ledger.books.quarantined(ACCOUNT)

    kit.operations.rebuild_risk_book(ACTION)
    assert SubmissionService(kit.account, RUN).submit(order()).refused
    kit.operations.release_symbol("AAPL", ACTION)
    assert OrderState.ACCEPTED is SubmissionService(kit.account, RUN).submit(order()).order.state
    with pytest.raises(OperatorError, match="not in quarantine"):
        kit.operations.release_symbol("AAPL", ACTION)


@pytest.mark.parametrize("change", ["trip", "limits", "block", "engage"])
def test_a_crash_between_ledger_and_book_leaves_a_stale_book(kit: Kit, change: str) -> None:
    """What the ledger decided holds, told or not: the book that missed it clears nothing."""
    books = kit.ledger.books
    {
        "trip": lambda: books.trip_breaker(ACCOUNT, ACTION.reason, ACTION),
        "limits": lambda: books.set_limits(ACCOUNT, [LimitChange(limit="max_position_shares", value=1)], ACTION),
        "block": lambda: books.block(ACCOUNT, "AAPL", ACTION),
        "engage": lambda: books.set_kill_switch(ACCOUNT, KillSwitch.ENGAGED, ACTION),
    }[change]()
    assert SubmissionService(kit.account, RUN).submit(order()).refused
    assert not read_status(kit.account).healthy

    kit.operations.rebuild_risk_book(ACTION)
    assert SubmissionService(kit.account, RUN).submit(order()).refused


def test_no_epoch_of_a_restored_ledger_is_one_the_book_has_from_before(kit: Kit, database_url: str) -> None:
    """As many changes after the backup as were lost with it make no book current: their contents are others."""
    with psycopg.connect(database_url, autocommit=True, row_factory=psycopg.rows.dict_row) as connection:
        backup = connection.execute("select epoch, breaker from ledger.books").fetchone()
        kit.operations.trip_circuit_breaker(ACTION)
        kit.operations.reset_circuit_breaker(ACTION)
        connection.execute("update ledger.books set epoch = %(epoch)s, breaker = %(breaker)s", backup)
    kit.operations.trip_circuit_breaker(ACTION)
    record = kit.operations.close_gate(ACTION)

    assert record.stale
    verdict = SubmissionService(kit.account, RUN).submit(order()).verdict
    assert verdict is not None
    assert VerdictCode.BOOK_STALE is verdict.code


def test_a_switch_pressed_before_the_first_book_is_engaged_in_it(database_url: str, redis_url: str) -> None:
    """Halting needs no book, and initialising turns nothing off."""
    with trading_kit(database_url, redis_url, initialise=False) as kit:
        kit.operations.engage_kill_switch(ACTION)
        kit.operations.initialize_risk_book(RiskLimits(), ACTION)
        snapshot = kit.guard.snapshot()
    assert snapshot is not None
    assert KillSwitch.ENGAGED is snapshot.kill_switch


def test_an_account_that_never_had_a_book_cannot_rebuild_one(database_url: str, redis_url: str) -> None:
    """It would get default limits that nobody chose."""
    with (
        trading_kit(database_url, redis_url, initialise=False) as kit,
        pytest.raises(OperatorError, match="initialize"),
    ):
        kit.operations.rebuild_risk_book(ACTION)


def test_a_rebuild_judges_holdings_at_the_price_they_were_last_judged_at(kit: Kit) -> None:
    """Not at what they once cost."""
    SubmissionService(kit.account, RUN).submit(order(qty=10, price=Decimal(250)))
    settle(kit.account, xnys().next(SESSION))
    kit.operations.rebuild_risk_book(ACTION)
    snapshot = kit.guard.snapshot()
    assert snapshot is not None
    assert Decimal(2500) == snapshot.gross_notional


def test_cancelling_a_filled_order_books_its_fills_first(kit: Kit) -> None:
    """The exchange was faster: the shares are ours."""
    SubmissionService(kit.account, RUN).submit(order(qty=10))
    kit.exchange.advance(xnys().next(SESSION))
    kit.operations.cancel_all_orders(ACTION)
    assert {"AAPL": Decimal(10)} == kit.positions() == kit.exchange.positions()
    assert read_status(kit.account).healthy


def test_cancel_all_ends_intents_that_were_never_sent(kit: Kit) -> None:
    """A refused order must not come back after its cancellation."""
    kit.operations.engage_kill_switch(ACTION)
    SubmissionService(kit.account, RUN).submit(order())
    kit.operations.cancel_all_orders(ACTION)
    kit.operations.disengage_kill_switch(ACTION)
    assert OrderState.EXPIRED is SubmissionService(kit.account, RUN).submit(order()).order.state
    assert [] == kit.broker.sent


def _cleared_but_not_sent(kit: Kit, *, at_broker: bool = False) -> NewOrder:
    """Leave an order as a process leaves it that dies around its send: cleared in ledger and book."""
    (kit.broker.after if at_broker else kit.broker.before).append(Died())
    new = order()
    with pytest.raises(Died):
        SubmissionService(kit.account, RUN).submit(new)
    return new


def test_an_order_cancelled_while_it_was_cleared_is_never_sent(kit: Kit) -> None:
    """Neither by whoever resumes, nor by a retry: it ends canceled and gives its exposure back."""
    new = _cleared_but_not_sent(kit)
    cancellation = kit.operations.cancel_all_orders(ACTION)
    assert [OrderState.CLEARED] == [one.state for one, _ in cancellation.still_live]

    SubmissionService(kit.account, RUN).resume()
    assert OrderState.CLEARED is SubmissionService(kit.account, RUN).submit(new).order.state
    kit.clock.advance(GRACE.total_seconds())
    SubmissionService(kit.account, RUN).resume()

    assert OrderState.CANCELED is kit.ledger.orders.get(new.intent.client_order_id).state
    book = kit.guard.snapshot()
    assert book is not None
    assert ([], {}) == (kit.broker.sent, dict(book.reservations))


def test_an_order_the_broker_had_all_along_is_cancelled_there(kit: Kit) -> None:
    """The answer was lost and the first cancellation too: the next to look asks again."""
    new = _cleared_but_not_sent(kit, at_broker=True)
    kit.broker.cancel_failures.append(TransientError("429"))
    kit.operations.cancel_all_orders(ACTION)

    SubmissionService(kit.account, RUN).resume()

    assert OrderState.CANCELED is kit.ledger.orders.get(new.intent.client_order_id).state
    assert [] == kit.exchange.open_orders()


def test_a_process_that_has_taken_the_order_up_does_not_send_it_after_a_cancellation(kit: Kit) -> None:
    """It stands between its clearance and its last check when the operator cancels."""
    new = order()
    service, cancelled = SubmissionService(kit.account, RUN), []
    record = kit.account.ledger.orders.record_verdicts

    def then_cancel(*arguments: object) -> object:
        answer = record(*arguments)
        cancelled.append(kit.operations.cancel_all_orders(ACTION))
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kit.account.ledger.orders, "record_verdicts", then_cancel)
        verdict = service.submit(new).verdict

    assert verdict is not None
    assert (VerdictCode.ENDED, "its cancellation was asked for before it was sent") == (verdict.code, verdict.detail)
    assert [] == kit.broker.sent


def test_cancel_all_goes_on_after_a_failure_and_reports_it(kit: Kit) -> None:
    """One order's trouble does not keep the others live."""
    service = SubmissionService(kit.account, RUN)
    service.submit(order("AAPL"))
    service.submit(order("MSFT"))
    kit.broker.cancel_failures.append(TransientError("429"))
    result = kit.operations.cancel_all_orders(ACTION)
    assert (1, ["429"]) == (len(result.canceled), [why for _, why in result.still_live])


def test_status_notices_when_ledger_book_and_broker_disagree(kit: Kit) -> None:
    """Three views of the same shares, compared every time."""
    hold(kit, qty=10)
    assert read_status(kit.account).healthy
    kit.guard.post(
        client_order_id="elsewhere",
        execution_id="x",
        qty=5,
        symbol="AAPL",
        side=Side.BUY,
        price_ticks=1_000_000,
        epoch=kit.ledger.books.get(ACCOUNT).epoch,
        min_sequence=0,
    )
    report = read_status(kit.account)
    assert not report.healthy
    assert any("disagree about AAPL" in row["value"] for row in report.trading)
