"""Greatest and least values over many windows of one series, and where in the window they stand."""

import numpy as np

from trading_pipeline.core.features.kernels.arrays import Bounds, Ladder, Matrix, Places, Row, copy
from trading_pipeline.core.features.kernels.compiled import compiled

MAX, MIN, IDX_MAX, IDX_MIN = range(4)


@compiled
def _join_greatest(total: Row, newer: Row, older: Row) -> None:
    for t in range(total.shape[0]):
        total[t] = newer[t] if newer[t] > older[t] else older[t]


@compiled
def _join_rows(row: Row, newer: Row, older: Row, newer_row: Row, older_row: Row) -> None:
    """Choose the row of the greater value, the older of equals."""
    for t in range(row.shape[0]):
        row[t] = newer_row[t] if newer[t] > older[t] else older_row[t]


@compiled
def _climb_greatest(greatest: Matrix, rungs: Ladder, rows: int) -> None:
    for rung in range(1, rungs.shape[0]):
        a, b = rungs[rung, 1], rungs[rung, 2]
        lag = min(rungs[a, 0], rows)
        copy(greatest[rung, :lag], greatest[a, :lag])
        _join_greatest(greatest[rung, lag:rows], greatest[a, lag:rows], greatest[b, : rows - lag])


@compiled
def _climb_rows(place: Matrix, greatest: Matrix, rungs: Ladder, rows: int) -> None:
    for t in range(rows):
        place[0, t] = float(t)
    for rung in range(1, rungs.shape[0]):
        a, b = rungs[rung, 1], rungs[rung, 2]
        lag = min(rungs[a, 0], rows)
        late, early = slice(lag, rows), slice(0, rows - lag)
        copy(place[rung, :lag], place[a, :lag])
        _join_rows(place[rung, late], greatest[a, late], greatest[b, early], place[a, late], place[b, early])


@compiled
def extremes(
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
    """Compute greatest and least values and their places, counted from 1 at the oldest row of the window.

    The place of a missing value is that of the greatest, as for numpy's argmax and argmin. Windows name rungs.
    """
    rungs = ladder.shape[0]
    greatest, rivals, place = scratch[:rungs], scratch[rungs : 2 * rungs], scratch[2 * rungs : 3 * rungs]
    for side in range(2):
        sign = -1.0 if side else 1.0
        wanted, placed = False, False
        for statistic in statistics:
            wanted |= statistic % 2 == side
            placed |= statistic == (IDX_MIN if side else IDX_MAX)
        if not wanted:
            continue
        for symbol in range(bounds.shape[0] - 1):
            start, end = bounds[symbol], bounds[symbol + 1]
            rows = end - start
            values = registers[inputs[0], start:end]
            dense = True
            for t in range(rows):
                value = sign * values[t]
                there = np.isfinite(value)
                dense &= there
                greatest[0, t] = value if there else -np.inf
            _climb_greatest(greatest, ladder, rows)
            if placed:
                if dense:
                    _climb_rows(place, greatest, ladder, rows)
                else:
                    for t in range(rows):
                        rivals[0, t] = sign * values[t] if np.isfinite(values[t]) else np.inf
                    _climb_greatest(rivals, ladder, rows)
                    _climb_rows(place, rivals, ladder, rows)
            for answer in range(outputs.shape[0]):
                if statistics[answer] % 2 != side:
                    continue
                out = registers[outputs[answer], start:end]
                rung = windows[answer]
                best = greatest[rung]
                if statistics[answer] < IDX_MAX:
                    for t in range(rows):
                        out[t] = sign * best[t] if best[t] > -np.inf else np.nan
                else:
                    row, length = place[rung], float(ladder[rung, 0])
                    for t in range(rows):
                        counted = row[t] + 1.0 - max(float(t) - length + 1.0, 0.0)
                        out[t] = counted if best[t] > -np.inf else np.nan
