"""Runs programs over blocks of symbols, on all cores and within a budget of memory."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from trading_pipeline.core.features.elementwise import ELEMENTWISE
from trading_pipeline.core.features.expression import Expression, Field
from trading_pipeline.core.features.kernels import layout
from trading_pipeline.core.features.kernels.float32 import FLOAT32
from trading_pipeline.core.features.kernels.table import KERNELS, scratch_rows
from trading_pipeline.core.features.panel import Panel
from trading_pipeline.core.features.program import Apply, Emit, Load, Program, Roll, Step

SMALL_BLOCK, LARGE_BLOCK = 20_480, 81_920
"""Rows computed together, eight to thirty symbols of ten years. A large block writes the answers of a session in long
stretches and calls fewer functions; several for each thread let them end together."""
BLOCKS_A_THREAD = 4

Row = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Neighbouring symbols of a panel.

    Attributes:
        panel: the panel.
        start: first symbol.
        end: symbol after the last.
        bounds: rows of each symbol, counted from the block's first row.
    """

    panel: Panel
    start: int
    end: int
    bounds: npt.NDArray[np.int64]

    @property
    def rows(self) -> slice:
        """The block's rows of the panel."""
        return slice(int(self.panel.bounds[self.start]), int(self.panel.bounds[self.end]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a program is run; no option but `float32_steps` changes a bit of the answers.

    Attributes:
        threads: that compute.
        memory_budget_bytes: of all registers together; a symbol with more rows than fit takes what it needs.
        float32_steps: round to float32 where pyqlib does.
    """

    threads: int
    memory_budget_bytes: int
    float32_steps: bool


Sink = Callable[[Block, int, Row], None]


def available_cores() -> int:
    """Return how many cores this process may use: those it is bound to, or fewer where `OMP_NUM_THREADS` says so."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(bound, int(told))) if told.isdigit() else bound


def run(
    program: Program,
    panel: Panel,
    *,
    symbols: range,
    derived: Mapping[Expression, Row],
    options: Options,
    prepare: Callable[[Block], Sink],
) -> None:
    """Run a program over symbols of a panel.

    Args:
        program: what to compute.
        panel: holds the fields.
        symbols: numbers of the symbols, in one stretch.
        derived: answers of earlier stages, one a row of the panel.
        options: how.
        prepare: called for each block; what it returns takes each answer's number and values, one a row of the block,
            which it must use before it returns.
    """
    threads = min(options.threads, max(len(symbols), 1))
    most = options.memory_budget_bytes // (8 * max(program.registers, 1) * threads)
    rows = int(panel.bounds[symbols.stop] - panel.bounds[symbols.start])
    a_thread = max(ceil(rows / (threads * LARGE_BLOCK)), min(rows // (threads * SMALL_BLOCK), BLOCKS_A_THREAD), 1)
    blocks = list(_blocks(panel, symbols, max(1, min(ceil(rows / (threads * a_thread)), most))))
    threads = min(threads, max(len(blocks), 1))
    longest = max((block.rows.stop - block.rows.start for block in blocks), default=0)
    history = max((int(np.diff(block.bounds).max()) for block in blocks), default=0)
    rooms: SimpleQueue[_Room] = SimpleQueue()
    for _ in range(threads):
        rooms.put(
            _Room(
                registers=np.empty((max(program.registers, 1), longest + 8)),
                scratch=np.empty((scratch_rows(program.rungs), history + 2)),
            )
        )

    def work(block: Block) -> None:
        room = rooms.get()
        try:
            with np.errstate(all="ignore"):
                sink = prepare(block)
                for step in program.steps:
                    _run_step(step, room, block, derived, sink, narrow=options.float32_steps)
        finally:
            rooms.put(room)

    if threads == 1:
        for block in blocks:
            work(block)
        return
    with ThreadPoolExecutor(threads) as pool, closing(pool.map(work, blocks)) as results:  # type: ignore[type-var]
        for _ in results:
            pass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Room:
    """What one thread computes in: a register is a row; `scratch` is for kernels alone."""

    registers: npt.NDArray[np.float64]
    scratch: npt.NDArray[np.float64]


def _run_step(
    step: Step,
    room: _Room,
    block: Block,
    derived: Mapping[Expression, Row],
    sink: Sink,
    *,
    narrow: bool,
) -> None:
    rows, registers = int(block.bounds[-1]), room.registers
    match step:
        case Roll():
            KERNELS[step.kernel](
                registers,
                step.inputs,
                step.outputs,
                step.statistics,
                step.windows,
                step.numbers,
                step.ladder,
                block.bounds,
                room.scratch,
            )
        case Apply():
            _apply(step, registers[:, :rows], narrow=narrow and step.narrow)
        case Emit():
            sink(block, step.answer, registers[step.register, :rows])
        case Load():
            out = registers[step.output, :rows]
            if isinstance(step.source, Field):
                layout.gather(block.panel.fields[step.source.name], block.panel.bar_of[block.rows], out)
                if narrow:
                    out[:] = out.astype(np.float32)
            else:
                out[:] = derived[step.source][block.rows]


def _apply(step: Apply, registers: npt.NDArray[np.float64], *, narrow: bool) -> None:
    operands = [registers[item] if isinstance(item, int) else item for item in step.operands]
    out = registers[step.output]
    in_float32 = FLOAT32.get(step.operator) if narrow else None
    match operands:
        case [np.ndarray() as left, np.ndarray() as right] if in_float32:
            in_float32(left, right, out)
        case _ if narrow:
            rounded = [item.astype(np.float32) if isinstance(item, np.ndarray) else item for item in operands]
            ELEMENTWISE[step.operator](*rounded, out=out)
        case _:
            ELEMENTWISE[step.operator](*operands, out=out)


def _blocks(panel: Panel, symbols: range, most: int) -> Iterator[Block]:
    """Cut at symbols, so that every block holds whole histories."""
    start = symbols.start
    while start < symbols.stop:
        end = int(np.searchsorted(panel.bounds, panel.bounds[start] + most, side="right")) - 1
        end = min(max(end, start + 1), symbols.stop)
        bounds = panel.bounds[start : end + 1] - panel.bounds[start]
        yield Block(panel=panel, start=start, end=end, bounds=bounds)
        start = end
