"""The array types that kernels exchange, and how one is copied."""

import numpy as np
import numpy.typing as npt

from trading_pipeline.core.features.kernels.compiled import compiled

Row = npt.NDArray[np.float64]
"""One value a row, NaN where missing."""
Matrix = npt.NDArray[np.float64]
"""[register or rung, row]."""
Places = npt.NDArray[np.int64]
"""Indices into something else."""
Bounds = npt.NDArray[np.int64]
"""Rows of symbol s are bounds[s] to bounds[s + 1]."""
Ladder = npt.NDArray[np.int64]
"""[rung, (length, newer, older)]."""


@compiled
def copy(target: Row, source: Row) -> None:
    """Copy a row over another of its length; where both are the same memory, the source must come later in it.

    Assigning to a slice would have numba allocate for the case that they overlap.
    """
    for t in range(target.shape[0]):
        target[t] = source[t]
