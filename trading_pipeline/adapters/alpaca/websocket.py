"""Connections to Alpaca's streams: bounded in time, watched by pings, failures told as the project's errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import ClientConnection, connect

from trading_pipeline.errors import ConfigError, TransientError

_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """Where a stream is, with which key, and after how many seconds of silence it counts as lost."""

    url: str
    key_id: str
    secret: str = field(repr=False)
    answer_seconds: float = 10.0
    silence_seconds: float = 20.0


@contextmanager
def connected(config: StreamConfig, *, variables: str, frames_ahead: int) -> Iterator[ClientConnection]:
    """Connect; `variables` are the settings to look at, the URL first, and `frames_ahead` how many may wait for us.

    Raises:
        ConfigError: the server does not take the key, or the URL is none.
        TransientError: the server did not answer as one of a stream.
    """
    try:
        connection = connect(
            config.url,
            open_timeout=config.answer_seconds,
            close_timeout=1,
            ping_interval=config.silence_seconds / 2,
            ping_timeout=config.silence_seconds / 2,
            max_queue=frames_ahead,
        )
    except InvalidURI as wrong:
        raise ConfigError(f"{wrong}: check {variables}") from wrong
    except InvalidStatus as refused:
        if refused.response.status_code in _REFUSED:
            raise not_taken(config, f"HTTP {refused.response.status_code}", variables) from refused
        raise TransientError(f"no stream at {config.url}: {refused}") from refused
    except (OSError, InvalidHandshake, TimeoutError) as away:
        raise TransientError(f"no stream at {config.url}: {away}") from away
    with connection:
        yield connection


@contextmanager
def before_it_begins(config: StreamConfig) -> Iterator[None]:
    """Say of a connection that ends while it is let in where it was.

    Raises:
        TransientError: it ended, or did not answer in time.
    """
    try:
        yield
    except (ConnectionClosed, TimeoutError) as lost:
        raise TransientError(f"the stream at {config.url} ended before it began: {lost}") from lost


def not_taken(config: StreamConfig, said: str, variables: str) -> ConfigError:
    """Return the error of a key that a server refuses."""
    return ConfigError(
        f"the stream at {config.url} does not take the key {config.key_id} ({said}): check {variables}, "
        "ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY, and that all are of paper or all of live trading"
    )
