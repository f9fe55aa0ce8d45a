"""Every fill is judged by the risk monitor where it is booked, whoever finds it: none waits for the next look."""

from dataclasses import replace
from decimal import Decimal

import pytest
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, order, quotes, valuation

from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.core.orders.model import OrderIntent, ReferencePrice, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import Clearance, VerdictCode
from trading_pipeline.core.risk.halts import Breaker
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import OrderStateUnknown, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.single_orders import cancel_order, cancel_orders, close_position
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import verify_book

CAPITAL = Decimal(100_000)
NEXT = xnys().next(SESSION)


def _at(kit: Kit, price: int) -> TradingAccount:
    """Value every share at this price; bought at 100, 500 of them lose half of 50,000 dollars at 50."""
    return replace(kit.account, valuation=valuation(Decimal(price), capital=CAPITAL))


def _breakers(kit: Kit) -> tuple[Breaker, Breaker]:
    """The breaker of the ledger, and of the book."""
    snapshot = kit.guard.snapshot()
    assert snapshot is not None
    return kit.ledger.books.get(ACCOUNT).breaker, snapshot.breaker


def _filled_unseen(kit: Kit) -> str:
    """Buy 500 shares that are filled at the exchange before anybody of ours looks."""
    sent = SubmissionService(_at(kit, 100), RUN).submit(order(qty=500)).order
    kit.exchange.advance(NEXT)
    assert (Breaker.OPEN, Breaker.OPEN) == _breakers(kit)
    return sent.client_order_id


class _FillsAtOnce:
    """A broker whose answer to the first send tells of the fill already."""

    def __init__(self, kit: Kit) -> None:
        self._exchange = kit.exchange
        self.sent: list[str] = []

    def submit(self, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Accept, and let the first order meet the open before it is answered."""
        answer = self._exchange.submit(intent, clearance)
        self.sent.append(intent.client_order_id)
        if len(self.sent) > 1:
            return answer
        self._exchange.advance(NEXT)
        return self._exchange.find(intent.client_order_id) or answer

    def __getattr__(self, name: str) -> object:
        return getattr(self._exchange, name)


def test_a_fill_that_a_look_up_finds(kit: Kit) -> None:
    """An answer was lost, and the order was filled meanwhile at a price that has fallen since."""
    kit.broker.after.append(OrderStateUnknown("lost"))
    service = SubmissionService(_at(kit, 100), RUN)
    assert OrderState.SUBMITTED_UNCONFIRMED is service.submit(order(qty=500)).order.state
    kit.exchange.advance(NEXT)
    assert (Breaker.OPEN, Breaker.OPEN) == _breakers(kit)

    (adopted,) = SubmissionService(_at(kit, 50), RUN).look_up()

    assert OrderState.FILLED is adopted.order.state
    assert (Breaker.TRIPPED, Breaker.TRIPPED) == _breakers(kit)


def test_a_fill_that_a_reconciliation_finds(kit: Kit) -> None:
    """Before its gate opens for the next order."""
    _filled_unseen(kit)

    found = reconcile(_at(kit, 50), ACTION)

    assert () == found.unexplained
    assert (Breaker.TRIPPED, Breaker.TRIPPED) == _breakers(kit)


def test_a_fill_that_a_cancellation_comes_too_late_for(kit: Kit) -> None:
    """The broker answers that the order is filled: the next order is refused, not that of 30 s later."""
    order_id = _filled_unseen(kit)

    (too_late,) = cancel_order(_at(kit, 50), order_id, ACTION).canceled

    assert OrderState.FILLED is too_late.state
    assert (Breaker.TRIPPED, Breaker.TRIPPED) == _breakers(kit)
    refused = SubmissionService(kit.account, RUN).submit(order("MSFT", qty=1, session=NEXT)).verdict
    assert refused is not None
    assert VerdictCode.BREAKER_TRIPPED is refused.code
    assert () == verify_book(kit.account).differences


def test_a_fill_that_the_answer_to_a_send_tells_of(kit: Kit) -> None:
    """The guard is told of it as well, so the way out is open at once."""
    account = replace(_at(kit, 50), broker=_FillsAtOnce(kit))

    sent = SubmissionService(account, RUN).submit(order(qty=500)).order

    assert OrderState.FILLED is sent.state
    assert (Breaker.TRIPPED, Breaker.TRIPPED) == _breakers(kit)
    out = SubmissionService(account, RUN).submit(order(side=Side.SELL, qty=500, session=NEXT)).order
    assert OrderState.ACCEPTED is out.state


def test_a_fill_that_a_rebuild_brings_home(kit: Kit) -> None:
    """The book that it writes has tripped already, and is the ledger's."""
    _filled_unseen(kit)
    lossy = RiskOperations(_at(kit, 50))

    lossy.rebuild_risk_book(ACTION)

    assert (Breaker.TRIPPED, Breaker.TRIPPED) == _breakers(kit)
    assert {"AAPL": Decimal(500)} == kit.positions()
    assert () == verify_book(kit.account).differences


@pytest.mark.parametrize("what", ["cancellation", "rebuild", "flatten", "close"])
def test_a_person_is_not_kept_from_getting_out_by_a_loss_that_nobody_can_judge(kit: Kit, what: str) -> None:
    """The fill is booked, the verb done, and whoever looks next judges it."""
    order_id = _filled_unseen(kit)

    def away(*_: object) -> dict[str, ReferencePrice]:
        raise TransientError("no prices now")

    blind = replace(kit.account, valuation=replace(valuation(capital=CAPITAL), quotes=away, volumes=away))
    if what == "rebuild":
        RiskOperations(blind).rebuild_risk_book(ACTION)
    elif what == "flatten":
        (out,) = RiskOperations(blind).flatten_positions(ACTION, quotes).submissions
        assert OrderState.ACCEPTED is out.order.state
    elif what == "close":
        (out,) = close_position(blind, "AAPL", ACTION, quotes).submissions
        assert OrderState.ACCEPTED is out.order.state
    else:
        assert cancel_order(blind, order_id, ACTION).canceled
    assert {"AAPL": Decimal(500)} == kit.positions()
    assert (Breaker.OPEN, Breaker.OPEN) == _breakers(kit)
    with pytest.raises(TransientError, match="no prices now"):
        settle(blind, NEXT)

    settle(_at(kit, 50), NEXT)
    assert (Breaker.TRIPPED, Breaker.TRIPPED) == _breakers(kit)


def test_a_batch_is_judged_once(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many fills it brings; sending orders that are only accepted asks nothing of the monitor at all."""
    asked: list[str] = []
    unwatched, judged = kit.ledger.monitors.unwatched_fill, kit.ledger.monitors.watched
    monkeypatch.setattr(kit.ledger.monitors, "unwatched_fill", lambda name: (asked.append("news"), unwatched(name))[1])
    monkeypatch.setattr(kit.ledger.monitors, "watched", lambda *fill: (asked.append("judged"), judged(*fill)))

    sent = SubmissionService(kit.account, RUN).submit_all([order(symbol) for symbol in ("AAPL", "MSFT", "NVDA")])
    assert [] == asked
    kit.exchange.advance(NEXT)
    with kit.ledger.lane(ACCOUNT):
        cancellation = cancel_orders(kit.account, [one.order for one in sent], ACTION)

    assert [OrderState.FILLED] * 3 == [one.state for one in cancellation.canceled]
    assert ["news", "judged"] == asked
