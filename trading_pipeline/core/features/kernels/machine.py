"""Machine code of one function for one choice of argument types: how it is compiled, stored, loaded and called.

numba compiles; what it made is an object file, which LLVM alone loads in a hundredth of the time that numba takes to
get ready. A file is a line of JSON about it and the object:

    {"entry": name of the function, "sha256": of the object, "whole_number": whether it returns one}

The calling convention is numba's: `status f(answer*, error**, arguments...)`, where an array is its owner (twice,
none), size, item size, address, shape and strides.
"""

import ctypes
import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

from trading_pipeline.core.features.kernels.prefetch import teach_numba

Argument = npt.NDArray[Any] | float | int
Signature = tuple[tuple[str, int], ...]
"""Code of the type, as numpy has it, and dimensions of each argument; 0 for a number."""
Word = int | float

_OUTSIDE = frozenset({"memcpy", "memset", "memmove", "log", "pow", "sqrt", "floor"})
"""Functions of the C library that machine code may call: LLVM ends the process when it meets one it does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """An object file.

    Attributes:
        entry: name of the function.
        whole_number: it returns one; otherwise nothing.
        code: the bytes of the object file.
    """

    entry: str
    whole_number: bool
    code: bytes


class MachineCode:
    """A function that can be called with words; see `Signature`."""

    def __init__(self, compiled: Compiled, signature: Signature) -> None:
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(compiled.code))
        self._engine.finalize_object()
        kinds = [kind for code, dimensions in signature for kind in _words(code, dimensions)]
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *kinds)
        self._call = prototype(self._engine.get_function_address(compiled.entry))
        self._compiled = compiled

    def __call__(self, words: Sequence[Word]) -> int | None:
        """Run it, without the interpreter lock.

        Raises:
            RuntimeError: the function failed, which none should.
        """
        answer, error = ctypes.c_int64(), ctypes.c_void_p()
        status = self._call(ctypes.addressof(answer), ctypes.addressof(error), *words)
        if status != 0:
            message = f"the kernel {self._compiled.entry} ended with status {status}: report it with the bars it read"
            raise RuntimeError(message)
        return answer.value if self._compiled.whole_number else None


def dispatcher(function: Callable[..., object]) -> Any:
    """Return numba's view of a function that allocates nothing and is called without the interpreter."""
    import numba  # noqa: PLC0415  only who compiles waits for it

    teach_numba()
    njit: Any = numba.njit
    return njit(nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def compile_for(function: Any, signature: Signature) -> Compiled:
    """Compile a dispatcher's function for argument types.

    Raises:
        RuntimeError: its machine code would call what no other process has.
    """
    from numba import from_dtype, types  # noqa: PLC0415

    kinds = tuple(
        types.Array(from_dtype(np.dtype(code)), dimensions, "C") if dimensions else from_dtype(np.dtype(code))
        for code, dimensions in signature
    )
    function.compile(kinds)
    overload = function.overloads[kinds]
    entry = overload.fndesc.llvm_func_name
    module = llvm.parse_assembly(function.inspect_llvm(kinds))
    unknown = {
        item.name for item in module.functions if item.is_declaration and not item.name.startswith("llvm.")
    } - _OUTSIDE
    if unknown:
        message = f"{function.__name__} calls {sorted(unknown)}, which machine code without numba cannot"
        raise RuntimeError(message)
    code = _target_machine().emit_object(module)
    return Compiled(entry=entry, whole_number=overload.signature.return_type != types.none, code=code)


def read(path: Path) -> Compiled | None:
    """Return what is stored, or None if there is nothing or it is damaged."""
    try:
        header, _, code = path.read_bytes().partition(b"\n")
        about = json.loads(header)
        if about["sha256"] == hashlib.sha256(code).hexdigest():
            return Compiled(entry=about["entry"], whole_number=about["whole_number"], code=code)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def write(path: Path, compiled: Compiled) -> None:
    """Store machine code, whole or not at all."""
    about = {
        "entry": compiled.entry,
        "sha256": hashlib.sha256(compiled.code).hexdigest(),
        "whole_number": compiled.whole_number,
    }
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(json.dumps(about).encode() + b"\n" + compiled.code)
    Path(file.name).replace(path)


@cache
def processor() -> str:
    """Return the name and abilities of the processor that machine code is made for."""
    llvm.initialize_native_target()
    return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


def _target_machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    name, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=name, features=features, opt=3, codemodel="jitdefault", jit=True)


def _words(code: str, dimensions: int) -> list[Any]:
    if dimensions == 0:
        return [ctypes.c_double if code == "d" else ctypes.c_int64]
    return [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * (3 + 2 * dimensions)]
