"""A server that ends at once is told of in its own words, however soon it says them."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from trading_pipeline.embedded.privileges import Account
from trading_pipeline.embedded.servers import Launcher
from trading_pipeline.errors import ServerUnavailable


class Complaining:
    """A server that says why it will not start, and ends."""

    name = "complainer"
    stop_signal = abort_signal = signal.SIGTERM

    def command(self, folder: Path, port: int) -> list[str]:
        """Complain."""
        del folder, port
        return ["/bin/sh", "-c", "echo the data are of another version; exit 1"]

    def configuration(self, folder: Path, port: int) -> bytes:
        """Need nothing."""
        del folder, port
        return b""

    def is_ready(self, folder: Path, port: int, pid: int) -> bool:
        """Never answer."""
        del folder, port, pid
        return False


def test_a_server_that_ends_before_it_is_watched_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words may be in the log before the launcher goes on."""
    spawn = subprocess.Popen

    def slowly(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = spawn(*args, **options)
        process.wait(10)
        return process

    monkeypatch.setattr(subprocess, "Popen", slowly)
    folder, log = tmp_path / "data", tmp_path / "server.log"
    folder.mkdir()
    log.write_text("what an earlier start said\n")
    account = Account(uid=os.geteuid(), gid=os.getegid())
    with (tmp_path / "lock").open("w") as lock, pytest.raises(ServerUnavailable) as failed:
        Launcher(account=account, lock=lock.fileno()).start(Complaining(), folder, log, None)
    assert "the data are of another version" in failed.value.message
    assert "what an earlier start said" not in failed.value.message
