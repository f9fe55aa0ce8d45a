"""A sweep finds what happened at the broker, once, without sending anything."""

from decimal import Decimal

import pytest
from support.alpaca.bench import Bench
from support.alpaca.server import Fault
from support.trading import ACCOUNT, RUN, order

from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.errors import ServerUnavailable, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.sweep import sweep
from trading_pipeline.services.verification import compare


def _send(account: TradingAccount, *symbols: str) -> list[str]:
    sent = SubmissionService(account, RUN).submit_all([order(symbol) for symbol in symbols])
    assert all(one.order.state is OrderState.ACCEPTED for one in sent)
    return [one.order.client_order_id for one in sent]


def test_nothing_is_asked_while_nothing_is_open(account: TradingAccount, bench: Bench) -> None:
    """An idle account costs the broker's budget nothing."""
    before = len(bench.server.requests)
    assert sweep(account) is None
    assert before == len(bench.server.requests)


def test_executions_are_found_once_however_often_it_sweeps(account: TradingAccount, bench: Bench) -> None:
    """Part of one order, all of another; then the rest."""
    apple, microsoft = _send(account, "AAPL", "MSFT")
    bench.exchange.fill(apple, 3)
    bench.exchange.fill(microsoft)
    first = sweep(account)
    assert first is not None
    assert (2, Decimal(13)) == (len(first.settlement.booked), first.shares_found)
    assert [apple] == [one.client_order_id for one in first.open]

    again = sweep(account)
    assert again is not None
    assert ((), ()) == (again.settlement.booked, again.settlement.ended)

    bench.exchange.fill(apple)
    bench.waits.sleep(30)
    last = sweep(account)
    assert last is not None
    assert (Decimal(7), ()) == (last.shares_found, last.open)
    assert sweep(account) is None
    assert [] == compare(account)


def test_an_order_whose_answer_was_lost_is_shown_until_it_is_known(account: TradingAccount, bench: Bench) -> None:
    """It keeps its exposure, and nothing is sent again by looking."""
    bench.exchange.lag()
    bench.server.plan_for("POST", "/v2/orders", Fault(kind="hang", after=True))
    SubmissionService(account, RUN).submit(order("AAPL"))
    found = sweep(account)
    assert found is not None
    assert ["AAPL"] == [one.intent.symbol for one in found.unconfirmed]
    bench.exchange.catch_up()
    bench.exchange.fill_all()
    bench.waits.sleep(30)
    found = sweep(account)
    assert found is not None
    assert (Decimal(10), ()) == (found.shares_found, found.open)
    assert {1} == set(bench.exchange.accepted_per_intent().values())


def test_a_broker_that_is_away_changes_nothing(account: TradingAccount, bench: Bench) -> None:
    """The next sweep finds everything."""
    (apple,) = _send(account, "AAPL")
    bench.exchange.fill(apple)
    bench.server.plan(*[Fault(status=503)] * 12)
    with pytest.raises(TransientError):
        sweep(account)
    assert {} == account.ledger.fills.positions(ACCOUNT)
    bench.server.faults.clear()
    found = sweep(account)
    assert found is not None
    assert Decimal(10) == found.shares_found


def test_a_sweep_does_not_wait_for_who_works_on_the_account(account: TradingAccount) -> None:
    """Who holds the account settles by itself."""
    _send(account, "AAPL")
    with account.ledger.lane(ACCOUNT), pytest.raises(ServerUnavailable, match="another process has been working"):
        sweep(account)
