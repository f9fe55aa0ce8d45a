"""Quantiles and ranks over windows of one series."""

import numpy as np

from trading_pipeline.core.features.kernels.arrays import Bounds, Ladder, Matrix, Places, Row
from trading_pipeline.core.features.kernels.compiled import compiled

_SHORT = 64
"""Up to so many values it is faster to compare with all of them than to halve."""


@compiled
def _place(ordered: Row, size: int, value: float) -> int:
    """Return how many of the first `size` ordered values are less than value."""
    if size <= _SHORT:
        less = 0
        for i in range(size):
            less += ordered[i] < value
        return less
    return int(np.searchsorted(ordered[:size], value))


@compiled
def _swap(ordered: Row, size: int, old: float, new: float) -> None:
    """Replace one value of an ordered array by another."""
    i = _place(ordered, size, old)
    if new > old:
        while i + 1 < size and ordered[i + 1] < new:
            ordered[i] = ordered[i + 1]
            i += 1
    else:
        while i > 0 and ordered[i - 1] > new:
            ordered[i] = ordered[i - 1]
            i -= 1
    ordered[i] = new


@compiled
def _move(ordered: Row, size: int, leaving: float, entering: float) -> int:
    """Take one value out of an ordered array and put one in, either of which may be missing; return the size."""
    if np.isfinite(leaving) and np.isfinite(entering):
        _swap(ordered, size, leaving, entering)
    elif np.isfinite(leaving):
        for i in range(_place(ordered, size, leaving), size - 1):
            ordered[i] = ordered[i + 1]
        size -= 1
    elif np.isfinite(entering):
        i = size
        while i > 0 and ordered[i - 1] > entering:
            ordered[i] = ordered[i - 1]
            i -= 1
        ordered[i] = entering
        size += 1
    return size


@compiled
def quantiles(
    registers: Matrix,
    inputs: Places,
    outputs: Places,
    statistics: Places,
    windows: Places,
    numbers: Row,
    ladder: Ladder,
    bounds: Bounds,
    scratch: Matrix,
) -> None:
    """Compute quantiles, linear between neighbours; windows are lengths, numbers the fractions.

    Answers over one window stand together, so that the window is put in order once.
    """
    ordered = scratch[0]
    for symbol in range(bounds.shape[0] - 1):
        start, end = bounds[symbol], bounds[symbol + 1]
        values = registers[inputs[0], start:end]
        answer = 0
        while answer < outputs.shape[0]:
            window, last = windows[answer], answer
            while last < outputs.shape[0] and windows[last] == window:
                last += 1
            size = 0
            for t in range(end - start):
                leaving = values[t - window] if t >= window else np.nan
                size = _move(ordered, size, leaving, values[t])
                for i in range(answer, last):
                    place = numbers[i] * (size - 1)
                    low = int(place)
                    value = ordered[low]
                    if low + 1 < size:
                        value += (ordered[low + 1] - value) * (place - low)
                    registers[outputs[i], start + t] = value if size > 0 else np.nan
            answer = last


@compiled
def _compare(score: Row, count: Row, newest: Row, rival: Row) -> None:
    for t in range(score.shape[0]):
        equal = 0.5 if rival[t] == newest[t] else 0.0
        score[t] += 1.0 if rival[t] < newest[t] else equal
        count[t] += 1.0 if np.isfinite(rival[t]) else 0.0


@compiled
def ranks(
    registers: Matrix,
    inputs: Places,
    outputs: Places,
    statistics: Places,
    windows: Places,
    numbers: Row,
    ladder: Ladder,
    bounds: Bounds,
    scratch: Matrix,
) -> None:
    """Compute the share of present values that the newest reaches, ties at their average; windows are lengths, rising.

    A longer window continues the comparisons of the shorter one.
    """
    finite, score, count = scratch[0], scratch[1], scratch[2]
    for symbol in range(bounds.shape[0] - 1):
        start, end = bounds[symbol], bounds[symbol + 1]
        rows = end - start
        values = registers[inputs[0], start:end]
        for t in range(rows):
            finite[t] = values[t] if np.isfinite(values[t]) else np.nan
        score[:rows] = 0.5
        count[:rows] = 0.0
        age = 0
        for answer in range(outputs.shape[0]):
            while age < min(windows[answer], rows):
                _compare(score[age:rows], count[age:rows], finite[age:rows], finite[: rows - age])
                age += 1
            out = registers[outputs[answer], start:end]
            for t in range(rows):
                out[t] = score[t] / count[t] if np.isfinite(values[t]) else np.nan
