"""Compiles kernels with numba and keeps the machine code in a folder of the user's, so that others start warm."""

import hashlib
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])
_log = logging.getLogger(__name__)


def compiled(function: F) -> F:
    """Compile a function for the types of its first call; it releases the interpreter lock while it runs."""
    folder = cache_folder()
    settings: Any = numba.config
    before = settings.CACHE_DIR
    # numba reads the folder where a function is decorated; other users of numba keep theirs.
    settings.CACHE_DIR = str(folder or "")
    try:
        dispatcher = numba.njit(nogil=True, error_model="numpy", cache=folder is not None)(function)
    finally:
        settings.CACHE_DIR = before
    return cast("F", dispatcher)


@cache
def cache_folder() -> Path | None:
    """Return the folder of machine code, or None where none is safe: then every process compiles anew.

    Machine code is trusted when it is loaded, so the folder must belong to the user and be closed to others. It is the
    first that can be used of `NUMBA_CACHE_DIR`, `PIPELINE_HOME/cache` and the user's cache folder, and its name follows
    from the sources of the kernels: a changed kernel never meets machine code of its past.
    """
    for parent in _parents():
        folder = parent / f"kernels-{_digest()}"
        try:
            new = not folder.exists()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
        except OSError:
            continue
        if status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK):
            if new:
                _log.warning("compiling the feature kernels into %s; this takes half a minute, once", folder)
            return folder
    _log.warning("no folder for compiled feature kernels: set PIPELINE_HOME to one; compiling takes half a minute")
    return None


def _parents() -> list[Path]:
    environment = os.environ
    named = [Path(environment["NUMBA_CACHE_DIR"])] if environment.get("NUMBA_CACHE_DIR") else []
    if environment.get("PIPELINE_HOME"):
        named.append(Path(environment["PIPELINE_HOME"]) / "cache")
    home = environment.get("XDG_CACHE_HOME") or (
        Path(environment["HOME"]) / ".cache" if "HOME" in environment else None
    )
    return [*named, *([Path(home) / "trading-pipeline"] if home else [])]


def _digest() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    content = b"".join(source.read_bytes() for source in sources) + numba.__version__.encode()
    return hashlib.sha256(content).hexdigest()[:16]
