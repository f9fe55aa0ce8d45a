"""An ordered list of columns, each computed once from earlier ones, over rows sorted by symbol and session."""

from collections.abc import Callable, Iterable

import polars as pl

AGE = "age"
"""Rows since the first one of the symbol."""
REMAINING = "remaining"
"""Rows until the last one of the symbol."""
SYMBOL = "symbol"


class Plan:
    """Columns under construction: a name says what a column holds, so an equal name is computed only once."""

    def __init__(self) -> None:
        self._level_of: dict[str, int] = {}
        self._steps: list[dict[str, pl.Expr]] = []

    def define(self, name: str, build: Callable[[], pl.Expr]) -> str:
        """Add the column unless it is there already, and return its name.

        Args:
            name: a full description of the content: equal names must mean equal values.
            build: makes the expression; called only when the column is new; it may define others first.
        """
        if name not in self._level_of:
            expression = build()
            level = max((self._level_of.get(root, 0) for root in expression.meta.root_names()), default=0) + 1
            self._level_of[name] = level
            while len(self._steps) < level:
                self._steps.append({})
            self._steps[level - 1][name] = expression
        return name

    def run(self, frame: pl.DataFrame, keep: Iterable[str]) -> pl.DataFrame:
        """Compute every column level by level, dropping each one after its last use.

        Args:
            frame: rows sorted by symbol and session with the fields, `age`, `remaining` and `symbol`.
            keep: the columns wanted at the end.
        """
        needed = self._needed_after(set(keep))
        for step, wanted in zip(self._steps, needed, strict=True):
            carried = [column for column in frame.columns if column in wanted]
            frame = frame.select(*carried, **step)
        return frame

    def _needed_after(self, keep: set[str]) -> list[set[str]]:
        wanted = set(keep)
        answer: list[set[str]] = []
        for step in reversed(self._steps):
            wanted = wanted.union(*(expression.meta.root_names() for expression in step.values()))
            answer.append(wanted)
        return answer[::-1]


def lag(column: str, rows: int, fill: float | None = None) -> pl.Expr:
    """Return the column `rows` rows earlier (later when negative), never crossing into another symbol."""
    inside = pl.col(AGE) >= rows if rows >= 0 else pl.col(REMAINING) >= -rows
    return pl.when(inside).then(pl.col(column).shift(rows)).otherwise(fill)
