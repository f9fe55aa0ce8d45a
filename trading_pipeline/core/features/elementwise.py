"""Operators that work row by row, by numpy's rules: NaN is missing, and a comparison with it is false."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float64]
Operand = Row | npt.NDArray[np.float32] | float
Elementwise = Callable[..., object]


def _not(operand: Operand, *, out: Row) -> None:
    np.subtract(1.0, operand, out=out)


def _if(condition: Operand, left: Operand, right: Operand, *, out: Row) -> None:
    # A missing condition is true, as for numpy.where.
    out[:] = np.where(np.not_equal(condition, 0.0), left, right)


def _fill(operand: Operand, *, out: Row) -> None:
    out[:] = operand


ELEMENTWISE: dict[str, Elementwise] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Power": np.power,
    "Greater": np.maximum,
    "Less": np.minimum,
    "Gt": np.greater,
    "Ge": np.greater_equal,
    "Lt": np.less,
    "Le": np.less_equal,
    "Eq": np.equal,
    "Ne": np.not_equal,
    "And": np.multiply,
    "Or": np.maximum,
    "Not": _not,
    "Abs": np.absolute,
    "Log": np.log,
    "Sign": np.sign,
    "If": _if,
    "Fill": _fill,
}
"""Each writes to `out`, which is float64, what it computes in the type of its operands; conditions are 1.0 or 0.0."""
