"""The process: `python -m support.s3.server DESCRIPTOR`, of a listening socket.

Faults are armed by a POST to `/faults/KIND/COUNT/ENDING`: `lost_answer` carries a PUT of a key with that
ending out, and hangs up; `lost_request` hangs up before; `unconditional` carries it out whatever its conditions say.
"""

import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")


class Quiet(WSGIRequestHandler):
    """Writes no log."""

    def log(self, *_: Any) -> None:
        """Say nothing."""


class Faulty:
    """The S3, with the faults that are armed."""

    def __init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.armed: list[tuple[str, str]] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        if path.startswith("/faults/"):
            _, _, kind, count, ending = path.split("/")
            self.armed += [(kind, ending)] * int(count)
            start("204 No Content", [])
            return []
        kind = self._fault(path) if environ["REQUEST_METHOD"] == "PUT" else ""
        if kind == "unconditional":
            for name in CONDITIONS:
                environ.pop(name, None)
        answer = [] if kind == "lost_request" else list(self.app(environ, start))
        if kind in {"lost_answer", "lost_request"}:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer

    def _fault(self, path: str) -> str:
        for number, (kind, ending) in enumerate(self.armed):
            if path.endswith(ending):
                del self.armed[number]
                return kind
        return ""


if __name__ == "__main__":
    # One request at a time: moto looks at the conditions of a PUT before it takes the content, and holds no lock.
    make_server("127.0.0.1", 0, Faulty(), request_handler=Quiet, fd=int(sys.argv[1])).serve_forever()
