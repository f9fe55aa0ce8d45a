"""The answers as columns of a frame, handed to Polars without a copy."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from trading_pipeline.core.features.execution import Block, Sink
from trading_pipeline.core.features.kernels import layout
from trading_pipeline.core.features.panel import SESSION, SYMBOL, Panel

Values = npt.NDArray[np.floating[Any]]


class Columns:
    """Columns under construction: the wanted rows of some symbols, by session and symbol.

    Args:
        panel: the panel.
        symbols: numbers of the symbols, in one stretch.
        wanted: the sessions.
        answers: how many columns.
        dtype: of the values.
        threads: that finish the columns.
    """

    def __init__(
        self,
        panel: Panel,
        *,
        symbols: range,
        wanted: pl.Series,
        answers: int,
        dtype: type[pl.Float32 | pl.Float64],
        threads: int,
    ) -> None:
        self._panel, self._symbols, self._threads = panel, symbols, threads
        rows = slice(int(panel.bounds[symbols.start]), int(panel.bounds[symbols.stop]))
        bounds = panel.bounds[symbols.start : symbols.stop + 1] - panel.bounds[symbols.start]
        firsts, bars = panel.firsts[symbols.start : symbols.stop], panel.bar_of[rows]
        is_wanted = panel.sessions.is_in(wanted.implode()).to_numpy()
        counts = np.zeros(len(panel.sessions), dtype=np.int64)
        layout.count_answers(bars, firsts, bounds, is_wanted, counts)
        size = int(counts.sum())
        self._first_row = rows.start
        self._answer_of = np.empty(bars.shape[0], dtype=np.int32)
        self._symbol_of = np.empty(size, dtype=np.uint32)
        self._position_of = np.empty(size, dtype=np.int32)
        layout.place_answers(
            bars, firsts, bounds, is_wanted, np.cumsum(counts) - counts, self._answer_of, self._symbol_of,
            self._position_of,
        )  # fmt: skip
        kind = np.float32 if dtype == pl.Float32 else np.float64
        # One allocation: large ones get large pages, which writing across a column needs.
        self._values: Values = np.empty((answers, size), dtype=kind)

    def prepare(self, block: Block) -> Sink:
        """Return what writes the answers of a block."""
        rows = np.empty(int(block.bounds[-1]), dtype=np.int32)
        sessions = len(block.panel.sessions)
        starts, ends = np.empty(sessions, dtype=np.int32), np.empty(sessions, dtype=np.int64)
        offset = block.rows.start - self._first_row
        size = layout.order_answers(
            self._answer_of[offset : offset + rows.shape[0]],
            block.panel.firsts[block.start : block.end],
            block.bounds,
            rows,
            starts,
            ends,
        )
        rows = rows[:size]

        def sink(_: Block, answer: int, values: npt.NDArray[np.float64]) -> None:
            layout.scatter(values, rows, starts, ends, self._values[answer])

        return sink

    def frame(self, names: Sequence[str], *, nulls: bool) -> pl.DataFrame:
        """Return the frame; with `nulls` NaN becomes null."""
        symbols = self._panel.symbols.slice(self._symbols.start, len(self._symbols))
        sessions = self._panel.sessions.gather(pl.Series(self._position_of))
        arrow = _with_nulls if nulls else pa.array
        with ThreadPoolExecutor(self._threads) as pool:
            answers = pl.from_arrow(pa.table(list(pool.map(arrow, self._values)), names=list(names)))
        assert isinstance(answers, pl.DataFrame)  # noqa: S101  from_arrow's answer for a table
        keys = pl.DataFrame([sessions.alias(SESSION), symbols.gather(pl.Series(self._symbol_of)).alias(SYMBOL)])
        return keys.hstack(answers)


def _with_nulls(values: Values) -> pa.Array:
    present = np.empty((len(values) + 7) // 8, dtype=np.uint8)
    missing = layout.mark_present(values, present)
    bits = pa.py_buffer(present) if missing else None
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [bits, pa.py_buffer(values)], missing)
