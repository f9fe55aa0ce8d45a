"""After its close a session is swept, what is left of it cancelled, and it is tied out."""

from datetime import UTC, datetime

import pytest
from support.alpaca.bench import Bench
from support.trading import ACCOUNT, ACTION, RUN, SESSION, order

from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import OperatorError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.closing import close_session
from trading_pipeline.services.submission import SubmissionService

TRADED = xnys().next(SESSION)
AFTER_THE_CLOSE = datetime(2023, 9, 5, 20, 45, tzinfo=UTC)


def test_what_filled_is_booked_what_is_left_is_cancelled_and_the_session_tied_out(
    account: TradingAccount, bench: Bench
) -> None:
    """Nobody had told of the fill; the other order the broker still shows as working."""
    filled, left = SubmissionService(account, RUN).submit_all([order("AAPL"), order("MSFT")])
    bench.exchange.fill(filled.order.client_order_id)
    bench.waits.instant = AFTER_THE_CLOSE
    done = close_session(account, ACTION)
    assert (TRADED, True, ()) == (done.session, done.tie_out.agrees, done.cancellation.still_live)
    assert done.tie_out.final
    states = account.ledger.orders.get_many([filled.order.client_order_id, left.order.client_order_id])
    assert OrderState.FILLED is states[filled.order.client_order_id].state
    assert states[left.order.client_order_id].state.terminal
    assert [] == account.ledger.orders.live(ACCOUNT)
    assert TRADED == account.ledger.tie_outs.tied_out_through(ACCOUNT)

    again = close_session(account, ACTION)
    assert (0, True) == (len(again.cancellation.canceled), again.tie_out.agrees)


def test_a_session_that_is_open_is_not_closed(account: TradingAccount) -> None:
    """Its working orders stay as they are; the hour of the close is named."""
    SubmissionService(account, RUN).submit(order("AAPL"))
    with pytest.raises(OperatorError, match=f"{TRADED} closes at 16:00 New York"):
        close_session(account, ACTION)
    assert 1 == len(account.ledger.orders.live(ACCOUNT))


def test_a_half_day_is_closed_by_its_own_hour(account: TradingAccount, bench: Bench) -> None:
    """At one in New York, not at four."""
    bench.waits.instant = datetime(2023, 11, 24, 17, 59, tzinfo=UTC)
    with pytest.raises(OperatorError, match="2023-11-24 closes at 13:00 New York"):
        close_session(account, ACTION)
    bench.waits.instant = datetime(2023, 11, 24, 18, 45, tzinfo=UTC)
    assert close_session(account, ACTION).tie_out.agrees
