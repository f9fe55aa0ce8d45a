"""What an error answer to an order means, by status, code and message; it must not decide what to do about it.

sent or not  status            code and message                       becomes
never sent   no connection                                            ServerUnavailable   try again
refused      429                                                      TransientError      with the server's reset time
refused      401, 403 as HTML                                         ConfigError         credentials
refused      403               account or user keeps orders out       AccountBlocked      the whole account
refused      422               client_order_id must be unique         DuplicateOrderId    look it up
refused      404               endpoint not found                     ConfigError         ALPACA_BASE_URL
refused      400, 403, 404, 422  anything else                        OrderRejected       this order, for good
unknown      5xx, 408, 409, any other status, silence, a lost or unreadable answer: OrderStateUnknown
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import requests
import urllib3
from alpaca.common.exceptions import APIError

from trading_pipeline.adapters.alpaca.errors import body_of, retry_at
from trading_pipeline.core.clock import Clock
from trading_pipeline.errors import (
    AccountBlocked,
    ConfigError,
    DataQualityError,
    DuplicateOrderId,
    OrderRejected,
    OrderStateUnknown,
    PipelineError,
    ServerUnavailable,
    TransientError,
)

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429
_REFUSED: Final = frozenset({400, _FORBIDDEN, _NOT_FOUND, 422})
_ID_TAKEN: Final = re.compile(r"client_order_id must be unique", re.IGNORECASE)
_ACCOUNT_SHUT: Final = re.compile(
    r"rejected by user request|not authorized to trade|account is (restricted|blocked|closed|not active)"
    r"|trading is (blocked|suspended)",
    re.IGNORECASE,
)
_NO_ENDPOINT: Final = re.compile(r"endpoint not found", re.IGNORECASE)


@contextmanager
def reading_after_sending(client_order_id: str) -> Iterator[None]:
    """Turn a failed look-up behind a request into an unknown outcome: only a look-up can tell what became of it.

    Raises:
        OrderStateUnknown: the look-up was not answered, or its answer cannot be read.
    """
    try:
        yield
    except (TransientError, DataQualityError) as failure:
        raise OrderStateUnknown(
            f"what became of order {client_order_id} could not be read: {failure}", client_order_id=client_order_id
        ) from failure


def meaning_of(what: str, error: requests.RequestException | APIError, clock: Clock) -> PipelineError:
    """Return our error for what a request that changes something raised.

    Args:
        what: the request, for the message.
        error: what alpaca-py or requests raised.
        clock: to judge the instant at which the server says it takes requests again.
    """
    if isinstance(error, APIError):
        return _of_answer(what, error, clock)
    detail = f"{type(error).__name__}: {error}"
    if never_sent(error):
        return ServerUnavailable(f"{what}: no connection to Alpaca, nothing was sent: {detail}", what=what)
    return OrderStateUnknown(f"{what}: Alpaca's answer was lost: {detail}", what=what)


def never_sent(error: requests.RequestException) -> bool:
    """Tell whether a request certainly never left us: no connection was made for it."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, urllib3.exceptions.MaxRetryError) and isinstance(
        cause.reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
    )


def _of_answer(what: str, error: APIError, clock: Clock) -> PipelineError:
    status, body = error.status_code or 0, body_of(error)
    code, words = body.get("code"), str(body.get("message", "no message"))
    message = f"{what}: Alpaca answered {status}: {words}"
    fields: dict[str, Any] = {"what": what, "status": status, "code": code}
    if status == _TOO_MANY:
        headers = error.response.headers if error.response is not None else {}
        return TransientError(f"{message}; wait", **fields, retry_at=retry_at(headers, clock.now()))
    if status == _UNAUTHORIZED or (status == _FORBIDDEN and code is None):
        return ConfigError(f"{message}; check ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY", **fields)
    if status not in _REFUSED:
        return OrderStateUnknown(f"{message}; whether the order exists is unknown", **fields)
    return _of_refusal(message, words, fields)


def _of_refusal(message: str, words: str, fields: dict[str, Any]) -> PipelineError:
    status = fields["status"]
    if _ID_TAKEN.search(words):
        return DuplicateOrderId(message, **fields)
    if status == _FORBIDDEN and _ACCOUNT_SHUT.search(words):
        return AccountBlocked(f"{message}; see to the account at Alpaca", **fields)
    if status == _NOT_FOUND and (_NO_ENDPOINT.search(words) or fields["code"] is None):
        return ConfigError(f"{message}; check ALPACA_BASE_URL", **fields)
    return OrderRejected(message, **fields)
