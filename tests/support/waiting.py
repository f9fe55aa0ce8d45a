"""Services that run in a thread for as long as a test wants, and waiting for what they do."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import pytest

PATIENCE = 60


class Service(Protocol):
    """Something that runs until it is told to stop."""

    def run(self) -> None:
        """Run."""

    def stop(self) -> None:
        """Let it return."""


@contextmanager
def running(service: Service) -> Iterator[None]:
    """Run a service until the block ends."""
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield
    finally:
        service.stop()
        thread.join()


def until(happened: Callable[[], bool]) -> None:
    """Wait until something has happened; it must, however slow the machine is."""
    ticks = threading.Event()
    for _ in range(PATIENCE * 20):
        if happened():
            return
        ticks.wait(0.05)
    pytest.fail("it never happened")
