"""Threads of which exactly one runs at a time: whoever holds the baton. Who gets it next is drawn from the seed."""

import threading
from collections.abc import Callable


class Crash(BaseException):
    """The process is gone. No handler of the product catches it."""


class Actor:
    """One process: a task that runs until it reaches a boundary, gives the baton back, and waits to go on."""

    def __init__(self, name: str, task: Callable[[], None]) -> None:
        self.name = name
        self.dead = False
        self.done = False
        self.mortal = False
        self.asleep_until = 0.0
        self.waits_since: int | None = None
        """How often a lane had been freed when it last found its own taken; None while it waits for none."""
        self.failure: BaseException | None = None
        self._task = task
        self._go, self._gave_back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.started = False

    def step(self) -> None:
        """Let it run to its next boundary."""
        if not self.started:
            self.started = True
            self._thread.start()
        self._go.release()
        self._gave_back.acquire()
        if self.done:
            self._thread.join()

    def give_back(self) -> None:
        """Called in the actor's thread: stop here until the next step."""
        self._gave_back.release()
        self._go.acquire()

    @property
    def is_current(self) -> bool:
        """True in the actor's own thread."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._task()
        except Crash:
            self.dead = True
        except BaseException as failure:  # noqa: BLE001 - reported by the world, with the schedule
            self.failure = failure
        finally:
            self.done = True
            self._gave_back.release()
