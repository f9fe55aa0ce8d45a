"""Turn the cells of a bar file into typed columns and say which cells do not make sense; rows are not compared."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from trading_pipeline.adapters.market_data.importing.bar_file import NUMBER_COLUMNS
from trading_pipeline.adapters.market_data.importing.problems import Problem
from trading_pipeline.core.bars import EXCHANGE_ZONE

OFFSET: Final = r"(?:[Zz]|[+-]\d{2}:?\d{2})$"
_DATE: Final = r"^\d{4}-\d{2}-\d{2}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A fault of one column: the rows that have it, what to tell about them, and whether it is a defect only."""

    column: str
    broken: pl.Expr
    what: pl.Expr
    defect: bool = False

    def problems(self, rows: pl.DataFrame) -> Iterator[Problem]:
        """Yield one problem a broken row."""
        for row, what in rows.filter(self.broken).select("row", self.what.alias("what")).iter_rows():
            yield Problem(row=row, column=self.column, what=what, defect=self.defect)


def find(rows: pl.DataFrame, checks: Iterable[Check]) -> list[Problem]:
    """Return the problems that the checks find, check by check."""
    return [problem for check in checks for problem in check.problems(rows)]


def shown(column: str) -> pl.Expr:
    """Return the cell as a reader of the file would quote it."""
    return pl.format("'{}'", pl.col(column).cast(pl.String).fill_null(""))


def type_faults(cells: pl.DataFrame) -> list[Problem]:
    """Return the columns of a Parquet file whose type cannot be meant; text is looked at cell by cell instead."""
    faults = []
    for column, dtype in cells.drop("row").schema.items():
        expected = _expected_type(column, dtype)
        if expected and dtype != pl.String():
            faults.append(Problem(column=column, what=f"is {dtype}: {expected}"))
    return faults


def parse(cells: pl.DataFrame) -> pl.DataFrame:
    """Return `row`, `symbol`, `session`, `instant`, `known_at` (UTC), `source` and the number columns.

    What cannot be parsed is null, and so is what the file does not have.
    """
    numbers = [
        _text(name).cast(pl.Float64, strict=False).alias(name)
        if cells.schema[name] == pl.String()
        else pl.col(name).cast(pl.Float64)
        for name in NUMBER_COLUMNS
        if name in cells.columns
    ]
    if "vwap" not in cells.columns:
        numbers.append(pl.lit(None, dtype=pl.Float64).alias("vwap"))
    times = [_instant(cells, "timestamp").alias("instant"), _instant(cells, "known_at").alias("known_at")]
    source = _text("source").replace("", None) if "source" in cells.columns else pl.lit(None, dtype=pl.String)
    parsed = cells.select("row", "symbol", _session(cells), *times, source.alias("source"), *numbers)
    local_day = pl.col("instant").dt.convert_time_zone(EXCHANGE_ZONE).dt.date()
    return parsed.with_columns(pl.col("session").fill_null(local_day)) if "session" not in cells.columns else parsed


def cell_checks(cells: pl.DataFrame) -> list[Check]:
    """Return the checks of single cells, to be run on `parse(cells)` beside the cells, these suffixed `_cell`."""
    checks = number_checks(cells)
    if "session" in cells.columns:
        checks.append(
            Check(
                column="session",
                broken=pl.col("session").is_null(),
                what=pl.format("{} is no date: write it as 2024-07-03", shown("session_cell")),
            )
        )
    if "timestamp" in cells.columns:
        checks += [*timestamp_checks(cells), *_day_checks()]
    if "known_at" in cells.columns:
        checks += _instant_checks("known_at", "known_at", textual=cells.schema["known_at"] == pl.String(), needed=False)
    return checks


def number_checks(cells: pl.DataFrame) -> list[Check]:
    """Return the checks that numbers are there and finite."""
    return [check for name in NUMBER_COLUMNS if name in cells.columns for check in _number_checks(name)]


def timestamp_checks(cells: pl.DataFrame) -> list[Check]:
    """Return the checks that timestamps are instants of a time zone."""
    return _instant_checks("timestamp", "instant", textual=cells.schema["timestamp"] == pl.String())


def _expected_type(column: str, dtype: pl.DataType) -> str | None:
    if column in NUMBER_COLUMNS:
        return None if dtype.is_numeric() or dtype == pl.Null() else "make it a number"
    if column in {"symbol", "source"}:
        return None if column == "source" and dtype == pl.Null() else "make it text"
    if column == "session":
        return (
            None if dtype == pl.Date() else "make it a date (day only), or name it timestamp if it is a point in time"
        )
    aware = (isinstance(dtype, pl.Datetime) and dtype.time_zone) or (column == "known_at" and dtype == pl.Null())
    return None if aware else "make it a datetime with a time zone; naive times are refused"


def _text(column: str) -> pl.Expr:
    return pl.col(column).str.strip_chars()


def _session(cells: pl.DataFrame) -> pl.Expr:
    dtype = cells.schema.get("session")
    if dtype is None:
        return pl.lit(None, dtype=pl.Date).alias("session")
    if dtype == pl.String():
        well_formed = pl.when(_text("session").str.contains(_DATE)).then(_text("session"))
        return well_formed.str.to_date("%Y-%m-%d", strict=False).alias("session")
    return pl.col("session")


def _instant(cells: pl.DataFrame, column: str) -> pl.Expr:
    dtype = cells.schema.get(column)
    if dtype is None or dtype == pl.Null():
        return pl.lit(None, dtype=pl.Datetime("us", "UTC"))
    if dtype == pl.String():
        text = _text(column).str.replace(" ", "T", literal=True).str.replace(r"T(\d{2}:\d{2})([Z+-])", "T${1}:00$2")
        return text.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    return pl.col(column).dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _number_checks(name: str) -> list[Check]:
    cell = pl.col(f"{name}_cell").cast(pl.String).str.strip_chars()
    given = cell.is_not_null() & (cell != "")
    absent = pl.col(name).is_null() & given.not_() if name != "vwap" else pl.lit(value=False)
    what = pl.format("{} is no finite number: correct the cell or remove the row", shown(f"{name}_cell"))
    return [
        Check(column=name, broken=pl.col(name).is_null() & given, what=what),
        Check(column=name, broken=absent | pl.col(name).is_finite().not_(), what=what, defect=True),
    ]


def _instant_checks(column: str, parsed: str, *, textual: bool, needed: bool = True) -> list[Check]:
    instant, cell = pl.col(parsed), shown(f"{column}_cell")
    text = pl.col(f"{column}_cell").cast(pl.String).str.strip_chars()
    asked = pl.lit(value=True) if needed else text.is_not_null() & (text != "")
    zoned = text.str.contains(OFFSET) if textual else pl.lit(value=True)
    return [
        Check(
            column=column,
            broken=zoned.not_() & asked,
            what=pl.format("{} has no time zone: add its offset, as in 2024-07-03T13:00:00-04:00", cell),
        ),
        Check(
            column=column,
            broken=instant.is_null() & zoned.fill_null(value=True) & asked,
            what=pl.format("{} is no point in time: write it as 2024-07-03T13:00:00-04:00", cell),
        ),
    ]


def _day_checks() -> list[Check]:
    instant, cell = pl.col("instant"), shown("timestamp_cell")
    local_day = instant.dt.convert_time_zone(EXCHANGE_ZONE).dt.date()
    return [
        Check(
            column="timestamp",
            broken=instant.dt.date() != local_day,
            what=pl.format("{} is {} in New York: if a day is meant, give it in a column session", cell, local_day),
        ),
        Check(
            column="timestamp",
            broken=local_day != pl.col("session"),
            what=pl.format("{} is not on session {}: keep the one that is right", cell, pl.col("session")),
        ),
    ]
