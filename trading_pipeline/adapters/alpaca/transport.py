"""Reads from Alpaca through alpaca-py's clients: bounded in time, counted, repeated only because reading is safe."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final, cast

import requests
import structlog
import tenacity
import urllib3
from alpaca.common.rest import RESTClient
from requests.adapters import HTTPAdapter

from trading_pipeline.adapters.alpaca.budget import RequestBudget
from trading_pipeline.adapters.alpaca.errors import alpaca_errors
from trading_pipeline.core.clock import Clock
from trading_pipeline.errors import DataQualityError, TransientError

Timeout = float | tuple[float | None, float | None] | None

_PIECE: Final = 65_536

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long one request and all its repetitions may take, in seconds.

    `read_seconds` bounds each silence of the server, `total_seconds` the whole answer, however slowly it drips.
    """

    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    total_seconds: float = 60.0
    attempts: int = 6
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    budget_patience_seconds: float = 120.0


class BoundedAdapter(HTTPAdapter):
    """requests' transport with time-outs that hold: alpaca-py sets none, and requests bounds no whole answer."""

    def __init__(self, bounds: Bounds, *, exact: bool = False) -> None:
        super().__init__(max_retries=0)
        self._bounds, self._exact = bounds, exact

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002, FBT001, FBT002 - the base class's signature
        timeout: Timeout = None,  # noqa: ARG002 - whatever a caller says, the bounds hold
        verify: bool | str = True,  # noqa: FBT001, FBT002 - the base class's signature
        cert: str | tuple[str, str] | None = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        """Send a request and read its whole answer within the bounds."""
        bounds = self._bounds
        deadline = time.monotonic() + bounds.total_seconds
        silence = (bounds.connect_seconds, bounds.read_seconds)
        response = super().send(request, stream=True, timeout=silence, verify=verify, cert=cert, proxies=proxies)
        response._content = self._read(response, deadline)  # noqa: SLF001 - what `content` returns once it has been read
        if self._exact:
            response.json = partial(response.json, parse_float=Decimal, parse_constant=_no_number)  # type: ignore[method-assign]
        return response

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        pieces: list[bytes] = []
        try:
            while piece := response.raw.read1(_PIECE, decode_content=True):
                pieces.append(piece)
                if time.monotonic() > deadline:
                    msg = f"the answer was not complete after {self._bounds.total_seconds:g} s"
                    raise requests.ReadTimeout(msg)
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(error) from error
        finally:
            response.close()
        return b"".join(pieces)


def _no_number(_: str) -> None:
    """Read NaN and Infinity, which are no JSON, as nothing."""


def bound(client: RESTClient, bounds: Bounds, *, exact: bool = False) -> None:
    """Give a client of alpaca-py time-outs and take its blind repetitions away; it offers no argument for either.

    `exact` reads numbers from their text as Decimal: no float ever holds a price.
    """
    client._retry = 0  # noqa: SLF001
    for scheme in ("https://", "http://"):
        client._session.mount(scheme, BoundedAdapter(bounds, exact=exact))  # noqa: SLF001


class AlpacaReader:
    """GET requests of one alpaca-py client. It must not be used for anything that changes something at Alpaca.

    Args:
        client: a historical or trading client of alpaca-py; its own blind retries are switched off.
        budget: the requests this key may make.
        clock: the present instant, for the reset times of the server.
        bounds: time-outs and repetitions.
        sleep: waits seconds; injected for tests.
        exact: true reads numbers as Decimal, from their text.
    """

    def __init__(
        self,
        client: RESTClient,
        *,
        budget: RequestBudget,
        clock: Clock,
        bounds: Bounds | None = None,
        sleep: Callable[[float], None] = time.sleep,
        exact: bool = False,
    ) -> None:
        self._bounds = bounds or Bounds()
        self._client, self._budget, self._clock, self._sleep = client, budget, clock, sleep
        bound(client, self._bounds, exact=exact)

    def get(self, path: str, parameters: Mapping[str, str | int]) -> dict[str, Any]:
        """Return the JSON object of one answer, asking again while the failure may pass.

        Raises:
            TransientError: it did not pass within the bounds; the last failure is raised.
            ConfigError: credentials or subscription.
            DataQualityError: the request was refused for good, or the answer is no JSON object.
        """
        answer = self._get(path, parameters)
        if not isinstance(answer, dict):
            raise _no(path, "object", answer)
        return cast("dict[str, Any]", answer)

    def get_list(self, path: str, parameters: Mapping[str, str | int]) -> list[dict[str, Any]]:
        """Return the JSON array of objects of one answer; raises what `get` does."""
        answer = self._get(path, parameters)
        if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
            raise _no(path, "array of objects", answer)
        return cast("list[dict[str, Any]]", answer)

    def _get(self, path: str, parameters: Mapping[str, str | int]) -> object:
        repetitions = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(self._bounds.attempts),
            wait=self._wait,
            sleep=self._sleep,
            before_sleep=self._say,
            reraise=True,
        )
        return repetitions(self._get_once, path, parameters)

    def _get_once(self, path: str, parameters: Mapping[str, str | int]) -> object:
        self._budget.take(patience_seconds=self._bounds.budget_patience_seconds)
        try:
            with alpaca_errors(f"GET {path}", self._clock):
                return self._client.get(path, dict(parameters))
        except TransientError as error:
            if (instant := error.fields.get("retry_at")) is not None:
                self._budget.close_until(instant)
            raise

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        instant = error.fields.get("retry_at") if isinstance(error, TransientError) else None
        if instant is not None:
            return max(float((instant - self._clock.now()).total_seconds()), 0.0)
        backoff = tenacity.wait_exponential_jitter(
            initial=self._bounds.first_wait_seconds, max=self._bounds.longest_wait_seconds
        )
        return backoff(state)

    def _say(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("asking Alpaca again", attempt=state.attempt_number, reason=str(error))


def _no(path: str, wanted: str, answer: object) -> DataQualityError:
    return DataQualityError(f"GET {path}: Alpaca's answer is no JSON {wanted} but {type(answer).__name__}")
