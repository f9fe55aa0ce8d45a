"""An S3 in a process of its own: moto's server, asked one request at a time, that can lose answers and conditions."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

KEY_ID, SECRET, REGION = "key", "secret", "us-east-1"


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A running server."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which clients find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
        }

    def arm(self, kind: str, ending: str, *, count: int = 1) -> None:
        """Let the next PUTs of keys with an ending meet a fault."""
        requests.post(f"{self.url}/faults/{kind}/{count}/{ending}", timeout=60).raise_for_status()


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Start a server on a free port, and stop it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.s3.server", str(listening.fileno())],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            pass_fds=[listening.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = listening.getsockname()[1]
    try:
        yield S3Server(url=f"http://127.0.0.1:{port}")
    finally:
        process.kill()  # it keeps nothing, and a thread that serves may outlive a polite request
        process.wait()
