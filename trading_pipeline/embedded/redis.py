"""The embedded Redis: every write in the append-only file, nothing evicted, loopback and password only."""

import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

from trading_pipeline.embedded.binaries import redis_server

_ANSWER_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """redis-server with its data in one folder."""

    password: str = field(repr=False)
    name: str = "redis"
    stop_signal: signal.Signals = signal.SIGTERM
    abort_signal: signal.Signals = signal.SIGKILL

    def command(self, folder: Path, port: int) -> list[str]:  # noqa: ARG002 - both are in the configuration
        """Return the command line: the configuration comes on standard input."""
        return [str(redis_server()), "-"]

    def configuration(self, folder: Path, port: int) -> bytes:
        """Return the settings, with the password."""
        settings = {
            "port": port,
            "bind": "127.0.0.1",
            "requirepass": self.password,
            "dir": f'"{folder}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items()).encode()

    def is_ready(self, folder: Path, port: int, pid: int) -> bool:  # noqa: ARG002 - the port says it all
        """Tell whether the server answers a PING, its data loaded."""
        try:
            with socket.create_connection(("127.0.0.1", port), _ANSWER_SECONDS) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
                with connection.makefile("rb") as answers:
                    return answers.read() == b"+OK\r\n+PONG\r\n+OK\r\n"
        except OSError:
            return False
