"""Replace many files so that each is old or new, never half written; it knows nothing of what the files hold."""

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar
from uuid import uuid4

_THREADS = 8
_T = TypeVar("_T")
_LOCK_NAME = ".lock"
_STAGING_NAME = ".staging"


class FileBatch:
    """Files staged in a hidden folder of the same file system, put in place together by `commit`.

    Until `commit` nothing is visible. A crash within `commit` leaves some files new and the others old, each complete.
    """

    __slots__ = ("_folder", "_staged")

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _STAGING_NAME
        self._staged: dict[Path, Path] = {}

    def stage(self, target: Path, content: bytes) -> None:
        """Store the future content of `target` durably; safe to call from several threads.

        Raises:
            OSError: the disk does not take it.
        """
        temporary = self._folder / f"{uuid4().hex}.tmp"
        self._staged[target] = temporary
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def commit(self) -> None:
        """Rename each content onto its target, then make the names durable."""
        parents = {target.parent for target in self._staged}
        for parent in parents:
            parent.mkdir(parents=True, exist_ok=True)
        for target, temporary in self._staged.items():
            temporary.replace(target)
        in_threads(_sync, parents | {parent.parent for parent in parents})

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        # The folder belongs to the holder of the lock: whatever lies here was left by a crash.
        _remove(self._folder.iterdir())
        return self

    def __exit__(self, *_: object) -> None:
        _remove(self._staged.values())


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder for writing, against threads and processes of this machine; waits for as long as it takes."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def in_threads(work: Callable[[_T], None], items: Iterable[_T]) -> None:
    """Do work that mostly waits for the disk on a few threads; the first error is raised once all have ended."""
    with ThreadPoolExecutor(_THREADS) as pool:
        deque(pool.map(work, items), maxlen=0)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
