"""Operators that walk each window row by row: shape, mean deviation, exponential means; and shifts."""

import math

import numpy as np

from trading_pipeline.core.features.kernels.arrays import Bounds, Ladder, Matrix, Places, Row, copy
from trading_pipeline.core.features.kernels.compiled import compiled

SKEW, KURT, MAD = range(3)
SPAN, WEIGHT, EXPANDING = range(3)
REF, DELTA = range(2)


@compiled
def shapes(
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
    """Compute skewness and excess kurtosis without bias, and mean deviation from the mean; windows are lengths."""
    for symbol in range(bounds.shape[0] - 1):
        start, end = bounds[symbol], bounds[symbol + 1]
        values = registers[inputs[0], start:end]
        for answer in range(outputs.shape[0]):
            out = registers[outputs[answer], start:end]
            for t in range(end - start):
                out[t] = _shape(statistics[answer], values[max(t - windows[answer] + 1, 0) : t + 1])


@compiled
def _shape(statistic: int, window: Row) -> float:
    count, total, equal, first = 0.0, 0.0, True, np.nan
    for value in window:
        if np.isfinite(value):
            first = value if count == 0 else first
            equal &= value == first
            count += 1
            total += value
    mean = first if equal else total / count
    m2, m3, m4, deviation = 0.0, 0.0, 0.0, 0.0
    for value in window:
        if np.isfinite(value):
            apart = value - mean
            square = apart * apart
            deviation += abs(apart)
            m2 += square
            m3 += square * apart
            m4 += square * square
    if statistic == MAD:
        return float(deviation / count)
    if equal or count < (3 if statistic == SKEW else 4):
        return np.nan
    if statistic == SKEW:
        return float(math.sqrt(count * (count - 1)) / (count - 2) * (m3 / count) / (m2 / count) ** 1.5)
    excess = (count * count - 1) * (m4 / count) / (m2 / count) ** 2 - 3 * (count - 1) ** 2
    return float(excess / ((count - 2) * (count - 3)))


@compiled
def exponential(
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
    """Compute exponential means; numbers are spans in rows or weights of the newest value, by statistic."""
    for symbol in range(bounds.shape[0] - 1):
        start, end = bounds[symbol], bounds[symbol + 1]
        values = registers[inputs[0], start:end]
        for answer in range(outputs.shape[0]):
            out = registers[outputs[answer], start:end]
            if statistics[answer] == EXPANDING:
                for t in range(end - start):
                    out[t] = _expanding(values[: t + 1])
            else:
                number = numbers[answer]
                _decay(out, values, 1 - (number if statistics[answer] == WEIGHT else 2 / (number + 1)))


@compiled
def _decay(out: Row, values: Row, factor: float) -> None:
    mean, weight = np.nan, 0.0
    for t in range(values.shape[0]):
        weight *= factor
        value = values[t]
        if np.isfinite(value):
            mean = value if np.isnan(mean) or mean == value else (weight * mean + value) / (weight + 1)
            weight += 1
        out[t] = mean


@compiled
def _expanding(values: Row) -> float:
    """Return pyqlib's exponential mean over all history, whose decay depends on the number of rows."""
    rows = values.shape[0]
    factor = 1 - 2 / (1 + rows)
    weight, weights, total, present = 1.0, 0.0, 0.0, False
    for age in range(rows):
        value = values[rows - 1 - age]
        weights += weight
        if np.isfinite(value):
            total += weight * value
            present = True
        weight *= factor
    return total / weights if present else np.nan


@compiled
def shifts(
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
    """Fetch values of other rows, or subtract them; windows are rows back (ahead when negative, 0: the first row)."""
    for symbol in range(bounds.shape[0] - 1):
        start, end = bounds[symbol], bounds[symbol + 1]
        rows = end - start
        values = registers[inputs[0], start:end]
        for answer in range(outputs.shape[0]):
            out = registers[outputs[answer], start:end]
            back = windows[answer]
            if back == 0:
                out[:] = values[0]
            elif back > 0:
                out[: min(back, rows)] = np.nan
                copy(out[back:], values[: max(rows - back, 0)])
            else:
                out[max(rows + back, 0) :] = np.nan
                copy(out[: max(rows + back, 0)], values[-back:])
            if statistics[answer] == DELTA:
                for t in range(rows):
                    out[t] = values[t] - out[t]
