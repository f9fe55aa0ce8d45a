"""Requests that change something at Alpaca. Each is sent once; whether to send it again is not decided here."""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import requests
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient

from trading_pipeline.adapters.alpaca.budget import RequestBudget
from trading_pipeline.adapters.alpaca.transport import Bounds, bound
from trading_pipeline.adapters.broker.alpaca.refusals import meaning_of
from trading_pipeline.core.clock import Clock
from trading_pipeline.errors import OrderStateUnknown, TransientError

WRITE_BOUNDS: Final = Bounds(
    connect_seconds=3.0, read_seconds=10.0, total_seconds=15.0, attempts=1, budget_patience_seconds=30.0
)
"""An order waits no longer: its answer is then looked up."""


class AlpacaWriter:
    """POST, PATCH and DELETE of one alpaca-py client, never repeated.

    Args:
        client: a trading client of alpaca-py; its own blind retries are switched off.
        budget: the requests this key may make.
        clock: the present instant, for the reset times of the server.
        bounds: time-outs, and how long to wait for a place in the budget.
    """

    def __init__(
        self, client: RESTClient, *, budget: RequestBudget, clock: Clock, bounds: Bounds = WRITE_BOUNDS
    ) -> None:
        self._client, self._budget, self._clock, self._bounds = client, budget, clock, bounds
        self._has_place = False
        bound(client, bounds)

    def take_place(self, *, at_once: bool = False) -> None:
        """Take a place in the budget for the next order, waiting for it unless `at_once`. One that is unused is kept.

        Raises:
            NotYet: there is none soon, or none now; nothing was taken.
            ServerUnavailable: Redis did not answer: without the count nobody may ask.
        """
        if not self._has_place:
            self._budget.take(patience_seconds=0.0 if at_once else self._bounds.budget_patience_seconds)
            self._has_place = True

    def post(self, path: str, body: Mapping[str, str | bool]) -> dict[str, Any]:
        """Send one order and return the JSON object it is answered with. No number is in the body: text alone is exact.

        Raises:
            OrderRejected, DuplicateOrderId, OrderStateUnknown, TransientError, ConfigError: see `refusals`.
        """
        self._use_place()
        return _object(f"POST {path}", self._once(f"POST {path}", lambda: self._client.post(path, dict(body))))

    def patch(self, path: str, body: Mapping[str, str | bool]) -> dict[str, Any]:
        """Ask that an order is replaced and return the JSON object it is answered with; raises what `post` does."""
        self._use_place()
        return _object(f"PATCH {path}", self._once(f"PATCH {path}", lambda: self._client.patch(path, dict(body))))

    def delete(self, path: str) -> None:
        """Ask for the end of one order; raises what `post` does."""
        self._budget.take(patience_seconds=self._bounds.budget_patience_seconds)
        self._once(f"DELETE {path}", lambda: self._client.delete(path))

    def _use_place(self) -> None:
        self.take_place()
        self._has_place = False

    def _once(self, what: str, send: Callable[[], object]) -> object:
        try:
            return send()
        except (APIError, requests.RequestException) as error:
            failure = meaning_of(what, error, self._clock)
            if isinstance(failure, TransientError) and (instant := failure.fields.get("retry_at")) is not None:
                self._budget.close_until(instant)
            raise failure from error


def _object(what: str, answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise OrderStateUnknown(f"{what}: Alpaca's answer is no JSON object but {type(answer).__name__}")
    return cast("dict[str, Any]", answer)
