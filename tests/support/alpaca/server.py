"""The HTTP side: routes, credentials, a journal of what was asked, and faults in the order they were planned."""

import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY_ID, SECRET = "PKTEST", "secret"
Answer = Any
Route = Callable[[Mapping[str, str]], Answer]


class Refusal(Exception):
    """A route's own error answer."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request instead of, or (`after`) behind, the proper handling.

    `kind`: `status` answers `status` with `body` (JSON, or HTML when it begins with `<`) and `headers`; `hang` says
    nothing until the server stops; `reset` cuts the connection; `drip` sends the proper answer byte by byte;
    `cut` sends half of it; `garbage` sends something that is no JSON.
    """

    kind: str = "status"
    status: int = 500
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False


@dataclass
class AlpacaServer:
    """The server's shared state: what tests plan and read."""

    routes: dict[tuple[str, str], Route]
    url: str = ""
    faults: deque[Fault | None] = field(default_factory=deque)
    journal: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, *faults: Fault | None) -> None:
        """Let the next requests go wrong in this order; None is a request that goes well."""
        self.faults.extend(faults)

    def take(self, method: str, path: str, query: dict[str, str]) -> Fault | None:
        """Write a request down and return what should go wrong with it."""
        with self.lock:
            self.journal.append((method, path, query))
            return self.faults.popleft() if self.faults else None


@contextmanager
def alpaca_server(routes: dict[tuple[str, str], Route]) -> Iterator[AlpacaServer]:
    """Serve routes, keyed by method and path, on a loopback port until the block ends."""
    state = AlpacaServer(routes)

    class Handler(_Handler):
        server_state = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_state: AlpacaServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        fault = self.server_state.take("GET", parts.path, query)
        if fault is not None and not fault.after:
            self._misbehave(fault, b"")
            return
        status, body = self._answer("GET", parts.path, query)
        if fault is not None:
            self._misbehave(fault, body)
        else:
            self._send(status, body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def _answer(self, method: str, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        if (self.headers.get("APCA-API-KEY-ID"), self.headers.get("APCA-API-SECRET-KEY")) != (KEY_ID, SECRET):
            return 401, json.dumps({"message": "unauthorized."}).encode()
        route = self.server_state.routes.get((method, path))
        if route is None:
            return 404, json.dumps({"code": 40410000, "message": f"endpoint not found: {path}"}).encode()
        try:
            return 200, json.dumps(route(query)).encode()
        except Refusal as refusal:
            return refusal.status, json.dumps(refusal.body).encode()

    def _misbehave(self, fault: Fault, body: bytes) -> None:
        self.close_connection = True
        if fault.kind == "status":
            self._send(fault.status, fault.body.encode(), fault.headers)
        elif fault.kind == "garbage":
            self._send(200, b"certainly { not json")
        elif fault.kind == "hang":
            self.server_state.stopping.wait()
        elif fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault.kind in {"drip", "cut"}:
            self._slowly(body, whole=fault.kind == "drip")

    def _slowly(self, body: bytes, *, whole: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not whole:
            self.wfile.write(body[: len(body) // 2])
            return
        for byte in body:
            if self.server_state.stopping.is_set():
                return
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return
            time.sleep(0.02)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
