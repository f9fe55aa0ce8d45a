"""Quantiles and ranks over windows of one series."""

import numpy as np

from trading_pipeline.core.features.kernels.arrays import Bounds, Ladder, Matrix, Places, Row
from trading_pipeline.core.features.kernels.compiled import compiled


@compiled
def _exchange(source: Row, target: Row, size: int, leaving: float, entering: float) -> None:
    """Write the ordered values of a window after a step: without the one that leaves, with the one that enters.

    Without a branch all places are computed at once, which is faster than to look for the two that matter. The values
    stand from 1 to `size`, between minus and plus infinity.

    Args:
        source: before the step.
        target: after the step.
        size: values after the step.
        leaving: NaN if none leaves.
        entering: infinity if none enters.
    """
    for i in range(1, size + 1):
        before, here, after = source[i - 1], source[i], source[i + 1]
        low = here if before >= leaving else before
        high = after if here >= leaving else here
        least = entering if entering < high else high
        target[i] = low if low > least else least
    target[size + 1] = np.inf


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
    ordered, other = scratch[0], scratch[1]
    ordered[0], other[0] = -np.inf, -np.inf
    for symbol in range(bounds.shape[0] - 1):
        start, end = bounds[symbol], bounds[symbol + 1]
        values = registers[inputs[0], start:end]
        answer = 0
        while answer < outputs.shape[0]:
            window, last = windows[answer], answer
            while last < outputs.shape[0] and windows[last] == window:
                last += 1
            size = 0
            ordered[1] = np.inf
            for t in range(end - start):
                # Adding nothing makes -0 a 0: which of equal values is which shall not matter.
                entering = values[t] + 0.0
                leaving = values[t - window] if t >= window else np.nan
                size += np.isfinite(entering)
                size -= np.isfinite(leaving)
                _exchange(
                    ordered,
                    other,
                    size,
                    leaving if np.isfinite(leaving) else np.nan,
                    entering if np.isfinite(entering) else np.inf,
                )
                ordered, other = other, ordered
                for i in range(answer, last):
                    place = numbers[i] * (size - 1)
                    low = int(place)
                    value = ordered[low + 1]
                    if low + 1 < size:
                        value += (ordered[low + 2] - value) * (place - low)
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
