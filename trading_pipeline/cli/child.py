"""Running another program under a command: signals reach it, and its end is ours."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from trading_pipeline.errors import ConfigError

_LOOK_SECONDS = 0.2


def run_in_foreground(command: Sequence[str]) -> int:
    """Run a command that shares our terminal and return its exit code. ^C goes to the command; we wait for it.

    Programs of our own environment are found first.

    Raises:
        ConfigError: the command cannot be run.
    """
    # A handler that does nothing, not SIG_IGN: the command would inherit that and never hear ^C.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with _started(command) as child:
            return _wait(child, {signal.SIGTERM: signal.SIGTERM})
    finally:
        signal.signal(signal.SIGINT, before)


def run_service(command: Sequence[str]) -> int:
    """Run a server in a session of its own; ^C or SIGTERM to us stops it, once and in order."""
    with subprocess.Popen(command, start_new_session=True) as child:  # noqa: S603 - our own interpreter
        return _wait(child, {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGINT})


def wait_for_the_end() -> None:
    """Wait until somebody presses ^C or sends SIGTERM."""
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        signal.sigwait(ends)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)


def run_until_told(run: Callable[[], None], stop: Callable[[], None]) -> None:
    """Run until it returns or raises; ^C or SIGTERM asks it to stop, and then it is waited for."""
    told: list[int] = []
    # A handler that only takes note: anything with a lock could wait for the thread it interrupts.
    before = {one: signal.signal(one, lambda number, _: told.append(number)) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ThreadPoolExecutor(1) as worker:
            running = worker.submit(run)
            while not told and not running.done():
                wait([running], timeout=_LOOK_SECONDS)
            stop()
            running.result()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    own = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{own}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        return subprocess.Popen(command, env=environment)  # noqa: S603 - the operator's own command
    except OSError as error:
        raise ConfigError(f"cannot run {command[0]}: {error.strerror}", command=list(command)) from error


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
