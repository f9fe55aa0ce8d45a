"""Arithmetic in float32 on registers of float64, in one pass: numpy would make two copies first and widen a third."""

from collections.abc import Callable

import numpy as np

from trading_pipeline.core.features.kernels.arrays import Row
from trading_pipeline.core.features.kernels.compiled import compiled


@compiled
def add(left: Row, right: Row, out: Row) -> None:
    """Add row by row, rounded to float32."""
    for t in range(out.shape[0]):
        out[t] = np.float32(left[t]) + np.float32(right[t])


@compiled
def subtract(left: Row, right: Row, out: Row) -> None:
    """Subtract row by row, rounded to float32."""
    for t in range(out.shape[0]):
        out[t] = np.float32(left[t]) - np.float32(right[t])


@compiled
def multiply(left: Row, right: Row, out: Row) -> None:
    """Multiply row by row, rounded to float32."""
    for t in range(out.shape[0]):
        out[t] = np.float32(left[t]) * np.float32(right[t])


@compiled
def divide(left: Row, right: Row, out: Row) -> None:
    """Divide row by row, rounded to float32."""
    for t in range(out.shape[0]):
        out[t] = np.float32(left[t]) / np.float32(right[t])


FLOAT32: dict[str, Callable[[Row, Row, Row], None]] = {"Add": add, "Sub": subtract, "Mul": multiply, "Div": divide}
"""By operator, for two series."""
