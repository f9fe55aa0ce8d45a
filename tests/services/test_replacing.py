"""An Alpaca order takes another one's place: one reservation, at most one live order, fills counted once."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from support.alpaca.bench import Bench
from support.alpaca.server import Fault
from support.trading import ACCOUNT, ACTION, RUN, SESSION, order, quotes
from support.virtual_time import shift_time

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.errors import OperatorError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.explain import explain
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.single_orders import OrderChange, cancel_order, replace_order
from trading_pipeline.services.status import read_status
from trading_pipeline.services.submission import Submission, SubmissionService
from trading_pipeline.services.sweep import sweep
from trading_pipeline.services.verification import compare, compare_book, read_ledger

LIMIT = Decimal("100.50")


def working(account: TradingAccount, qty: int = 10) -> str:
    """Send an order and return its id."""
    (sent,) = SubmissionService(account, RUN).submit_all([order("AAPL", qty=qty, limit_price=LIMIT)])
    assert OrderState.ACCEPTED is sent.order.state
    return sent.order.client_order_id


def change(account: TradingAccount, order_id: str, **wanted) -> Submission:
    """Replace an order."""
    return replace_order(account, order_id, OrderChange(**wanted), ACTION, quotes)


def held(account: TradingAccount) -> dict[str, Decimal]:
    """Return what the book reserves."""
    book = account.guard.snapshot()
    assert book is not None
    return {name: one.remaining for name, one in book.reservations.items()}


def states(account: TradingAccount, *order_ids: str) -> list[OrderState]:
    """Return where orders stand in the ledger."""
    known = account.ledger.orders.get_many(order_ids)
    return [known[one].state for one in order_ids]


def path_of(bench: Bench, order_id: str) -> str:
    """Return where the server answers about an order."""
    return f"/v2/orders/{bench.exchange.order(order_id).id}"


def end_of_all(account: TradingAccount, bench: Bench) -> None:
    """Fill what works, settle, and check that the three agree and nothing is reserved."""
    for one in list(bench.exchange.books.orders.values()):
        if one.working:
            bench.exchange.fill(one.client_order_id)
    bench.waits.sleep(61)
    settle(account, SESSION)
    positions = {symbol: one.qty for symbol, one in account.ledger.fills.positions(ACCOUNT).items()}
    assert bench.exchange.positions() == positions
    assert ({}, []) == (held(account), compare(account))
    assert account.ledger.seals.verify().sound


def test_the_new_order_takes_the_place_of_the_old_one(account: TradingAccount, bench: Bench) -> None:
    """Another quantity and limit, as exact text; the old order is replaced and the new one holds what it can fill."""
    old = working(account)
    done = change(account, old, qty=15, limit_price=Decimal("100.75"))
    new = done.order.client_order_id
    (patch,) = [one for one in bench.server.requests if one.method == "PATCH"]
    assert f'{{"client_order_id": "{new}", "qty": "15", "time_in_force": "day", "limit_price": "100.75"}}' == patch.body
    assert [OrderState.REPLACED, OrderState.ACCEPTED] == states(account, old, new)
    assert {old: Decimal(15)} == held(account)
    assert [] == compare(account)
    end_of_all(account, bench)
    assert [OrderState.REPLACED, OrderState.FILLED] == states(account, old, new)
    assert Decimal(15) == bench.exchange.positions()["AAPL"]


def test_shares_filled_before_count_toward_the_total(account: TradingAccount, bench: Bench) -> None:
    """3 of 10 are filled; 8 in all leave 5 to fill."""
    old = working(account)
    bench.exchange.fill(old, 3)
    new = change(account, old, qty=8).order
    assert ({old: Decimal(5)}, Decimal(5)) == (held(account), bench.exchange.order(new.client_order_id).remaining)
    exposure = account.ledger.orders.exposure(ACCOUNT)["AAPL"]
    assert (Decimal(3), Decimal(5)) == (exposure.position, exposure.pending)
    end_of_all(account, bench)
    assert Decimal(8) == bench.exchange.positions()["AAPL"]
    assert [OrderState.REPLACED, OrderState.FILLED] == states(account, old, new.client_order_id)
    assert [] == account.ledger.alerts.latest()


def test_explain_shows_the_chain(account: TradingAccount, tmp_path: Path) -> None:
    """Every order of it, with who replaced it and why, from whichever of them one starts."""
    old = working(account)
    new = change(account, old, qty=14).order.client_order_id
    for start in (old, new):
        shown = dict(explain(start, ledger=account.ledger, lake=Lake(tmp_path)).sections())
        assert [(old, "", "replaced"), (new, old, "accepted")] == [
            (one["client_order_id"], one["replaces"], one["state"]) for one in shown["chain of replacements"]
        ]
        assert (ACTION.operator, ACTION.reason) == tuple(
            shown["chain of replacements"][1][name] for name in ("by", "why")
        )


def test_status_names_orders_whose_answer_was_lost(account: TradingAccount, bench: Bench) -> None:
    """Among the open orders, and in the reason a person reads first."""
    old = working(account)
    bench.exchange.lag()
    bench.server.plan_for("PATCH", path_of(bench, old), Fault(kind="hang", after=True))
    new = change(account, old, qty=14).order.client_order_id
    status = read_status(account)
    trading = {row["what"]: row["value"] for row in status.trading}
    assert ("1", True) == (trading["submitted_unconfirmed"], f"{new} (AAPL)" in trading["why"])
    assert {old: "accepted", new: "submitted_unconfirmed"} == {
        row["client_order_id"]: row["state"] for row in status.open_orders
    }


def test_a_quantity_must_be_above_what_is_filled(account: TradingAccount, bench: Bench) -> None:
    """To keep what is filled an order is cancelled, not replaced."""
    old = working(account)
    bench.exchange.fill(old, 3)
    with pytest.raises(OperatorError, match="has 3 shares filled"):
        change(account, old, qty=3)
    assert 0 == sum(one.method == "PATCH" for one in bench.server.requests)


NOT_NOW = ["accepted", "pending_new", "pending_cancel", "pending_replace", "held", "done_for_day"]


@pytest.mark.parametrize("status", NOT_NOW)
def test_some_statuses_are_refused_by_name_before_anything_is_written(
    account: TradingAccount, bench: Bench, status: str
) -> None:
    """The same may be asked again later."""
    old = working(account)
    bench.exchange.order(old).status = status
    with pytest.raises(OperatorError, match=f"is {status} at Alpaca.*try again later"):
        change(account, old, qty=12)
    assert [] == account.ledger.chains.replacements(old)
    bench.exchange.order(old).status = "new"
    assert OrderState.ACCEPTED is change(account, old, qty=12).order.state


def test_the_guard_judges_the_order_that_results(account: TradingAccount, bench: Bench) -> None:
    """Past a limit nothing is sent, and the old order is as it was."""
    limits = replace(account.ledger.books.get(ACCOUNT).limits, max_position_shares=12)
    RiskOperations(account).set_risk_limits(limits, ACTION)
    old = working(account)
    refused = change(account, old, qty=13)
    assert (True, OrderState.REFUSED) == (refused.refused, refused.order.state)
    assert ({old: Decimal(10)}, "new") == (held(account), bench.exchange.order(old).status)
    assert OrderState.ACCEPTED is change(account, old, qty=12).order.state
    end_of_all(account, bench)


FAULTS = [
    pytest.param(Fault(status=500, body="<html>oops</html>"), False, id="500 before"),
    pytest.param(Fault(status=504, after=True), True, id="504 after"),
    pytest.param(Fault(kind="hang", after=True), True, id="hang after"),
    pytest.param(Fault(kind="reset"), False, id="reset before"),
    pytest.param(Fault(kind="reset", after=True), True, id="reset after"),
    pytest.param(Fault(kind="cut", after=True), True, id="cut answer"),
]


@pytest.mark.parametrize(("fault", "arrived"), FAULTS)
def test_a_lost_answer_is_looked_up_and_never_asked_for_again(
    account: TradingAccount, bench: Bench, database_url: str, fault: Fault, arrived: bool
) -> None:
    """Found by its own id, or absent twice a grace time apart; the larger of the two is held until then."""
    old = working(account)
    bench.exchange.lag()
    bench.server.plan_for("PATCH", path_of(bench, old), fault)
    new = change(account, old, qty=14).order
    assert OrderState.SUBMITTED_UNCONFIRMED is new.state
    assert {old: Decimal(14)} == held(account)
    bench.exchange.catch_up()
    for _ in range(2):
        bench.waits.sleep(61)
        shift_time(database_url, 61)
        sweep(account)
    wanted = [OrderState.REPLACED, OrderState.ACCEPTED] if arrived else [OrderState.ACCEPTED, OrderState.EXPIRED]
    assert wanted == states(account, old, new.client_order_id)
    assert {old: Decimal(14 if arrived else 10)} == held(account)
    assert 1 == sum(one.method == "PATCH" for one in bench.server.requests)
    end_of_all(account, bench)
    assert Decimal(14 if arrived else 10) == bench.exchange.positions()["AAPL"]


def test_what_replaced_the_old_order_tells_of_the_new_one(account: TradingAccount, bench: Bench) -> None:
    """Its own id is not found yet: the old order names it."""
    old = working(account)
    bench.exchange.lag()
    bench.server.plan_for("PATCH", path_of(bench, old), Fault(kind="reset", after=True))
    new = change(account, old, qty=14).order
    bench.exchange.catch_up()
    absent = Fault(status=404, body='{"code": 40410000, "message": "order not found for x"}')
    bench.server.plan_for("GET", "/v2/orders:by_client_order_id", absent)
    bench.waits.sleep(31)
    sweep(account)
    assert [OrderState.REPLACED, OrderState.ACCEPTED] == states(account, old, new.client_order_id)
    end_of_all(account, bench)


def test_an_order_that_fills_first_keeps_its_replacement_out(account: TradingAccount, bench: Bench) -> None:
    """Alpaca refuses it; nothing is left reserved."""
    old = working(account)
    original = account.broker.require_replaceable

    def filled_meanwhile(order_id: str) -> None:
        original(order_id)
        bench.exchange.fill(order_id)

    account.broker.require_replaceable = filled_meanwhile  # type: ignore[method-assign]
    done = change(account, old, qty=14)
    assert [OrderState.FILLED, OrderState.REJECTED] == states(account, old, done.order.client_order_id)
    assert ({}, []) == (held(account), compare(account))


def test_accepted_and_then_rejected_because_the_old_order_filled_first(account: TradingAccount, bench: Bench) -> None:
    """A 200 is no proof: the old order is filled, the new one rejected, and both end so."""
    old = working(account)
    bench.exchange.replaces_at_once = False
    new = change(account, old, qty=14).order.client_order_id
    assert ({old: Decimal(14)}, OrderState.ACCEPTED) == (held(account), states(account, old)[0])
    bench.exchange.fill(old)
    bench.exchange.end(new, "rejected")
    end_of_all(account, bench)
    assert [OrderState.FILLED, OrderState.REJECTED] == states(account, old, new)
    assert Decimal(10) == bench.exchange.positions()["AAPL"]


def test_fills_of_the_old_order_while_it_is_being_replaced_count_once(account: TradingAccount, bench: Bench) -> None:
    """4 of the old one after the request, then it is replaced, and the new one works for the rest of the total."""
    old = working(account)
    bench.exchange.replaces_at_once = False
    new = change(account, old, qty=12).order.client_order_id
    bench.exchange.fill(old, 4)
    bench.waits.sleep(31)
    sweep(account)
    assert {old: Decimal(8)} == held(account)
    bench.exchange.replace_now(old)
    bench.exchange.fill(new, 5)
    bench.waits.sleep(31)
    sweep(account)
    assert {old: Decimal(3)} == held(account)
    end_of_all(account, bench)
    assert Decimal(12) == bench.exchange.positions()["AAPL"]
    assert [OrderState.REPLACED, OrderState.FILLED] == states(account, old, new)
    assert [] == account.ledger.alerts.latest()


def test_a_replacement_that_fills_before_the_old_order_is_seen_replaced_holds_nothing_more(
    account: TradingAccount, bench: Bench
) -> None:
    """The broker's word about the old order lags behind the executions: ledger and book agree, a new book as well."""
    old = working(account)
    bench.exchange.replaces_at_once = False
    new = change(account, old, qty=12).order.client_order_id
    bench.exchange.fill(new, 12)
    settle(account, SESSION)
    assert [OrderState.ACCEPTED, OrderState.FILLED] == states(account, old, new)
    assert ({}, []) == (held(account), compare_book(account, read_ledger(account)))
    RiskOperations(account).rebuild_risk_book(ACTION)
    assert ({}, []) == (held(account), compare_book(account, read_ledger(account)))


def test_asked_again_it_returns_what_was_asked_for_before(account: TradingAccount, bench: Bench) -> None:
    """The same change is one order; another change of the old order names the one that took its place."""
    old = working(account)
    first = change(account, old, qty=14).order
    again = change(account, old, qty=14).order
    assert first.client_order_id == again.client_order_id
    with pytest.raises(OperatorError, match=f"was replaced by {first.client_order_id}"):
        change(account, old, qty=16)
    second = change(account, first.client_order_id, limit_price=Decimal("100.25")).order
    third = change(account, second.client_order_id, limit_price=LIMIT).order
    assert 4 == len({old, first.client_order_id, second.client_order_id, third.client_order_id})
    assert {old: Decimal(14)} == held(account)
    end_of_all(account, bench)
    assert Decimal(14) == bench.exchange.positions()["AAPL"]


def test_a_rebuilt_book_holds_the_chain_as_before(account: TradingAccount, bench: Bench) -> None:
    """While the fate of the replacement is unknown, and after."""
    old = working(account)
    bench.exchange.fill(old, 2)
    bench.exchange.replaces_at_once = False
    change(account, old, qty=7)
    RiskOperations(account).rebuild_risk_book(ACTION)
    assert ({old: Decimal(8)}, []) == (held(account), compare(account))
    bench.exchange.replace_now(old)
    bench.waits.sleep(61)
    sweep(account)
    RiskOperations(account).rebuild_risk_book(ACTION)
    assert ({old: Decimal(5)}, []) == (held(account), compare(account))
    end_of_all(account, bench)


@pytest.mark.parametrize("filled", [6, 10], ids=["as_many", "more"])
def test_a_book_is_rebuilt_where_the_old_order_fills_what_its_replacement_asks_for(
    account: TradingAccount, bench: Bench, filled: int
) -> None:
    """Nothing is left that the replacement could fill, which is no reason to have no book."""
    old = working(account)
    bench.exchange.replaces_at_once = False
    new = change(account, old, qty=6).order.client_order_id
    bench.exchange.fill(old, filled)
    bench.waits.sleep(31)
    settle(account, SESSION)
    stored = account.ledger.orders.get(new)
    assert stored is not None
    assert Decimal(filled) == stored.carried_qty
    RiskOperations(account).rebuild_risk_book(ACTION)
    assert [] == compare(account)
    bench.exchange.end(new, "rejected")
    end_of_all(account, bench)


def test_a_replacement_that_works_for_too_many_shares_is_cancelled(account: TradingAccount, bench: Bench) -> None:
    """The broker takes the quantity for what is to come: never more than was asked for, and a person is told."""
    old = working(account)
    bench.exchange.fill(old, 3)
    bench.exchange.counts_what_is_filled = False
    new = change(account, old, qty=8).order.client_order_id
    assert "canceled" == bench.exchange.order(new).status
    assert ["replacement_larger"] == [one["kind"] for one in account.ledger.alerts.latest()]
    end_of_all(account, bench)
    assert Decimal(3) == bench.exchange.positions()["AAPL"]


def test_cancelling_the_old_id_of_a_pending_replacement_ends_both(account: TradingAccount, bench: Bench) -> None:
    """Whichever of the two works is cancelled, and nothing stays reserved."""
    old = working(account)
    bench.exchange.replaces_at_once = False
    new = change(account, old, qty=14).order.client_order_id
    cancel_order(account, old, ACTION)
    bench.waits.sleep(31)
    sweep(account)
    assert [OrderState.CANCELED, OrderState.CANCELED] == states(account, old, new)
    end_of_all(account, bench)
    assert {} == bench.exchange.positions()
