"""Open a bar file and give its columns their names; the cells are not looked at."""

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from trading_pipeline.adapters.market_data.importing.problems import Problem, invalid
from trading_pipeline.errors import BarFileInvalid

NUMBER_COLUMNS: Final = ("open", "high", "low", "close", "volume", "vwap")
_REQUIRED: Final = ("symbol", "open", "high", "low", "close", "volume")
_TIMES: Final = ("session", "timestamp")
_OPTIONAL: Final = ("vwap", "known_at", "source")
_KNOWN: Final = frozenset((*_REQUIRED, *_TIMES, *_OPTIONAL))
_ALIASES: Final = {"date": "session", "ticker": "symbol"}


def read_bar_file(path: Path) -> pl.DataFrame:
    """Return the cells of a CSV (as text) or Parquet (as typed there) with the column `row` and our column names.

    Raises:
        BarFileInvalid: unknown extension, unreadable or empty file, columns missing, unknown or ambiguous.
    """
    readers: Mapping[str, Callable[[Path], pl.DataFrame]] = {".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise _failed(path, f"unknown file type {path.suffix!r}: give a .csv or .parquet file")
    try:
        cells = reader(path)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise _failed(path, f"cannot be read: {_first_line(error)}") from error
    if cells.is_empty():
        raise _failed(path, "the file has no rows: nothing to import")
    return cells


def _read_csv(path: Path) -> pl.DataFrame:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = next(csv.reader(file), [])
    names = _names(path, header)
    try:
        cells = pl.read_csv(path, infer_schema=False, row_index_name="row", row_index_offset=2)
    except pl.exceptions.ComputeError as error:
        raise _too_long(path, len(header)) or error from error
    # Blank lines are read as rows without a cell: they keep their number and are of no interest.
    return cells.rename(dict(zip(cells.columns, ["row", *names], strict=True))).filter(
        pl.any_horizontal(pl.col(names).is_not_null())
    )


def _read_parquet(path: Path) -> pl.DataFrame:
    cells = pl.read_parquet(path, hive_partitioning=False)
    return cells.rename(dict(zip(cells.columns, _names(path, cells.columns), strict=True))).with_row_index("row", 1)


def _names(path: Path, header: Sequence[str]) -> list[str]:
    names = [_ALIASES.get(name, name) for name in (text.strip().lower() for text in header)]
    meanings = defaultdict(list)
    for text, name in zip(header, names, strict=True):
        meanings[name].append(text)
    problems = [Problem(what=what) for what in _column_faults(meanings)]
    if problems:
        raise invalid(path, problems)
    return names


def _column_faults(meanings: Mapping[str, Sequence[str]]) -> list[str]:
    faults = [f"column {name} is missing: add it" for name in _REQUIRED if name not in meanings]
    if not any(name in meanings for name in _TIMES):
        faults.append("neither a column session (dates) nor timestamp (with time zone): add one of them")
    unknown = [texts[0] for name, texts in meanings.items() if name not in _KNOWN]
    if unknown:
        allowed = ", ".join([*_REQUIRED, *_TIMES, *_OPTIONAL])
        faults.append(f"unknown column(s) {', '.join(unknown)}: remove or rename them; known are {allowed}")
    repeated = [(name, texts) for name, texts in meanings.items() if len(texts) > 1]
    faults += [f"columns {', '.join(texts)} all mean {name}: keep one of them" for name, texts in repeated]
    return faults


def _too_long(path: Path, width: int) -> BarFileInvalid | None:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        long = [Problem(row=reader.line_num, what=f"{len(cells)} cells") for cells in reader if len(cells) > width]
    return invalid(path, [Problem(what=f"more cells than the header has ({width})"), *long]) if long else None


def _failed(path: Path, what: str) -> BarFileInvalid:
    return invalid(path, [Problem(what=what)])


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
