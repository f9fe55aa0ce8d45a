"""A TCP line to a server that can be cut at a chosen message: what a network does at the worst moment."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Queue
from urllib.parse import urlsplit, urlunsplit

ANSWER_SECONDS = 60
COMMIT = b"; commit\0"
"""How the last message of a writing transaction ends."""


class Passage:
    """One connection through the line, and the message it was stopped at."""

    def __init__(self, client: socket.socket, server: socket.socket, message: bytes, answers: Queue[bytes]) -> None:
        self._client = client
        self._server = server
        self._message = message
        self._answers = answers

    def forward(self) -> None:
        """Give the server the message."""
        self._server.sendall(self._message)

    def await_answer(self) -> bytes:
        """Wait for the server's answer, or its end (nothing), and keep it from the client."""
        return self._answers.get(timeout=ANSWER_SECONDS)

    def leave_client(self) -> None:
        """Cut the client off; the server still holds its end."""
        _close(self._client)

    def leave_server(self) -> None:
        """Cut the server off."""
        _close(self._server)


class Line:
    """Passes bytes both ways. `plan`, when set, is called once with the next commit instead of passing it on."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._door.getsockname()[1]
        self.plan: Callable[[Passage], None] | None = None
        self.refusing = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything."""
        for one in (self._door, *self._open):
            _close(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                if self.refusing:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                self._open += [client, server]
                stopped, answers = threading.Event(), Queue[bytes]()
                for work in (self._ask, self._answer):
                    threading.Thread(target=work, args=(client, server, stopped, answers), daemon=True).start()

    def _ask(
        self, client: socket.socket, server: socket.socket, stopped: threading.Event, answers: Queue[bytes]
    ) -> None:
        with suppress(OSError):
            while chunk := client.recv(65_536):
                if self.plan is not None and chunk.endswith(COMMIT):
                    plan, self.plan = self.plan, None
                    stopped.set()
                    plan(Passage(client, server, chunk, answers))
                    return
                server.sendall(chunk)
        if self.plan is None:
            _close(server)

    def _answer(
        self, client: socket.socket, server: socket.socket, stopped: threading.Event, answers: Queue[bytes]
    ) -> None:
        # The only reader of the server: what it says after a stopped commit goes to the passage.
        with suppress(OSError):
            while chunk := server.recv(65_536):
                if stopped.is_set():
                    answers.put(chunk)
                else:
                    client.sendall(chunk)
        answers.put(b"")
        _close(client)


@contextmanager
def line_to(database_url: str) -> Iterator[tuple[Line, str]]:
    """Give a line to the server of a database, and the URL that leads through it."""
    parts = urlsplit(database_url)
    assert parts.hostname is not None
    assert parts.port is not None
    line = Line(parts.hostname, parts.port)
    host = parts.netloc.rpartition("@")[0]
    query = "&".join(one for one in (parts.query, "gssencmode=disable&sslmode=disable") if one)
    try:
        yield line, urlunsplit(parts._replace(netloc=f"{host}@127.0.0.1:{line.port}", query=query))
    finally:
        line.close()


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
