"""Alpaca's stream of quotes, trades and trading states on a websocket, numbers read from their text as Decimal."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

import structlog
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import ClientConnection, connect

from trading_pipeline.errors import ConfigError, TransientError

CHANNELS: Final = ("quotes", "trades", "statuses")
SYMBOLS_A_MESSAGE: Final = 500
FRAMES_AHEAD: Final = 4_096
_NOT_TAKEN: Final = frozenset({402, 404, 409})
"""Codes of keys, of time-outs of their message, and of subscriptions that do not cover the feed."""
_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteStreamConfig:
    """Where the stream is, with which key, and after how many seconds of silence it counts as lost."""

    url: str
    key_id: str
    secret: str = field(repr=False)
    answer_seconds: float = 10.0
    silence_seconds: float = 20.0


class QuoteConnection:
    """One connection that was let in."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def receive(self, seconds: float) -> list[dict[str, Any]]:
        """Return the messages of the next frame; none when no frame came in time, or one that cannot be read.

        Raises:
            TransientError: the connection is lost, or the server says that it takes no more symbols or connections.
        """
        try:
            frame = self._connection.recv(timeout=seconds, decode=False)
        except TimeoutError:
            return []
        except ConnectionClosed as lost:
            raise TransientError(f"the stream of quotes is lost: {lost}") from lost
        messages = _messages(bytes(frame))
        for one in messages:
            if one.get("T") == "error":
                raise TransientError(f"the stream of quotes refuses: {one.get('code')} {one.get('msg')}")
        return messages

    def listen(self, symbols: Collection[str]) -> None:
        """Ask for symbols, too."""
        self._say("subscribe", symbols)

    def leave(self, symbols: Collection[str]) -> None:
        """Ask for symbols no more."""
        self._say("unsubscribe", symbols)

    def close(self) -> None:
        """End the connection; a receive that waits raises."""
        self._connection.close()

    def _say(self, action: str, symbols: Collection[str]) -> None:
        ordered = sorted(symbols)
        for at in range(0, len(ordered), SYMBOLS_A_MESSAGE):
            some = ordered[at : at + SYMBOLS_A_MESSAGE]
            try:
                self._connection.send(json.dumps({"action": action} | dict.fromkeys(CHANNELS, some)))
            except ConnectionClosed as lost:
                raise TransientError(f"the stream of quotes is lost: {lost}") from lost


class AlpacaQuoteStream:
    """Opens connections to the stream."""

    def __init__(self, config: QuoteStreamConfig) -> None:
        self._config = config

    @contextmanager
    def open(self) -> Iterator[QuoteConnection]:
        """Connect and authenticate.

        Raises:
            ConfigError: the server does not take the key for this feed, or the URL is none.
            TransientError: the server did not answer, or has as many connections of the key as it allows.
        """
        config = self._config
        try:
            connection = connect(
                config.url,
                open_timeout=config.answer_seconds,
                close_timeout=1,
                ping_interval=config.silence_seconds / 2,
                ping_timeout=config.silence_seconds / 2,
                max_queue=FRAMES_AHEAD,
            )
        except InvalidURI as wrong:
            raise ConfigError(f"ALPACA_DATA_STREAM_URL: {wrong}") from wrong
        except InvalidStatus as refused:
            if refused.response.status_code in _REFUSED:
                raise ConfigError(_not_taken(config, f"HTTP {refused.response.status_code}")) from refused
            raise TransientError(f"no stream of quotes at {config.url}: {refused}") from refused
        except (OSError, InvalidHandshake, TimeoutError) as away:
            raise TransientError(f"no stream of quotes at {config.url}: {away}") from away
        with connection:
            try:
                self._let_in(connection)
            except (ConnectionClosed, TimeoutError) as lost:
                raise TransientError(f"the stream at {config.url} ended before it began: {lost}") from lost
            yield QuoteConnection(connection)

    def _let_in(self, connection: ClientConnection) -> None:
        config = self._config
        self._expect(connection, "connected")
        connection.send(json.dumps({"action": "auth", "key": config.key_id, "secret": config.secret}))
        self._expect(connection, "authenticated")

    def _expect(self, connection: ClientConnection, said: str) -> None:
        config = self._config
        messages = _messages(bytes(connection.recv(timeout=config.answer_seconds, decode=False)))
        for one in messages:
            if one.get("T") == "error" and one.get("code") in _NOT_TAKEN:
                raise ConfigError(_not_taken(config, f"{one.get('code')} {one.get('msg')}"))
        if not any(one.get("T") == "success" and one.get("msg") == said for one in messages):
            raise TransientError(f"the stream at {config.url} answered {str(messages)[:200]}, not {said}")


def _messages(raw: bytes) -> list[dict[str, Any]]:
    """Read a frame: an array of objects. What cannot be read tells nothing; quotes come again."""
    try:
        told = json.loads(raw, parse_float=Decimal, parse_constant=lambda _: None)
    except ValueError:
        log.warning("a frame of quotes cannot be read", begins=repr(raw[:80]))
        return []
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


def _not_taken(config: QuoteStreamConfig, said: str) -> str:
    return (
        f"the stream at {config.url} does not take the key {config.key_id} ({said}): check ALPACA_API_KEY_ID, "
        "ALPACA_API_SECRET_KEY, ALPACA_DATA_FEED and ALPACA_DATA_STREAM_URL"
    )
