"""When small parts of a dataset become large ones, and which: the plan, not the work."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from trading_pipeline.adapters.store.catalog import Catalog, Slice

SETTLED_BYTES: Final = 8 << 20
"""A part of this size is not merged again just because it is there: a daily append never rewrites years."""
LARGEST_BYTES: Final = 64 << 20
"""Bounds the memory that a merge takes."""
LOOSE_PARTS: Final = 24
"""So many small parts lie side by side before they become one."""
SCATTERED_SLICES: Final = 48
"""So many cuts by restated sessions a full scan bears before what they cut is written anew."""
DEAD_SHARE: Final = 0.25
DEAD_ROWS: Final = 10_000
"""Fewer dead rows than this are not worth a rewrite."""


def stretches(catalog: Catalog) -> list[list[Slice]]:
    """Return runs of neighbouring slices that should become one part each; none while the dataset is compact enough.

    Loose parts are merged among themselves. When restated sessions have cut the large ones to pieces, or a quarter of
    the rows is dead, these are written anew as well.
    """
    slices = catalog.slices(catalog.live)
    loose = list(_runs(slices, lambda one: one.is_whole and one.part.size < SETTLED_BYTES))
    if sum(len(run) - 1 for run in loose) >= LOOSE_PARTS - 1:
        return [run for run in loose if len(run) > 1]
    live = sum(one.rows for one in slices)
    dead = sum(part.rows for part in catalog.parts) - live
    settled = sum(one.is_whole and one.part.size >= SETTLED_BYTES for one in slices)
    if len(slices) - settled <= SCATTERED_SLICES and dead <= max(DEAD_SHARE * live, DEAD_ROWS):
        return []
    cut = _runs(slices, lambda one: not one.is_whole or one.part.size < SETTLED_BYTES)
    return [piece for run in cut if len(run) > 1 or not run[0].is_whole for piece in _bounded(run)]


def _runs(slices: Iterable[Slice], wanted: Callable[[Slice], bool]) -> Iterator[list[Slice]]:
    run: list[Slice] = []
    for one in slices:
        if run and not (wanted(one) and one.part.schema == run[-1].part.schema):
            yield run
            run = []
        if wanted(one):
            run.append(one)
    if run:
        yield run


def _bounded(run: list[Slice]) -> Iterator[list[Slice]]:
    piece: list[Slice] = []
    size = 0.0
    for one in run:
        share = one.part.size * one.rows / max(one.part.rows, 1)
        if piece and size + share > LARGEST_BYTES:
            yield piece
            piece, size = [], 0.0
        piece.append(one)
        size += share
    yield piece
