"""Moves values between the order of the bars, the order of symbols and the order of sessions."""

import numpy as np
import numpy.typing as npt

from trading_pipeline.core.features.kernels.arrays import Bounds, Places, Row
from trading_pipeline.core.features.kernels.compiled import compiled


@compiled
def spans(symbols: npt.NDArray[np.uint32], positions: npt.NDArray[np.int32], firsts: Places, lasts: Places) -> None:
    """Widen each symbol's first and last position to cover its bars."""
    for bar in range(symbols.shape[0]):
        symbol, position = symbols[bar], positions[bar]
        firsts[symbol] = min(firsts[symbol], position)
        lasts[symbol] = max(lasts[symbol], position)


@compiled
def place_bars(
    symbols: npt.NDArray[np.uint32],
    positions: npt.NDArray[np.int32],
    firsts: Places,
    bounds: Bounds,
    bar_of: npt.NDArray[np.int32],
) -> int:
    """Write the bar of each row of the panel, -1 where it has none; return how many bars found their row taken."""
    bar_of[:] = -1
    repeated = 0
    for bar in range(symbols.shape[0]):
        row = bounds[symbols[bar]] + positions[bar] - firsts[symbols[bar]]
        repeated += bar_of[row] >= 0
        bar_of[row] = bar
    return repeated


@compiled
def place_answers(
    bar_of: npt.NDArray[np.int32],
    firsts: Places,
    bounds: Bounds,
    wanted: npt.NDArray[np.bool_],
    offsets: Places,
    answer_of: npt.NDArray[np.int32],
    symbol_of: npt.NDArray[np.uint32],
    position_of: npt.NDArray[np.int32],
) -> None:
    """Number the wanted rows that have bars by session and then symbol; `offsets` holds each session's first number."""
    for symbol in range(bounds.shape[0] - 1):
        for row in range(bounds[symbol], bounds[symbol + 1]):
            position = firsts[symbol] + row - bounds[symbol]
            answer_of[row] = -1
            if wanted[position] and bar_of[row] >= 0:
                answer = offsets[position]
                offsets[position] += 1
                answer_of[row] = answer
                symbol_of[answer] = symbol
                position_of[answer] = position


@compiled
def count_answers(
    bar_of: npt.NDArray[np.int32], firsts: Places, bounds: Bounds, wanted: npt.NDArray[np.bool_], counts: Places
) -> None:
    """Count the wanted rows that have bars of each session."""
    for symbol in range(bounds.shape[0] - 1):
        for row in range(bounds[symbol], bounds[symbol + 1]):
            position = firsts[symbol] + row - bounds[symbol]
            if wanted[position] and bar_of[row] >= 0:
                counts[position] += 1


@compiled
def order_answers(
    answer_of: npt.NDArray[np.int32],
    firsts: Places,
    bounds: Bounds,
    sessions: int,
    rows: npt.NDArray[np.int32],
    answers: npt.NDArray[np.int32],
) -> int:
    """List rows and answers of a block by session and then symbol, so that they are written in order; return how many.

    Args:
        answer_of: of the block's rows.
        firsts: session of each symbol's first row.
        bounds: rows of the block's symbols, from 0.
        sessions: how many.
        rows: takes the rows.
        answers: takes their answers.
    """
    size = 0
    for session in range(sessions):
        for symbol in range(bounds.shape[0] - 1):
            row = bounds[symbol] + session - firsts[symbol]
            if bounds[symbol] <= row < bounds[symbol + 1] and answer_of[row] >= 0:
                rows[size], answers[size] = row, answer_of[row]
                size += 1
    return size


@compiled
def gather(values: Row, bar_of: npt.NDArray[np.int32], out: Row) -> None:
    """Fetch a field of the bars into the rows of the panel."""
    for row in range(bar_of.shape[0]):
        out[row] = values[bar_of[row]] if bar_of[row] >= 0 else np.nan


@compiled
def scatter(
    values: Row, rows: npt.NDArray[np.int32], answers: npt.NDArray[np.int32], out: npt.NDArray[np.floating]
) -> None:
    """Write the answers of a block to their places in a column."""
    for i in range(rows.shape[0]):
        out[answers[i]] = values[rows[i]]
