"""Replace files so that each is old or new, never half written; it knows nothing of what the files hold."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_LOCK_NAME = ".lock"


def put_file(target: Path, content: bytes, *, staging: Path) -> None:
    """Give `target` this content, durably, by a rename within one file system.

    Args:
        target: in a folder that exists.
        content: all of it.
        staging: the folder in which the new file is written; a crash leaves it there.

    Raises:
        OSError: the disk does not take it; `target` is as it was.
    """
    temporary = staging / f"{uuid4().hex}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(target.parent)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder for writing, against threads and processes of this machine; waits for as long as it takes."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
