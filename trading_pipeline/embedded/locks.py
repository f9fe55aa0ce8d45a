"""File locks that the kernel releases when the last process holding them ends, however it ends."""

import fcntl
from pathlib import Path
from typing import IO

_OWNER_ONLY = 0o600


def try_lock(path: Path, *, shared: bool = False) -> IO[bytes] | None:
    """Lock a file without waiting and return it open, or None when another process holds it.

    Closing the file gives the lock back, unless a child inherited the descriptor. The file itself is never deleted.
    """
    path.touch(mode=_OWNER_ONLY)
    file = path.open("ab")
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
