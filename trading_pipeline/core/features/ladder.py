"""How a window is put together from halves, as in pairwise summation, so that nothing outside it can disturb it."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

ALL_HISTORY = 2**20
"""Rows of a window over all history: more sessions, or minutes, than any symbol has."""


def ladder(windows: Iterable[int]) -> tuple[npt.NDArray[np.int64], dict[int, int]]:
    """Return the lengths to compute in order, each from two shorter ones, and where each length stands.

    Rung 0 is a single row. Every other rung is `[length, newer, older]`: its rows are those of rung `newer`, a power
    of two, and before them those of rung `older`.
    """
    needed = {1}
    for window in windows:
        _add(needed, window)
    place = {length: rung for rung, length in enumerate(sorted(needed))}
    rungs = [[1, 0, 0]]
    for length in sorted(needed)[1:]:
        newer = _newer(length)
        rungs.append([length, place[newer], place[length - newer]])
    return np.array(rungs, dtype=np.int64), place


def _add(needed: set[int], length: int) -> None:
    if length not in needed:
        needed.add(length)
        newer = _newer(length)
        _add(needed, newer)
        _add(needed, length - newer)


def _newer(length: int) -> int:
    return 1 << ((length - 1).bit_length() - 1)
