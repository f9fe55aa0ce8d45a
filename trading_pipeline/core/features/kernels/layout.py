"""Moves values between the order of the bars, the order of symbols and the order of sessions."""

import numpy as np
import numpy.typing as npt

from trading_pipeline.core.features.kernels.arrays import Bounds, Places, Row
from trading_pipeline.core.features.kernels.compiled import compiled
from trading_pipeline.core.features.kernels.prefetch import CACHE_LINE_BYTES, prefetch

_AHEAD = 12


@compiled
def positions_of(
    days: npt.NDArray[np.int32],
    first: int,
    position_of: npt.NDArray[np.int32],
    positions: npt.NDArray[np.int32],
) -> int:
    """Write the position of each day in the calendar, -1 for days outside; return how many are outside.

    Args:
        days: since 1970.
        first: day of the calendar.
        position_of: of every day from the first to the last of the calendar, -1 for those that are no sessions.
        positions: takes the positions.
    """
    outside = 0
    for bar in range(days.shape[0]):
        day = np.int64(days[bar]) - first
        position = position_of[day] if 0 <= day < position_of.shape[0] else -1
        positions[bar] = position
        outside += position < 0
    return outside


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
    rows: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int32],
    ends: Places,
) -> int:
    """List the rows of a block that have answers by session and then symbol; return how many.

    The answers of a session are neighbours: the first one of each session is enough.

    Args:
        answer_of: of the block's rows, -1 without one.
        firsts: session of each symbol's first row.
        bounds: rows of the block's symbols, from 0.
        rows: takes the rows.
        starts: takes the first answer of each session.
        ends: takes the number of rows up to the end of each session.
    """
    size = 0
    for session in range(starts.shape[0]):
        starts[session] = -1
        for symbol in range(bounds.shape[0] - 1):
            row = bounds[symbol] + session - firsts[symbol]
            if bounds[symbol] <= row < bounds[symbol + 1] and answer_of[row] >= 0:
                if starts[session] < 0:
                    starts[session] = answer_of[row]
                rows[size] = row
                size += 1
        ends[session] = size
    return size


@compiled
def gather(values: Row, bar_of: npt.NDArray[np.int32], out: Row) -> None:
    """Fetch a field of the bars into the rows of the panel."""
    for row in range(bar_of.shape[0]):
        out[row] = values[bar_of[row]] if bar_of[row] >= 0 else np.nan


@compiled
def scatter(
    values: Row,
    rows: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int32],
    ends: Places,
    out: npt.NDArray[np.floating],
) -> None:
    """Write the answers of a block to their places in a column.

    A session's places are far from those of the session before: their memory is asked for some sessions ahead.
    """
    line = CACHE_LINE_BYTES // out.itemsize
    i = 0
    for session in range(starts.shape[0]):
        ahead = session + _AHEAD
        if ahead < starts.shape[0] and starts[ahead] >= 0:
            last = starts[ahead] + ends[ahead] - ends[ahead - 1] - 1
            for place in range(starts[ahead], last, line):
                prefetch(out, place)
            prefetch(out, last)
        place = starts[session] - i
        while i < ends[session]:
            out[place + i] = values[rows[i]]
            i += 1


@compiled
def mark_present(values: npt.NDArray[np.floating], bits: npt.NDArray[np.uint8]) -> int:
    """Set a bit for each value that is not NaN, the lowest first, and return how many are."""
    size = values.shape[0]
    missing = 0
    for byte in range(size // 8):
        present = 0
        for bit in range(8):
            value = values[byte * 8 + bit]
            present |= (value == value) << bit  # noqa: PLR0124  NaN is not equal to itself
            missing += value != value  # noqa: PLR0124
        bits[byte] = present
    if size % 8:
        bits[size // 8] = 0
    for last in range(size - size % 8, size):
        value = values[last]
        bits[size // 8] |= (value == value) << (last % 8)  # noqa: PLR0124
        missing += value != value  # noqa: PLR0124
    return missing
