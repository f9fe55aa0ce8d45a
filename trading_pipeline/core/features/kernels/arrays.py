"""The array types that kernels exchange."""

import numpy as np
import numpy.typing as npt

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
