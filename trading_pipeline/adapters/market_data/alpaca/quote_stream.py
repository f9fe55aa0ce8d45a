"""Alpaca's stream of quotes, trades and trading states on a websocket, numbers read from their text as Decimal."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final

import structlog
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from trading_pipeline.adapters.alpaca.websocket import StreamConfig, before_it_begins, connected, not_taken
from trading_pipeline.errors import TransientError

CHANNELS: Final = ("quotes", "trades", "statuses")
SYMBOLS_A_MESSAGE: Final = 500
FRAMES_AHEAD: Final = 4_096
_NOT_TAKEN: Final = (402, 409)
"""Codes of a key that is refused, and of a subscription that does not cover the feed."""
_VARIABLES: Final = "ALPACA_DATA_STREAM_URL, ALPACA_DATA_FEED"

log = structlog.get_logger(__name__)


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

    def __init__(self, config: StreamConfig) -> None:
        self._config = config

    @contextmanager
    def open(self) -> Iterator[QuoteConnection]:
        """Connect and authenticate.

        Raises:
            ConfigError: the server does not take the key for this feed, or the URL is none.
            TransientError: the server did not answer, or has as many connections of the key as it allows.
        """
        config = self._config
        with connected(config, variables=_VARIABLES, frames_ahead=FRAMES_AHEAD) as connection:
            with before_it_begins(config):
                self._let_in(connection)
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
                raise not_taken(config, f"{one.get('code')} {one.get('msg')}", _VARIABLES)
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
