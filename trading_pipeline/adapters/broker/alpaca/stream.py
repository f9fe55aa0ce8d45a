"""Alpaca's trade_updates stream on a websocket: frames as they arrive, before anybody has looked at them.

alpaca-py's own stream reads a frame before it hands it on, and loses the one whose handler failed. This one hands on
the bytes, so that they can be kept first. Pings go out by themselves, and a server that leaves them unanswered counts
as lost.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import ClientConnection, connect

from trading_pipeline.adapters.broker.alpaca.updates import STREAM, message_of
from trading_pipeline.errors import ConfigError, DataQualityError, TransientError

FRAMES_AHEAD: Final = 1_024
"""Frames the connection reads ahead of us; beyond them the server waits."""
_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """Where the stream is, with which key, and after how many seconds of silence it counts as lost."""

    url: str
    key_id: str
    secret: str = field(repr=False)
    answer_seconds: float = 10.0
    silence_seconds: float = 20.0


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
            raise ConfigError(f"ALPACA_STREAM_URL: {wrong}") from wrong
        except InvalidStatus as refused:
            if refused.response.status_code in _REFUSED:
                raise ConfigError(_not_taken(config, f"HTTP {refused.response.status_code}")) from refused
            raise TransientError(f"no stream at {config.url}: {refused}") from refused
        except (OSError, InvalidHandshake, TimeoutError) as away:
            raise TransientError(f"no stream at {config.url}: {away}") from away
        with connection:
            try:
                self._listen(connection)
            except (ConnectionClosed, TimeoutError) as lost:
                raise TransientError(f"the stream at {config.url} ended before it began: {lost}") from lost
            yield AlpacaFrames(connection)

    def _listen(self, connection: ClientConnection) -> None:
        config = self._config
        keys = {"key_id": config.key_id, "secret_key": config.secret}
        status = self._ask(connection, "authenticate", keys, "authorization").get("status")
        if status != "authorized":
            raise ConfigError(_not_taken(config, str(status)))
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


def _not_taken(config: StreamConfig, said: str) -> str:
    return (
        f"the stream at {config.url} does not take the key {config.key_id} ({said}): check ALPACA_API_KEY_ID, "
        "ALPACA_API_SECRET_KEY and ALPACA_STREAM_URL, and that both are of paper or both of live trading"
    )


def _may_be_an_event(raw: bytes) -> bool:
    try:
        return message_of(raw).get("stream") == STREAM
    except DataQualityError:
        return True
