"""The HTTP side: routes, credentials, a journal of what was asked, and faults in the order they were planned."""

import json
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

KEY_ID, SECRET = "PKTEST", "secret"
Answer = Any


class Raw(str):
    """An answer that is JSON already: numbers keep their digits, and nonsense can be told."""

    __slots__ = ()


Route = Callable[[Mapping[str, str]], Answer]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it arrived. `body` is the text, untouched: what was a string and what a number can be seen."""

    method: str
    path: str
    query: Mapping[str, str]
    body: str = ""


class Application(Protocol):
    """Answers requests of its own paths."""

    def handle(self, request: Request) -> tuple[int, Answer] | None:
        """Return status and JSON (None: an empty body), or None for a path that is not its own; may raise Refusal."""
        ...


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
    `cut` sends half of it; `garbage` sends something that is no JSON; `strange` gives every order of the proper answer
    a status nobody has heard of; `slow` gives the proper answer after `seconds`.
    """

    kind: str = "status"
    status: int = 500
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False
    seconds: float = 0.1


@dataclass
class AlpacaServer:
    """The server's shared state: what tests plan and read."""

    routes: dict[tuple[str, str], Route]
    application: Application | None = None
    url: str = ""
    faults: deque[Fault | None] = field(default_factory=deque)
    faults_of: dict[tuple[str, str], deque[Fault | None]] = field(default_factory=dict)
    meanwhile: dict[tuple[str, str], Callable[[], object]] = field(default_factory=dict)
    """What happens while a request of this method and path is under way, once."""
    requests: list[Request] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, *faults: Fault | None) -> None:
        """Let the next requests go wrong in this order; None is a request that goes well."""
        self.faults.extend(faults)

    def plan_for(self, method: str, path: str, *faults: Fault | None) -> None:
        """Let the next requests of one method and path go wrong in this order."""
        self.faults_of.setdefault((method, path), deque()).extend(faults)

    @property
    def journal(self) -> list[tuple[str, str, dict[str, str]]]:
        """Method, path and query of every request, in the order they arrived."""
        return [(one.method, one.path, dict(one.query)) for one in self.requests]

    def count(self, method: str, path: str) -> int:
        """Tell how often something was asked."""
        return sum((one.method, one.path) == (method, path) for one in self.requests)

    def take(self, request: Request) -> Fault | None:
        """Write a request down and return what should go wrong with it."""
        with self.lock:
            self.requests.append(request)
            planned = self.faults_of.get((request.method, request.path)) or self.faults
            return planned.popleft() if planned else None


@contextmanager
def alpaca_server(
    routes: dict[tuple[str, str], Route] | None = None, application: Application | None = None
) -> Iterator[AlpacaServer]:
    """Serve routes, keyed by method and path, and an application on a loopback port until the block ends."""
    state = AlpacaServer(routes or {}, application)

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
    disable_nagle_algorithm = True  # head and body leave apart: else each answer waits 40 ms for the client's word

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        body_text = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        request = Request(method=method, path=parts.path, query=dict(parse_qsl(parts.query)), body=body_text)
        happens = self.server_state.meanwhile.pop((method, parts.path), None)
        if happens is not None:
            happens()
        fault = self.server_state.take(request)
        if fault is not None and not fault.after:
            self._misbehave(fault, b"")
            return
        status, body = self._answer(request)
        if fault is not None:
            self._misbehave(fault, body)
        else:
            self._send(status, body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def _answer(self, request: Request) -> tuple[int, bytes]:
        if (self.headers.get("APCA-API-KEY-ID"), self.headers.get("APCA-API-SECRET-KEY")) != (KEY_ID, SECRET):
            return 401, json.dumps({"message": "unauthorized."}).encode()
        try:
            status, answer = self._routed(request)
        except Refusal as refusal:
            status, answer = refusal.status, refusal.body
        if isinstance(answer, Raw):
            return status, answer.encode()
        return status, b"" if answer is None else json.dumps(answer).encode()

    def _routed(self, request: Request) -> tuple[int, Answer]:
        route = self.server_state.routes.get((request.method, request.path))
        if route is not None:
            return 200, route(request.query)
        application = self.server_state.application
        handled = None if application is None else application.handle(request)
        return handled or (404, {"code": 40410000, "message": f"endpoint not found: {request.path}"})

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
        elif fault.kind == "slow":
            self.server_state.stopping.wait(fault.seconds)
            self._send(200, body)
        elif fault.kind == "strange":
            self._send(200, re.sub(rb'"status": "[a-z_]+"', b'"status": "bewitched"', body))
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
