"""Kernels as machine code: compiled by numba where there is none yet, kept in the user's folder, run without numba."""

import hashlib
import logging
import os
from collections.abc import Callable
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from trading_pipeline.core.features.kernels import machine
from trading_pipeline.core.features.kernels.machine import Argument, MachineCode, Signature, Word

F = TypeVar("F", bound=Callable[..., object])
_log = logging.getLogger(__name__)


def compiled(function: F) -> F:
    """Make a function a kernel: numbers and arrays in, at most a whole number out.

    Called from Python it runs as machine code for the types of its arguments and releases the interpreter lock; arrays
    are contiguous. Called from another kernel it becomes part of that one's machine code. It allocates nothing: callers
    hand it the room it needs.
    """
    return cast("F", _Kernel(function))


class _Kernel:
    def __init__(self, function: Callable[..., object]) -> None:
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self._function = function
        self._codes: dict[Signature, MachineCode] = {}

    def __call__(self, *arguments: Argument) -> int | None:
        words: list[Word] = []
        signature = tuple([_append(words, argument) for argument in arguments])
        code = self._codes.get(signature)
        if code is None:
            code = self._codes[signature] = self._code(signature)
        return code(words)

    @cached_property
    def dispatcher(self) -> Any:
        """The function for numba."""
        return machine.dispatcher(self._function)

    @property
    def _numba_type_(self) -> Any:
        """What numba asks of the globals of a function that it compiles: kernels see other kernels as its own."""
        return self.dispatcher._numba_type_

    def _code(self, signature: Signature) -> MachineCode:
        folder = cache_folder()
        name = hashlib.sha256(repr(signature).encode()).hexdigest()[:16]
        path = folder / f"{self._function.__module__.rpartition('.')[2]}.{self.__name__}-{name}" if folder else None
        stored = machine.read(path) if path else None
        if stored is None:
            stored = machine.compile_for(self.dispatcher, signature)
            if path:
                machine.write(path, stored)
        return MachineCode(stored, signature)


def _append(words: list[Word], argument: Argument) -> tuple[str, int]:
    """Append what machine code takes for an argument; return the code of its type and its dimensions."""
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            message = "kernels take contiguous arrays only: copy the array first"
            raise TypeError(message)
        address: int = argument.__array_interface__["data"][0]
        words += (0, 0, argument.size, argument.itemsize, address, *argument.shape, *argument.strides)
        return argument.dtype.char, argument.ndim
    if isinstance(argument, float):
        words.append(argument)
        return "d", 0
    words.append(int(argument))
    return "q", 0


@cache
def cache_folder() -> Path | None:
    """Return the folder of machine code, or None where none is safe: then every process compiles anew.

    Machine code is trusted when it is loaded, so the folder must belong to the user and be closed to others. It is the
    first that can be used of `NUMBA_CACHE_DIR`, `PIPELINE_HOME/cache` and the user's cache folder. Its name follows
    from the sources of the kernels, the compiler and the processor: a changed kernel never meets machine code of its
    past, nor another machine that of this one.
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
    tools = f"{version('numba')} {version('llvmlite')} {machine.processor()}"
    content = b"".join(source.read_bytes() for source in sources) + tools.encode()
    return hashlib.sha256(content).hexdigest()[:16]
