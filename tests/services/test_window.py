"""A session's own orders are sent before its open or not at all; people and large orders are not bound to it."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from support.alpaca.bench import Bench
from support.alpaca.server import Fault
from support.session_lake import session_lake
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, order, quotes
from support.virtual_time import shift_time
from support.window import WINDOW

from trading_pipeline.adapters.store.ledger.session_records import Outcome
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.errors import OutsideSubmissionWindow
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebalance import rebalance
from trading_pipeline.services.session_story import stories, unexplained
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import GRACE, SubmissionService

pytestmark = pytest.mark.usefixtures("early")

TOO_EARLY = datetime(2023, 9, 5, 7, 29, tzinfo=UTC)
TOO_LATE = datetime(2023, 9, 5, 13, 25, tzinfo=UTC)


@pytest.mark.parametrize(("at", "words"), [(TOO_EARLY, "not open yet"), (TOO_LATE, "not traded late")])
def test_outside_of_the_window_nothing_is_recorded_or_sent(
    at: datetime, words: str, bound: TradingAccount, bench: Bench
) -> None:
    """The refusal says which window, and what to do."""
    bench.waits.instant = at
    wanted = order("AAPL")
    with pytest.raises(OutsideSubmissionWindow, match=words):
        SubmissionService(bound, RUN).submit(wanted)
    assert bound.ledger.orders.get(wanted.intent.client_order_id) is None
    assert [] == bench.exchange.accepted


def test_in_the_window_orders_are_sent_and_may_be_asked_for_again_after_it(bound: TradingAccount, bench: Bench) -> None:
    """What was sent stays sent: nothing would be sent late."""
    wanted = order("AAPL")
    assert not SubmissionService(bound, RUN).submit(wanted).refused
    bench.waits.instant = TOO_LATE
    assert OrderState.ACCEPTED is SubmissionService(bound, RUN).submit(wanted).order.state
    assert 1 == len(bench.exchange.accepted)


def test_a_session_whose_window_was_missed_is_explained_and_not_traded(
    bound: TradingAccount, bench: Bench, tmp_path: Path
) -> None:
    """By the name of the refusal, also for whoever looks for sessions that nothing explains."""
    lake = session_lake(tmp_path)
    bench.waits.instant = TOO_LATE
    with pytest.raises(OutsideSubmissionWindow):
        rebalance(bound, lake, SESSION, provenance=Provenance(run_id="late"))
    (told,) = stories(bound, [SESSION])
    assert (Outcome.REFUSED, 0) == (told.outcome, told.orders)
    assert told.reason.startswith("OutsideSubmissionWindow: orders decided from 2023-09-01")
    assert SESSION not in [one.session for one in unexplained(bound)]
    assert [] == bench.exchange.accepted


def test_an_order_that_a_crash_left_cleared_expires_with_the_window(
    bound: TradingAccount, bench: Bench, database_url: str
) -> None:
    """Looked up twice, a grace time apart; then its exposure is free and it was never sent."""
    bench.server.plan_for("POST", "/v2/orders", Fault(status=429))
    left = SubmissionService(bound, RUN).submit(order("AAPL")).order
    assert OrderState.CLEARED is left.state
    bench.waits.instant = TOO_LATE
    for _ in range(2):
        SubmissionService(bound, RUN).resume()
        shift_time(database_url, GRACE.total_seconds() + 1)
        bench.waits.sleep(GRACE.total_seconds() + 1)
    stored = bound.ledger.orders.get(left.client_order_id)
    assert stored is not None
    assert OrderState.EXPIRED is stored.state
    assert ([], []) == (bench.exchange.accepted, bound.ledger.orders.live(ACCOUNT))


def test_flattening_is_not_bound_to_the_window(bound: TradingAccount, bench: Bench) -> None:
    """A person wants to get out now."""
    sent = SubmissionService(bound, RUN).submit(order("AAPL")).order
    bench.waits.instant = datetime(2023, 9, 5, 14, 0, tzinfo=UTC)
    bench.exchange.fill(sent.client_order_id)
    settle(bound, SESSION)
    done = RiskOperations(bound).flatten_positions(ACTION, quotes)
    assert [False] == [one.refused for one in done.submissions]
    assert Decimal(10) == bound.ledger.orders.live(ACCOUNT)[0].remaining


def test_the_simulated_exchange_has_no_window(kit: Kit) -> None:
    """Its sessions are of the past, whatever time it is."""
    account = replace(kit.account, window=WINDOW)
    assert not SubmissionService(account, RUN).submit(order("AAPL")).refused
