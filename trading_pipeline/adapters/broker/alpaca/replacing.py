"""Replaces a working Alpaca order: asked once, and what the answer means read from both orders.

The quantity sent is the total, with what is filled of the old order: Alpaca refuses one that is not above it. A 200
does not prove that the old order is over: if it fills first, the new one is rejected.
"""

from dataclasses import replace
from typing import Final

import structlog

from trading_pipeline.adapters.broker.alpaca.documents import broker_order, replacement_body
from trading_pipeline.adapters.broker.alpaca.reading import AlpacaOrders
from trading_pipeline.adapters.broker.alpaca.refusals import reading_after_sending
from trading_pipeline.adapters.broker.alpaca.writer import AlpacaWriter
from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.core.orders.model import OrderIntent
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.errors import (
    DataQualityError,
    DuplicateOrderId,
    OperatorError,
    OrderRejected,
    OrderStateUnknown,
    TransientError,
)

_REPLACEABLE: Final = frozenset({"new", "partially_filled"})
"""Statuses in which Alpaca replaces an order. In accepted, pending_new, pending_cancel, pending_replace it does not."""

log = structlog.get_logger(__name__)


class AlpacaReplacing:
    """The three questions about a replacement, on the reads and writes of one account."""

    def __init__(self, orders: AlpacaOrders, writer: AlpacaWriter) -> None:
        self._orders, self._writer = orders, writer
        self._looked: dict[str, BrokerOrder | None] = {}

    def look(self, replaced_id: str) -> None:
        """Look at the order that is to be replaced next, for `rest`."""
        self._looked = {replaced_id: self._orders.look_up(replaced_id)}

    def require_replaceable(self, client_order_id: str) -> None:
        """Check that Alpaca would replace the order in the status it has now."""
        old = self._orders.look_up(client_order_id)
        if old is None:
            raise OperatorError(f"Alpaca has no order {client_order_id}: there is nothing to replace")
        if old.state.terminal:
            raise OperatorError(f"order {client_order_id} is {old.reason} at Alpaca: nothing of it is left to replace")
        if old.reason not in _REPLACEABLE:
            raise OperatorError(
                f"order {client_order_id} is {old.reason} at Alpaca, which replaces orders that are "
                f"{' or '.join(sorted(_REPLACEABLE))} only: try again later, or cancel it",
                client_order_id=client_order_id,
                status=old.reason,
            )

    def rest(self, replaced_id: str, intent: OrderIntent) -> tuple[BrokerOrder, OrderIntent]:
        """Return the old order and what of the new one would still be worked.

        Raises:
            OrderRejected: the old order is over, or as many shares as the new one asks for are filled.
        """
        old = self._looked.pop(replaced_id) if replaced_id in self._looked else self._orders.look_up(replaced_id)
        if old is None or old.state.terminal:
            state = "unknown" if old is None else old.reason
            raise OrderRejected(
                f"order {replaced_id} is {state} at Alpaca: it cannot be replaced any more",
                client_order_id=intent.client_order_id,
            )
        rest = intent.qty - int(old.filled_qty.to_integral_value(rounding="ROUND_CEILING"))
        if rest <= 0:
            raise OrderRejected(
                f"{old.filled_qty} shares of order {replaced_id} are filled, which is not less than {intent.qty}",
                client_order_id=intent.client_order_id,
            )
        return old, replace(intent, qty=rest)

    def send(self, old: BrokerOrder, intent: OrderIntent) -> BrokerOrder:
        """Ask for the replacement, once."""
        self._orders.forget()
        try:
            answer = broker_order(self._writer.patch(f"/orders/{old.broker_order_id}", replacement_body(intent)))
        except (DuplicateOrderId, OrderRejected) as refused:
            return self._despite(old, intent, refused)
        except DataQualityError as unreadable:
            raise OrderStateUnknown(f"order {intent.client_order_id}: {unreadable}") from unreadable
        if (answer.client_order_id, answer.symbol, answer.side) != (
            intent.client_order_id,
            intent.symbol,
            intent.side,
        ):
            raise OrderStateUnknown(
                f"the replacement {intent.client_order_id} was answered with order {answer.client_order_id}, "
                f"{answer.side} {answer.symbol}: another one",
                client_order_id=intent.client_order_id,
            )
        return answer

    def find(self, replaced_id: str, client_order_id: str) -> BrokerOrder | None:
        """Return the replacement by its own id, or by the order that the old one says it was replaced by."""
        found = self._orders.look_up(client_order_id)
        if found is not None:
            return found
        old = self._orders.look_up(replaced_id)
        if old is None or old.state is not OrderState.REPLACED:
            return None
        by = self._orders.of_id(old.replaced_by) if old.replaced_by is not None else None
        if by is None:
            raise TransientError(
                f"order {replaced_id} was replaced, and Alpaca does not show by what yet: ask again",
                client_order_id=client_order_id,
            )
        return by if by.client_order_id == client_order_id else None

    def _despite(self, old: BrokerOrder, intent: OrderIntent, refused: Exception) -> BrokerOrder:
        """Read a refusal: an earlier request of ours, whose answer nobody got, may have been the reason for it."""
        with reading_after_sending(intent.client_order_id):
            found = self._orders.look_up(intent.client_order_id)
            now = self._orders.look_up(old.client_order_id)
        if found is not None and (found.symbol, found.side) == (intent.symbol, intent.side):
            log.info("the replacement was accepted before", client_order_id=intent.client_order_id)
            return found
        uncertain = now is None or now.state is OrderState.REPLACED or "replaced" in str(refused).lower()
        if uncertain or isinstance(refused, DuplicateOrderId):
            raise OrderStateUnknown(
                f"{refused}; Alpaca does not show yet what became of it", client_order_id=intent.client_order_id
            ) from refused
        raise refused
