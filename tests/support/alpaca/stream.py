"""The websocket side: Alpaca's trade_updates for a paper exchange, in binary frames, misbehaving when planned."""

import json
import random
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from support.alpaca.documents import instant, order_json, text
from support.alpaca.exchange import PaperExchange, PaperFill, PaperOrder
from support.alpaca.server import KEY_ID, SECRET

PLANS = frozenset({"lose", "duplicate", "hold", "malformed", "unknown_event", "unknown_status"})


class TradeUpdates:
    """What is streamed, to whom, and what goes wrong with it.

    Attributes:
        url: where to connect.
        told: every event that happened as its frame, those that were lost too.
        mute: while true nothing is sent, though the connection stands.
        own_ids: true when executions have other ids here than in the REST API.
        admits: false when no key is let in.
        sent: frames of events that went out to somebody.
    """

    def __init__(self, exchange: PaperExchange) -> None:
        self.url = ""
        self.told: list[bytes] = []
        self.mute = False
        self.own_ids = False
        self.admits = True
        self.connected = 0
        self.sent = 0
        self.binary = True
        self._exchange = exchange
        self._lock = threading.RLock()
        self._plans: deque[str | None] = deque()
        self._held: list[bytes] = []
        self._listening: list[ServerConnection] = []
        self.listens = threading.Condition(self._lock)
        exchange.listeners.append(self._happened)

    def plan(self, *plans: str | None) -> None:
        """Let the next events go wrong in this order; None is one that goes well."""
        assert {plan for plan in plans if plan} <= PLANS
        self._plans.extend(plans)

    def release(self, seed: int = 0) -> None:
        """Send what was held, in another order than it happened."""
        with self._lock:
            held, self._held = self._held, []
        random.Random(seed).shuffle(held)
        for frame in held:
            self.send(frame)

    def send(self, frame: bytes) -> None:
        """Send a frame to everyone who listens."""
        with self._lock:
            for connection in list(self._listening):
                try:
                    connection.send(frame if self.binary else frame.decode())
                    self.sent += 1
                except ConnectionClosed:
                    self._listening.remove(connection)

    def disconnect(self) -> None:
        """Cut every connection."""
        with self._lock:
            connections, self._listening = self._listening, []
        for connection in connections:
            connection.close(code=1001)

    def wait_for_listener(self, count: int = 1, seconds: float = 20) -> None:
        """Wait until so many connections have begun to listen since the server started."""
        with self.listens:
            assert self.listens.wait_for(lambda: self.connected >= count, seconds), f"{self.connected} ever listened"

    def handle(self, connection: ServerConnection) -> None:
        """Speak Alpaca's protocol on one connection until it ends."""
        try:
            said = json.loads(connection.recv())["data"]
            known = self.admits and (said["key_id"], said["secret_key"]) == (KEY_ID, SECRET)
            answer = {"action": "authenticate", "status": "authorized" if known else "unauthorized"}
            self._control(connection, "authorization", answer)
            if not known:
                return
            streams = json.loads(connection.recv())["data"]["streams"]
            with self.listens:
                self._control(connection, "listening", {"streams": streams})
                self._listening.append(connection)
                self.connected += 1
                self.listens.notify_all()
            for _ in connection:
                """Whatever else is said changes nothing."""
        except ConnectionClosed:
            """The client went."""

    def _control(self, connection: ServerConnection, stream: str, data: dict[str, Any]) -> None:
        frame = json.dumps({"stream": stream, "data": data})
        connection.send(frame.encode() if self.binary else frame)

    def _happened(self, event: str, order: PaperOrder, fill: PaperFill | None) -> None:
        plan = self._plans.popleft() if self._plans else None
        frame = self._frame("haunted" if plan == "unknown_event" else event, order, fill, plan)
        self.told.append(frame)
        if self.mute or plan == "lose":
            return
        if plan == "hold":
            self._held.append(frame)
            return
        if plan == "malformed":
            self.send(frame[: len(frame) // 2])
            return
        for _ in range(3 if plan == "duplicate" else 1):
            self.send(frame)

    def _frame(self, event: str, order: PaperOrder, fill: PaperFill | None, plan: str | None) -> bytes:
        shown = order_json(order) | ({"status": "bewitched"} if plan == "unknown_status" else {})
        data: dict[str, Any] = {"event": event, "timestamp": instant(self._exchange.now()), "order": shown}
        if fill is not None:
            data |= {"execution_id": fill.id, "price": text(fill.price), "qty": text(fill.qty)}
            data["position_qty"] = text(self._exchange.positions().get(fill.symbol, Decimal(0)))
            if self.own_ids:
                data["execution_id"] = str(uuid.uuid5(uuid.NAMESPACE_OID, fill.id))
        elif event != "pending_new":
            data["execution_id"] = str(uuid.uuid4())
        return json.dumps({"stream": "trade_updates", "data": data}).encode()


@contextmanager
def trade_updates(exchange: PaperExchange) -> Iterator[TradeUpdates]:
    """Stream an exchange on a loopback port until the block ends."""
    updates = TradeUpdates(exchange)
    with serve(updates.handle, "127.0.0.1", 0) as server:
        updates.url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/stream"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield updates
        finally:
            server.shutdown()
            updates.disconnect()
            thread.join()
