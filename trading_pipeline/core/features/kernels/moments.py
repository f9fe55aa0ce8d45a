"""Sums, means, variances and straight-line fits over many windows of one series in a single pass.

Windows grow by joining two halves (see `ladder.py`). Sums of squares about the mean join by the rule of Chan, Golub and
LeVeque, which does not cancel; a window whose present values are all equal has no variance at all, as in pandas.
"""

import numpy as np

from trading_pipeline.core.features.kernels.arrays import Bounds, Ladder, Matrix, Places, Row, copy
from trading_pipeline.core.features.kernels.compiled import compiled

SUM, MEAN, VAR, STD, SLOPE, RSQUARE, RESI, WMA, RSQUARE_ALL = range(9)
FLAT = 2e-05
"""Standard deviation up to which pyqlib calls a window constant and its correlations undefined."""


@compiled
def join_sums(total: Row, newer: Row, older: Row) -> None:
    """Set total[t] = newer[t] + older[t]."""
    for t in range(total.shape[0]):
        total[t] = newer[t] + older[t]


@compiled
def join_moments(total: Row, s_a: Row, s_b: Row, m_a: Row, m_b: Row, n_a: Row, n_b: Row) -> None:
    """Join sums of squares about the mean of two halves with sums s and counts n."""
    for t in range(total.shape[0]):
        a, b = n_a[t], n_b[t]
        weight = a * b * (a + b)
        apart = a * s_b[t] - b * s_a[t]
        gained = apart * apart / weight
        total[t] = m_a[t] + m_b[t] + (gained if weight > 0 else 0.0)


@compiled
def join_lagged(total: Row, newer: Row, older: Row, shifted: Row, lag: float) -> None:
    """Join sums weighted by age: the older half is `lag` rows older."""
    for t in range(total.shape[0]):
        total[t] = newer[t] + older[t] + lag * shifted[t]


@compiled
def join_lagged_squares(total: Row, newer: Row, older: Row, ages: Row, counts: Row, lag: float) -> None:
    """Join sums of squared ages."""
    for t in range(total.shape[0]):
        total[t] = newer[t] + older[t] + 2 * lag * ages[t] + lag * lag * counts[t]


@compiled
def climb_sums(sums: Matrix, rungs: Ladder, rows: int) -> None:
    """Fill sums[rung] from sums[0] for the first `rows` rows."""
    for rung in range(1, rungs.shape[0]):
        a, b = rungs[rung, 1], rungs[rung, 2]
        lag = min(rungs[a, 0], rows)
        copy(sums[rung, :lag], sums[a, :lag])
        join_sums(sums[rung, lag:rows], sums[a, lag:rows], sums[b, : rows - lag])


@compiled
def climb_moments(moments: Matrix, sums: Matrix, counts: Matrix, rungs: Ladder, rows: int) -> None:
    """Fill moments[rung], sums of squares about the mean, from sums and counts."""
    moments[0, :rows] = 0.0
    for rung in range(1, rungs.shape[0]):
        a, b = rungs[rung, 1], rungs[rung, 2]
        lag = min(rungs[a, 0], rows)
        late, early = slice(lag, rows), slice(0, rows - lag)
        copy(moments[rung, :lag], moments[a, :lag])
        join_moments(
            moments[rung, late],
            sums[a, late],
            sums[b, early],
            moments[a, late],
            moments[b, early],
            counts[a, late],
            counts[b, early],
        )


@compiled
def climb_ages(ages: Matrix, values: Matrix, rungs: Ladder, rows: int) -> None:
    """Fill ages[rung], the sum of age times value where the newest row has age 0."""
    ages[0, :rows] = 0.0
    for rung in range(1, rungs.shape[0]):
        a, b = rungs[rung, 1], rungs[rung, 2]
        length = rungs[a, 0]
        lag = min(length, rows)
        late, early = slice(lag, rows), slice(0, rows - lag)
        copy(ages[rung, :lag], ages[a, :lag])
        join_lagged(ages[rung, late], ages[a, late], ages[b, early], values[b, early], float(length))


@compiled
def climb_squared_ages(squares: Matrix, ages: Matrix, counts: Matrix, rungs: Ladder, rows: int) -> None:
    """Fill squares[rung], the sum of squared ages of the rows that are present."""
    squares[0, :rows] = 0.0
    for rung in range(1, rungs.shape[0]):
        a, b = rungs[rung, 1], rungs[rung, 2]
        length = rungs[a, 0]
        lag = min(length, rows)
        late, early = slice(lag, rows), slice(0, rows - lag)
        copy(squares[rung, :lag], squares[a, :lag])
        join_lagged_squares(
            squares[rung, late], squares[a, late], squares[b, early], ages[b, early], counts[b, early], float(length)
        )


@compiled
def take(values: Row, sums: Row, counts: Row) -> tuple[int, bool]:
    """Split values into value-or-0 and presence; return the first present row and whether all after it are present."""
    first, present = values.shape[0], 0
    for t in range(values.shape[0]):
        value = values[t]
        if np.isfinite(value):
            sums[t], counts[t] = value, 1.0
            if present == 0:
                first = t
            present += 1
        else:
            sums[t], counts[t] = 0.0, 0.0
    return first, first + present == values.shape[0]


@compiled
def runs(values: Row, counts: Row, run: Row) -> None:
    """Set run[t] to how many of the last present values up to t are equal."""
    length, last = 0.0, np.nan
    for t in range(values.shape[0]):
        if counts[t] > 0:
            length = length + 1.0 if values[t] == last else 1.0
            last = values[t]
        run[t] = length


@compiled
def flatten(moments: Matrix, run: Row, counts: Matrix, rungs: Ladder, rows: int) -> None:
    """Leave no variance where all present values of a window are equal, whatever rounding left of it."""
    for rung in range(1, rungs.shape[0]):
        square, count = moments[rung], counts[rung]
        for t in range(rows):
            square[t] = 0.0 if run[t] >= count[t] else square[t]


@compiled
def moments(
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
    """Compute sums, means, variances, deviations, fits and weighted means; windows name rungs."""
    rungs = ladder.shape[0]
    squares_wanted, fits_wanted, lags_wanted = False, False, False
    for statistic in statistics:
        squares_wanted |= statistic in (VAR, STD, RSQUARE, RSQUARE_ALL)
        fits_wanted |= statistic in (SLOPE, RSQUARE, RESI, RSQUARE_ALL)
        lags_wanted |= statistic in (SLOPE, RSQUARE, RESI, RSQUARE_ALL, WMA)
    sums, counts, squares = scratch[:rungs], scratch[rungs : 2 * rungs], scratch[2 * rungs : 3 * rungs]
    lagged, ages = scratch[3 * rungs : 4 * rungs], scratch[4 * rungs : 5 * rungs]
    squared_ages, run = scratch[5 * rungs : 6 * rungs], scratch[6 * rungs]
    whole = 0
    for symbol in range(bounds.shape[0] - 1):
        start, end = bounds[symbol], bounds[symbol + 1]
        values = registers[inputs[0], start:end]
        # take() would spoil rung 0 of the counts, which symbols without a gap share.
        first, dense = take(values, sums[0, : end - start], run[: end - start])
        rows = end - start - first
        for place in range(outputs.shape[0]):
            registers[outputs[place], start : start + first] = np.nan
        if rows == 0:
            continue
        copy(sums[0, :rows], sums[0, first : first + rows])
        if not (dense and rows <= whole):
            copy(counts[0, :rows], run[first : first + rows])
            climb_sums(counts, ladder, rows)
            if fits_wanted:
                climb_ages(ages, counts, ladder, rows)
                climb_squared_ages(squared_ages, ages, counts, ladder, rows)
            whole = rows if dense else 0
        climb_sums(sums, ladder, rows)
        present = values[first:]
        if squares_wanted:
            climb_moments(squares, sums, counts, ladder, rows)
            runs(present, counts[0], run)
            flatten(squares, run, counts, ladder, rows)
        if lags_wanted:
            climb_ages(lagged, sums, ladder, rows)
        for place in range(outputs.shape[0]):
            rung = windows[place]
            out = registers[outputs[place], start + first : end]
            if statistics[place] <= STD:
                _plain(statistics[place], out, sums[rung], counts[rung], squares[rung])
            elif statistics[place] == WMA:
                _weighted(out, sums[rung], counts[rung], lagged[rung], ladder[rung, 0], first)
            else:
                _fit(
                    statistics[place],
                    out,
                    present,
                    sums[rung],
                    counts[rung],
                    lagged[rung],
                    ages[rung],
                    squared_ages[rung],
                    squares[rung],
                )


@compiled
def _plain(statistic: int, out: Row, total: Row, count: Row, square: Row) -> None:
    if statistic == SUM:
        for t in range(out.shape[0]):
            out[t] = total[t] if count[t] > 0 else np.nan
    elif statistic == MEAN:
        for t in range(out.shape[0]):
            out[t] = total[t] / count[t]
    elif statistic == VAR:
        for t in range(out.shape[0]):
            variance = square[t] / (count[t] - 1)
            out[t] = variance if count[t] > 1 else np.nan
    else:
        for t in range(out.shape[0]):
            deviation = np.sqrt(square[t] / (count[t] - 1))
            out[t] = deviation if count[t] > 1 else np.nan


@compiled
def _weighted(out: Row, total: Row, count: Row, lagged: Row, window: int, first: int) -> None:
    """Write pyqlib's WMA, which takes the mean, not the sum, of the weighted values."""
    for t in range(out.shape[0]):
        rows = float(min(t + first + 1, window))
        out[t] = (rows * total[t] - lagged[t]) / (rows * (rows + 1) / 2) / count[t]


@compiled
def _fit(
    statistic: int, out: Row, values: Row, total: Row, count: Row, lagged: Row, age: Row, squared_age: Row, square: Row
) -> None:
    """Write slope, R squared or residual of the line through values against time; ages run against time."""
    if statistic == SLOPE:
        for t in range(out.shape[0]):
            out[t] = (age[t] * total[t] - count[t] * lagged[t]) / (count[t] * squared_age[t] - age[t] * age[t])
    elif statistic == RESI:
        for t in range(out.shape[0]):
            rise = (age[t] * total[t] - count[t] * lagged[t]) / (count[t] * squared_age[t] - age[t] * age[t])
            residual = values[t] - (total[t] + rise * age[t]) / count[t]
            out[t] = residual if np.isfinite(values[t]) else np.nan
    else:
        flat = FLAT if statistic == RSQUARE else 0.0
        for t in range(out.shape[0]):
            rise = age[t] * total[t] - count[t] * lagged[t]
            spread = (count[t] * squared_age[t] - age[t] * age[t]) * (count[t] * square[t])
            varies = np.sqrt(square[t] / (count[t] - 1)) > flat
            fit = rise * rise / spread
            out[t] = fit if varies else np.nan
