"""Alpaca's trade_updates stream on a websocket: frames as they arrive, before anybody has looked at them.

alpaca-py's own stream reads a frame before it hands it on, and loses the one whose handler failed. This one hands on
the bytes, so that they can be kept first. Pings go out by themselves, and a server that leaves them unanswered counts
as lost.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from trading_pipeline.adapters.alpaca.websocket import StreamConfig, before_it_begins, connected, not_taken
from trading_pipeline.adapters.broker.alpaca.updates import STREAM, message_of
from trading_pipeline.errors import DataQualityError, TransientError

FRAMES_AHEAD: Final = 1_024
"""Frames the connection reads ahead of us; beyond them the server waits."""
_VARIABLES: Final = "ALPACA_STREAM_URL"


class AlpacaFrames:
    """Frames of one connection that has begun to listen."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def receive(self, seconds: float) -> bytes | None:
        """Return the next frame that may be an event, None when none came in time.

        A frame that cannot be read is handed on: it may have been an event.

        Raises:
            TransientError: the connection is lost; `silent` is true in its fields when pings stayed unanswered.
        """
        try:
            frame = self._connection.recv(timeout=seconds, decode=False)
        except TimeoutError:
            return None
        except ConnectionClosed as lost:
            # The keepalive closes a connection by itself, so nothing was received that would say so.
            silent = lost.rcvd is None and lost.sent is not None and "keepalive" in lost.sent.reason
            raise TransientError(f"the stream of Alpaca is lost: {lost}", silent=silent) from lost
        raw = bytes(frame)
        return raw if _may_be_an_event(raw) else None

    def close(self) -> None:
        """End the connection; a receive that waits raises."""
        self._connection.close()


class AlpacaStream:
    """Opens connections to the stream."""

    def __init__(self, config: StreamConfig) -> None:
        self._config = config

    @contextmanager
    def open(self) -> Iterator[AlpacaFrames]:
        """Connect, authenticate and listen.

        Raises:
            ConfigError: the server does not take the key, or the URL is none.
            TransientError: the server did not answer, or not as Alpaca does.
        """
        config = self._config
        with connected(config, variables=_VARIABLES, frames_ahead=FRAMES_AHEAD) as connection:
            with before_it_begins(config):
                self._listen(connection)
            yield AlpacaFrames(connection)

    def _listen(self, connection: ClientConnection) -> None:
        config = self._config
        keys = {"key_id": config.key_id, "secret_key": config.secret}
        status = self._ask(connection, "authenticate", keys, "authorization").get("status")
        if status != "authorized":
            raise not_taken(config, str(status), _VARIABLES)
        streams = self._ask(connection, "listen", {"streams": [STREAM]}, "listening").get("streams")
        if not isinstance(streams, list) or STREAM not in streams:
            raise TransientError(f"the stream at {config.url} listens to {streams}, not to {STREAM}")

    def _ask(self, connection: ClientConnection, action: str, data: dict[str, Any], answer: str) -> dict[str, Any]:
        connection.send(json.dumps({"action": action, "data": data}))
        raw = bytes(connection.recv(timeout=self._config.answer_seconds, decode=False))
        try:
            message = message_of(raw)
        except DataQualityError as unreadable:
            raise TransientError(f"{action} was answered with what is no message: {unreadable}") from unreadable
        told = message.get("data")
        if message.get("stream") != answer or not isinstance(told, dict):
            raise TransientError(f"{action} was answered with the stream {message.get('stream')!r}, not {answer}")
        return told


def _may_be_an_event(raw: bytes) -> bool:
    try:
        return message_of(raw).get("stream") == STREAM
    except DataQualityError:
        return True
