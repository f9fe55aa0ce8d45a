"""What is wrong with a file offered for import, in words that lead to the place; it decides nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trading_pipeline.errors import BarFileInvalid

SHOWN_PROBLEMS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to put right.

    Attributes:
        what: the fault and its remedy.
        column: where it is.
        row: the line of a CSV or the data row of a Parquet file, both counted from 1.
        defect: the row can be read and filed: it is only no bar that a market can have made.
    """

    what: str
    column: str | None = None
    row: int | None = None
    defect: bool = False


def invalid(path: Path, problems: Sequence[Problem]) -> BarFileInvalid:
    """Return the error that lists the first problems of a file in the order of its rows."""
    unit = "line" if path.suffix.lower() == ".csv" else "row"
    ordered = sorted(problems, key=lambda problem: problem.row or 0)
    lines = [_line(problem, unit) for problem in ordered[:SHOWN_PROBLEMS]]
    hidden = len(ordered) - len(lines)
    more = [f"and {hidden} more"] if hidden else []
    if all(problem.defect for problem in problems):
        more.append(
            "`--defects quarantine` imports such rows all the same, for the quality gate to keep out of the bars"
        )
    return BarFileInvalid(
        "\n  ".join([f"{path.name}: nothing was imported, {len(ordered)} problem(s):", *lines, *more]),
        path=str(path),
        problems=lines,
        count=len(ordered),
    )


def _line(problem: Problem, unit: str) -> str:
    places = [f"{unit} {problem.row}"] * (problem.row is not None) + [f"column {problem.column}"] * bool(problem.column)
    return ": ".join([", ".join(places), problem.what] if places else [problem.what])
