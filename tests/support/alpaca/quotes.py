"""The websocket of market data: Alpaca's stream of quotes, trades and trading states, one connection at a time."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from support.alpaca.server import KEY_ID, SECRET

CHANNELS = ("quotes", "trades", "statuses")


class QuoteFeed:
    """What is streamed and to whom.

    Attributes:
        url: where to connect.
        listened: the symbols asked for on the connection that stands, by channel.
        said: every demand as it arrived: action and symbols.
        most: symbols that one connection may ask for.
        refuses: an error that answers authentication, as code and text.
    """

    def __init__(self) -> None:
        self.url = ""
        self.listened: dict[str, set[str]] = {name: set() for name in CHANNELS}
        self.said: list[tuple[str, tuple[str, ...]]] = []
        self.most = 1_000
        self.refuses: tuple[int, str] | None = None
        self.connected = 0
        self._lock = threading.RLock()
        self._connection: ServerConnection | None = None

    def tell(self, *messages: str) -> None:
        """Send messages (JSON objects) in one frame to the connection, of symbols that it asked for or not."""
        self.send("[" + ", ".join(messages) + "]")

    def send(self, frame: str) -> None:
        """Send a frame, whatever it is."""
        with self._lock:
            if self._connection is not None:
                self._connection.send(frame)

    def disconnect(self) -> None:
        """Cut the connection."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(code=1001)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Leave everything that arrives on the connection unread and unanswered, pings too, though it stands."""
        with self._lock:
            connection = self._connection
        assert connection is not None
        with connection.protocol_mutex:
            yield

    def handle(self, connection: ServerConnection) -> None:
        """Speak the protocol on one connection until it ends."""
        try:
            connection.send('[{"T": "success", "msg": "connected"}]')
            said = json.loads(connection.recv())
            if self.refuses is not None or (said["key"], said["secret"]) != (KEY_ID, SECRET):
                code, text = self.refuses or (402, "auth failed")
                connection.send(json.dumps([{"T": "error", "code": code, "msg": text}]))
                return
            with self._lock:
                self.listened = {name: set() for name in CHANNELS}
                self._connection = connection
                self.connected += 1
            connection.send('[{"T": "success", "msg": "authenticated"}]')
            for text in connection:
                self._obey(connection, json.loads(text))
        except ConnectionClosed:
            """The client went."""

    def _obey(self, connection: ServerConnection, said: dict[str, object]) -> None:
        symbols = set(said["quotes"])
        with self._lock:
            self.said.append((str(said["action"]), tuple(sorted(symbols))))
            for name in CHANNELS:
                self.listened[name] ^= self.listened[name] & symbols if said["action"] == "unsubscribe" else set()
                self.listened[name] |= symbols if said["action"] == "subscribe" else set()
            if len(self.listened["quotes"]) > self.most:
                connection.send('[{"T": "error", "code": 405, "msg": "symbol limit exceeded"}]')
                return
            told = {name: sorted(self.listened[name]) for name in CHANNELS}
            connection.send(json.dumps([{"T": "subscription"} | told]))


@contextmanager
def quote_feed() -> Iterator[QuoteFeed]:
    """Stream on a loopback port until the block ends."""
    feed = QuoteFeed()
    with serve(feed.handle, "127.0.0.1", 0) as server:
        feed.url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/v2/sip"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield feed
        finally:
            server.shutdown()
            feed.disconnect()
            thread.join()
