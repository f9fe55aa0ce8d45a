"""Operators over the symbols of one session."""

import numpy as np
import numpy.typing as npt

from trading_pipeline.core.features.kernels.arrays import Bounds, Places, Row
from trading_pipeline.core.features.kernels.compiled import compiled

CS_RANK, CS_ZSCORE, CS_DEMEAN = range(3)


@compiled
def across_symbols(
    statistic: int,
    values: Row,
    groups: Row,
    has_bar: np.ndarray,
    firsts: Places,
    bounds: Bounds,
    sessions: int,
    out: Row,
    rows: Places,
    orders: npt.NDArray[np.int64],
    found: Row,
    key: Row,
) -> None:
    """Compare every present value with those of the same session and group.

    Args:
        statistic: rank (share of values reached, ties at their average), z-score (sample deviation) or difference.
        values: one a row of the panel, NaN or infinite where missing.
        groups: number of the row's group, NaN where it has none (then no answer).
        has_bar: whether the row has a bar; others take no part.
        firsts: session of each symbol's first row.
        bounds: rows of each symbol.
        sessions: how many.
        out: the answers.
        rows: room for a number a symbol.
        orders: room for two.
        found: room for a value a symbol.
        key: the same.
    """
    symbols = bounds.shape[0] - 1
    out[:] = np.nan
    for session in range(sessions):
        size = 0
        for symbol in range(symbols):
            row = bounds[symbol] + session - firsts[symbol]
            inside = bounds[symbol] <= row < bounds[symbol + 1] and has_bar[row]
            if inside and np.isfinite(values[row]) and not np.isnan(groups[row]):
                rows[size], found[size], key[size] = row, values[row], groups[row]
                size += 1
        order = orders[_sort(orders, size, found, key)]
        start = 0
        while start < size:
            end = start
            while end < size and key[order[end]] == key[order[start]]:
                end += 1
            _compare(statistic, order[start:end], found, rows, out)
            start = end


@compiled
def _sort(orders: npt.NDArray[np.int64], size: int, found: Row, key: Row) -> int:
    """List 0 to size by key and then value, equals in their order, by merging; return which of the two rooms has it."""
    source = 0
    for i in range(size):
        orders[source, i] = i
    width = 1
    while width < size:
        for start in range(0, size, 2 * width):
            left, middle, end = start, min(start + width, size), min(start + 2 * width, size)
            right = middle
            for place in range(start, end):
                one = orders[source, left] if left < middle else -1
                other = orders[source, right] if right < end else -1
                later = (
                    one >= 0
                    and other >= 0
                    and (key[other] < key[one] or (key[other] == key[one] and found[other] < found[one]))
                )
                if one < 0 or later:
                    orders[1 - source, place] = other
                    right += 1
                else:
                    orders[1 - source, place] = one
                    left += 1
        source = 1 - source
        width *= 2
    return source


@compiled
def _compare(statistic: int, order: Places, found: Row, rows: Places, out: Row) -> None:
    """Write the answers of one group, whose members `order` lists by rising value."""
    size = order.shape[0]
    if statistic == CS_RANK:
        start = 0
        while start < size:
            end = start
            while end < size and found[order[end]] == found[order[start]]:
                end += 1
            for i in range(start, end):
                out[rows[order[i]]] = (start + end + 1) / 2 / size
            start = end
        return
    mean = 0.0
    for i in range(size):
        mean += found[order[i]]
    mean /= size
    square = 0.0
    for i in range(size):
        square += (found[order[i]] - mean) ** 2
    deviation = np.sqrt(square / (size - 1)) if size > 1 else np.nan
    if found[order[0]] == found[order[size - 1]]:
        mean, deviation = found[order[0]], np.nan
    for i in range(size):
        apart = found[order[i]] - mean
        out[rows[order[i]]] = apart if statistic == CS_DEMEAN else apart / deviation


@compiled
def of_one_symbol(values: Row, symbol: int, firsts: Places, bounds: Bounds, out: Row) -> None:
    """Give every symbol the values of one of them in the same session."""
    start, end = bounds[symbol], bounds[symbol + 1]
    for other in range(bounds.shape[0] - 1):
        for row in range(bounds[other], bounds[other + 1]):
            place = start + firsts[other] + row - bounds[other] - firsts[symbol]
            out[row] = values[place] if start <= place < end else np.nan
