"""Maps what alpaca-py and requests raise onto the error tree, once; it must not decide what to do about an error."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import requests
from alpaca.common.exceptions import APIError

from trading_pipeline.core.clock import Clock
from trading_pipeline.errors import ConfigError, DataQualityError, PipelineError, ServerUnavailable, TransientError

_UNAUTHORIZED = 401
_FORBIDDEN = 403
_TOO_MANY = 429
_SERVER_ERROR = 500
_SHOWN = 200
_RESET_HEADER, _RETRY_HEADER = "X-RateLimit-Reset", "Retry-After"
_LONGEST_WAIT = timedelta(minutes=5)
"""A reset further away than this is not believed: the clocks differ, or the header holds something else."""


@contextmanager
def alpaca_errors(what: str, clock: Clock) -> Iterator[None]:
    """Turn the errors of a request for reading into ours.

    Args:
        what: what was asked for, for the message.
        clock: to judge the instant at which the server says it takes requests again.

    Raises:
        ServerUnavailable: no connection, no answer in time, a connection lost, or a 5xx; try again.
        TransientError: too many requests; the field `retry_at` is the aware instant from which on to try again.
        ConfigError: wrong or missing credentials, or a subscription that does not cover the request.
        DataQualityError: any other refusal, or an answer that is not JSON: the request itself is at fault.
    """
    try:
        yield
    except APIError as error:
        _raise_for(what, error, clock)
    except requests.JSONDecodeError as error:
        raise DataQualityError(f"{what}: Alpaca's answer is not JSON: {error}", what=what) from error
    except requests.RequestException as error:
        raise ServerUnavailable(
            f"{what}: Alpaca did not answer: {type(error).__name__}: {error}; check the network and the URL", what=what
        ) from error


def body_of(error: APIError) -> Mapping[str, Any]:
    """Return the JSON object an error came with; a body that is none (an HTML page) becomes its message."""
    text = str(error)
    try:
        body = json.loads(text)
    except json.JSONDecodeError:
        body = None
    return body if isinstance(body, dict) else {"message": " ".join(text.split())[:_SHOWN] or "no message"}


def retry_at(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """Return when the server says it takes requests again (UTC), None when it does not say or cannot be believed."""
    try:
        if _RESET_HEADER in headers:
            instant = datetime.fromtimestamp(float(headers[_RESET_HEADER]), UTC)
        elif _RETRY_HEADER in headers:
            instant = now + timedelta(seconds=float(headers[_RETRY_HEADER]))
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return instant if now < instant <= now + _LONGEST_WAIT else None


def _raise_for(what: str, error: APIError, clock: Clock) -> NoReturn:
    status, body = error.status_code or 0, body_of(error)
    message = f"{what}: Alpaca answered {status}: {body.get('message', 'no message')}"
    fields: dict[str, Any] = {"what": what, "status": status, "code": body.get("code")}
    raise _mapped(status, message, fields, error, clock) from error


def _mapped(status: int, message: str, fields: dict[str, Any], error: APIError, clock: Clock) -> PipelineError:
    if status == _TOO_MANY:
        headers = error.response.headers if error.response is not None else {}
        return TransientError(f"{message}; wait", **fields, retry_at=retry_at(headers, clock.now()))
    if status == _UNAUTHORIZED:
        return ConfigError(f"{message}; check ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY", **fields)
    if status == _FORBIDDEN:
        return ConfigError(f"{message}; check the subscription, ALPACA_DATA_FEED and the keys", **fields)
    if status >= _SERVER_ERROR:
        return ServerUnavailable(f"{message}; try again", **fields)
    return DataQualityError(message, **fields)
