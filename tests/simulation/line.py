"""The line between a process and the venue: it loses what it is told to lose."""

from collections.abc import Collection, Sequence
from typing import Any

from simulation.stage import SharedLedger

from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution
from trading_pipeline.core.orders.model import OrderIntent
from trading_pipeline.core.risk.clearance import Clearance
from trading_pipeline.errors import NotYet, OrderRejected, OrderStateUnknown, TransientError


class Line:
    """Implements `Broker` for one process, whose ledger tells since when it holds the lane."""

    def __init__(self, world: Any, ledger: SharedLedger) -> None:
        self._world, self._ledger = world, ledger

    def await_turn(self, *_: object, **__: object) -> None:
        """Let others go on while an order waits for its turn: its last check comes after."""
        if self._world.boundary("turn") is not None:
            raise NotYet("our request limit is used up", wait_seconds=1)

    def submit(self, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Judge the moment of sending, then send, or lose something."""
        self._world.judge_send(intent, clearance, self._ledger)
        venue, order_id = self._world.venue, intent.client_order_id
        venue.on_the_way.add(order_id)
        try:
            fault = self._world.boundary("submit")
        finally:
            venue.on_the_way.discard(order_id)
        if fault == "broker 429":
            raise TransientError("429: too many requests", retry_after_seconds=30)
        if fault == "broker rejects":
            raise OrderRejected("rejected by the venue")
        if fault in ("broker drops before accept", "broker 5xx before accept"):
            raise OrderStateUnknown(f"{fault}: no answer says whether it was taken")
        if fault == "broker times out, order arrives late":
            venue.in_transit.append(intent)
            venue.may_repeat.add(order_id)
            raise OrderStateUnknown("timed out")
        answer = venue.submit(intent, clearance)
        if fault == "broker shows order late":
            venue.orders[order_id].hidden_looks = 2
            venue.may_repeat.add(order_id)
        if fault == "broker duplicate id":
            # The client turns such a 422 into a look-up, which may find nothing yet, or not be answered.
            venue.orders[order_id].hidden_looks = self._world.chance.randint(0, 1)
            venue.may_repeat.add(order_id)
            found = self.find(order_id)
            if found is None:
                raise OrderStateUnknown("422: client_order_id must be unique, but the venue does not show it yet")
            venue.may_repeat.discard(order_id)
            answer = found
        if fault in ("broker drops after accept", "broker 5xx after accept", "broker shows order late"):
            raise OrderStateUnknown(f"{fault}: the answer was lost")
        self._world.boundary("submit done")
        return answer

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """Look an order up."""
        if self._world.boundary("find") is not None:
            raise TransientError("the look-up failed")
        found = self._world.venue.find(client_order_id)
        self._world.boundary("find done")
        return found

    def find_many(self, client_order_ids: Collection[str]) -> dict[str, BrokerOrder]:
        """Look orders up, each on its own: what happens between two answers happens here too."""
        found = {order_id: self.find(order_id) for order_id in client_order_ids}
        return {order_id: one for order_id, one in found.items() if one is not None}

    def cancel(self, client_order_id: str) -> BrokerOrder | None:
        """Cancel an order."""
        self._world.boundary("cancel")
        return self._world.venue.cancel(client_order_id)

    def executions(self, client_order_ids: Sequence[str]) -> list[Execution]:
        """Ask for executions."""
        self._world.boundary("executions")
        return self._world.venue.executions(client_order_ids)

    def __getattr__(self, name: str) -> object:
        return getattr(self._world.venue, name)
