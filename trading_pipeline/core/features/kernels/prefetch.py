"""A hint to the processor, for kernels that write where no hardware could guess it."""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

CACHE_LINE_BYTES = 64
"""What a processor fetches at once; another size costs speed and no more."""


def prefetch(values: npt.NDArray[np.generic], place: int) -> None:
    """Fetch the cache line of an element that will be written soon; only kernels may call it."""
    message = f"element {place} of {values.dtype} needs no hint outside of a kernel"
    raise NotImplementedError(message)


@cache
def teach_numba() -> None:
    """Tell numba what `prefetch` is in a kernel: one instruction of the processor."""
    from numba import extending, types  # noqa: PLC0415  only who compiles waits for it

    extension: Any = extending
    extension.type_callable(prefetch)(lambda _: lambda _values, _place: types.none)
    extension.lower_builtin(prefetch, types.Array, types.Integer)(_lower)


def _lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    from llvmlite import ir  # noqa: PLC0415  as above

    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.PointerType(ir.IntType(8)))
    number = ir.IntType(32)
    kinds = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
    function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kinds)
    for_writing, into_all_caches, data = (ir.Constant(number, code) for code in (1, 3, 1))
    builder.call(function, [pointer, for_writing, into_all_caches, data])
    return context.get_dummy_value()
