"""Running another program under a command: signals reach it, and its end is ours."""

import signal
import subprocess
from collections.abc import Sequence


def run_in_foreground(command: Sequence[str]) -> int:
    """Run a command that shares our terminal and return its exit code. ^C goes to the command; we wait for it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with subprocess.Popen(command) as child:  # noqa: S603 - the operator's own command
            return _wait(child, {signal.SIGTERM: signal.SIGTERM})
    finally:
        signal.signal(signal.SIGINT, before)


def run_service(command: Sequence[str]) -> int:
    """Run a server in a session of its own; ^C or SIGTERM to us stops it, once and in order."""
    with subprocess.Popen(command, start_new_session=True) as child:  # noqa: S603 - our own interpreter
        return _wait(child, {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGINT})


def _wait(child: subprocess.Popen[bytes], forwarded: dict[signal.Signals, signal.Signals]) -> int:
    before = {
        received: signal.signal(received, lambda *_, passed_on=passed_on: child.send_signal(passed_on))
        for received, passed_on in forwarded.items()
    }
    try:
        return child.wait()
    finally:
        for received, handler in before.items():
            signal.signal(received, handler)
