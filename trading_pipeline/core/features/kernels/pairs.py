"""Covariance and correlation over many windows of two series in a single pass, from the rows where both are present."""

import numpy as np

from trading_pipeline.core.features.kernels.arrays import Bounds, Ladder, Matrix, Places, Row, copy
from trading_pipeline.core.features.kernels.compiled import compiled
from trading_pipeline.core.features.kernels.moments import FLAT, climb_moments, climb_sums, flatten, runs, take

COV, CORR = range(2)


@compiled
def _join_comoments(total: Row, x_a: Row, x_b: Row, y_a: Row, y_b: Row, c_a: Row, c_b: Row, n_a: Row, n_b: Row) -> None:
    for t in range(total.shape[0]):
        a, b = n_a[t], n_b[t]
        weight = a * b * (a + b)
        gained = (a * x_b[t] - b * x_a[t]) * (a * y_b[t] - b * y_a[t]) / weight
        total[t] = c_a[t] + c_b[t] + (gained if weight > 0 else 0.0)


@compiled
def _climb_comoments(products: Matrix, x: Matrix, y: Matrix, counts: Matrix, rungs: Ladder, rows: int) -> None:
    products[0, :rows] = 0.0
    for rung in range(1, rungs.shape[0]):
        a, b = rungs[rung, 1], rungs[rung, 2]
        lag = min(rungs[a, 0], rows)
        late, early = slice(lag, rows), slice(0, rows - lag)
        copy(products[rung, :lag], products[a, :lag])
        _join_comoments(
            products[rung, late],
            x[a, late],
            x[b, early],
            y[a, late],
            y[b, early],
            products[a, late],
            products[b, early],
            counts[a, late],
            counts[b, early],
        )


@compiled
def _take_both(x: Row, y: Row, x_sums: Row, y_sums: Row, counts: Row) -> bool:
    """Split two series into value-or-0 and joint presence; return whether each is present only with the other."""
    same = True
    for t in range(x.shape[0]):
        left, right = np.isfinite(x[t]), np.isfinite(y[t])
        both = left and right
        same &= left == right
        x_sums[t] = x[t] if both else 0.0
        y_sums[t] = y[t] if both else 0.0
        counts[t] = 1.0 if both else 0.0
    return same


@compiled
def _climb_alone(
    values: Row, sums: Matrix, counts: Matrix, squares: Matrix, run: Row, rungs: Ladder, rows: int
) -> None:
    """Fill the moments of one series from all its own rows."""
    take(values, sums[0], counts[0])
    climb_sums(sums, rungs, rows)
    climb_sums(counts, rungs, rows)
    climb_moments(squares, sums, counts, rungs, rows)
    runs(values, counts[0], run)
    flatten(squares, run, counts, rungs, rows)


@compiled
def _strike_flat(out: Row, square: Row, count: Row) -> None:
    for t in range(out.shape[0]):
        flat = np.sqrt(square[t] / (count[t] - 1)) <= FLAT
        out[t] = np.nan if flat else out[t]


@compiled
def pairs(
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
    """Compute covariances and correlations; windows name rungs; numbers above 0 strike out constant windows."""
    rungs = ladder.shape[0]
    x_sums, y_sums, counts = scratch[:rungs], scratch[rungs : 2 * rungs], scratch[2 * rungs : 3 * rungs]
    x_squares, y_squares = scratch[3 * rungs : 4 * rungs], scratch[4 * rungs : 5 * rungs]
    products, run = scratch[5 * rungs : 6 * rungs], scratch[6 * rungs]
    for symbol in range(bounds.shape[0] - 1):
        start, end = bounds[symbol], bounds[symbol + 1]
        rows = end - start
        x, y = registers[inputs[0], start:end], registers[inputs[1], start:end]
        same = _take_both(x, y, x_sums[0], y_sums[0], counts[0])
        climb_sums(x_sums, ladder, rows)
        climb_sums(y_sums, ladder, rows)
        climb_sums(counts, ladder, rows)
        _climb_comoments(products, x_sums, y_sums, counts, ladder, rows)
        climb_moments(x_squares, x_sums, counts, ladder, rows)
        climb_moments(y_squares, y_sums, counts, ladder, rows)
        runs(x_sums[0], counts[0], run)
        flatten(x_squares, run, counts, ladder, rows)
        runs(y_sums[0], counts[0], run)
        flatten(y_squares, run, counts, ladder, rows)
        for place in range(outputs.shape[0]):
            out = registers[outputs[place], start:end]
            rung = windows[place]
            count, product, left, right = counts[rung], products[rung], x_squares[rung], y_squares[rung]
            if statistics[place] == COV:
                for t in range(rows):
                    covariance = product[t] / (count[t] - 1)
                    out[t] = covariance if count[t] > 1 else np.nan
            else:
                for t in range(rows):
                    spread = np.sqrt(left[t] * right[t])
                    correlation = product[t] / spread
                    out[t] = correlation if spread > 0 else np.nan
                if same and numbers[place] > 0:
                    _strike_flat(out, left, count)
                    _strike_flat(out, right, count)
        if not same:
            for side in range(2):
                _climb_alone(y if side else x, x_sums, counts, x_squares, run, ladder, rows)
                for place in range(outputs.shape[0]):
                    if statistics[place] == CORR and numbers[place] > 0:
                        rung = windows[place]
                        _strike_flat(registers[outputs[place], start:end], x_squares[rung], counts[rung])
