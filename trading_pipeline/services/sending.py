"""Cleared orders on their way to the broker: each looked at for the last time, sent once, its answer recorded."""

from collections.abc import Mapping, Sequence

import structlog

from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.adapters.store.ledger import Batch, OrderRecord
from trading_pipeline.core.orders.model import Purpose, ReferencePrice
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import Clearance, Verdict
from trading_pipeline.errors import OrderRejected, OrderStateUnknown, PipelineError, TransientError
from trading_pipeline.services.account import TradingAccount

Cleared = tuple[OrderRecord, Verdict]
"""An order as it was taken up (its fence is our right to send it), and the guard's yes."""

log = structlog.get_logger(__name__)


class Sending:
    """One batch on its way to the broker: steps 4 and 5 of `services.submission`.

    Args:
        account: whose orders they are.
        judged_at: the prices the guard judged them at, by client order id.

    Attributes:
        vetoes: why an order was kept back by its last check, by client order id.
        to_take_over: orders whose answer says more than that they are accepted.
        rejected: whether the broker refused one for good.
        busy: why the broker took no more, if it did not.
    """

    def __init__(self, account: TradingAccount, judged_at: Mapping[str, ReferencePrice]) -> None:
        self._account = account
        self._judged_at = judged_at
        self.vetoes: dict[str, Verdict] = {}
        self.to_take_over: list[tuple[OrderRecord, BrokerOrder]] = []
        self.rejected = False
        self.busy: TransientError | None = None
        self._failure: PipelineError | None = None

    def send(self, cleared: Sequence[Cleared]) -> int:
        """Send orders, each right after its last check, and record the answers; return how many were dealt with.

        An answer that was lost is committed at once: the batch ends with it. So it does before an order that would have
        to wait for its turn: whoever waits holds no order, and whatever happens meanwhile is seen by the last check.

        Raises:
            ConfigError, ClockUnreliable, DataQualityError: the broker takes no orders; those sent before are recorded.
        """
        if not self._has_turn(cleared[0][0]):
            return 1
        sent = self._send_each(cleared)
        if self._failure is not None:
            raise self._failure
        return sent

    def _send_each(self, cleared: Sequence[Cleared]) -> int:
        with self._account.ledger.sending.batch() as batch:
            for at, (order, verdict) in enumerate(cleared, 1):
                if at > 1 and not self._is_its_turn(order):
                    return at - 1
                veto = batch.check(order, verdict, stale=self._stale(order))
                if veto is not None:
                    log.warning("order kept from the broker", client_order_id=order.client_order_id, why=veto.detail)
                    self.vetoes[order.client_order_id] = veto
                elif not self._offer(batch, order, verdict.clearance):
                    return at
        return len(cleared)

    def _has_turn(self, order: OrderRecord) -> bool:
        """Wait for the turn of the first order of the batch; False when the broker takes none."""
        try:
            self._account.broker.await_turn(order.intent, replaced_id=order.replaces)
        except TransientError as failure:
            self._is_busy(order, failure)
            return False
        return True

    def _is_its_turn(self, order: OrderRecord) -> bool:
        """Tell whether a later order of the batch may leave now. What keeps it is met again as the next batch begins.

        No failure passes: it would take the answers with it of the orders that were sent before.
        """
        try:
            self._account.broker.await_turn(order.intent, replaced_id=order.replaces, at_once=True)
        except PipelineError:
            return False
        return True

    def _is_busy(self, order: OrderRecord, failure: TransientError) -> None:
        log.warning(
            "the broker took no order; they stay cleared", client_order_id=order.client_order_id, reason=str(failure)
        )
        self.busy = failure

    def _stale(self, order: OrderRecord) -> str:
        """Return why the price an order was judged at is too old by now; empty when it is not, and for a flatten."""
        order_id, symbol = order.client_order_id, order.intent.symbol
        price = self._judged_at[order_id]
        if order.intent.purpose is Purpose.FLATTEN or not self._account.outdated({order_id: price}):
            return ""
        seconds = (self._account.clock.now() - price.as_of).total_seconds()
        return f"{symbol}: its price of {price.source} became {seconds:.1f} s old before it was sent: send it again"

    def _ask(self, order: OrderRecord, clearance: Clearance) -> BrokerOrder:
        broker = self._account.broker
        if order.replaces is None:
            return broker.submit(order.intent, clearance)
        return broker.replace(order.replaces, order.intent, clearance)

    def _offer(self, batch: Batch, order: OrderRecord, clearance: Clearance | None) -> bool:
        """Send one order; False ends the batch."""
        if clearance is None:
            return True
        try:
            answer = self._ask(order, clearance)
        except OrderRejected as rejection:
            log.warning("order rejected by the broker", client_order_id=order.client_order_id, reason=str(rejection))
            batch.record(order, OrderState.REJECTED, reason=str(rejection))
            self.rejected = True
        except OrderStateUnknown as lost:
            log.warning("the broker's answer was lost", client_order_id=order.client_order_id, reason=str(lost))
            batch.record(order, OrderState.SUBMITTED_UNCONFIRMED, reason=str(lost))
            return False
        except TransientError as failure:
            self._is_busy(order, failure)
            return False
        except PipelineError as failure:  # raised when the answers to those before it are recorded
            self._failure = failure
            return False
        else:
            log.info("order accepted", client_order_id=order.client_order_id, broker_order_id=answer.broker_order_id)
            if answer.state is OrderState.ACCEPTED and not answer.filled_qty:
                batch.record(order, OrderState.ACCEPTED, broker_order_id=answer.broker_order_id)
            else:
                self.to_take_over.append((order, answer))
        return True
