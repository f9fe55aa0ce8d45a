"""Bring the bars of a file into the lake, all or none, as versions beside those that are there."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path

import polars as pl

from trading_pipeline.adapters.market_data.importing.bar_file import read_bar_file
from trading_pipeline.adapters.market_data.importing.cells import cell_checks, find, parse, type_faults
from trading_pipeline.adapters.market_data.importing.problems import invalid
from trading_pipeline.adapters.market_data.importing.reference import reference_source
from trading_pipeline.adapters.market_data.importing.row_checks import (
    duplicate_check,
    first_row,
    knowledge_checks,
    name_faults,
    session_checks,
    symbol_check,
    value_checks,
)
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.bars import BAR_KEY, day_of, filed_by_day
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.core.versions import append_versions, known_from


class Defects(StrEnum):
    """What an import does with rows that can be read and filed, but that no market can have made."""

    REFUSE = "refuse"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did. Every row of the file is new, replaced or unchanged.

    Attributes:
        rows: rows of the file.
        sessions: sessions of the file, in order.
        symbols: symbols of the file, sorted.
        new_rows: rows whose symbol and day the lake did not have.
        restated_rows: rows that say something else than those of before, which stay as earlier versions.
        unchanged_rows: rows the lake had already; they keep the name of the file they came from first.
        defective_rows: of all these, rows that no market can have made.
        changed_sessions: sessions whose partition is another one now, and with it everything made from it.
    """

    rows: int
    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    new_rows: int
    restated_rows: int
    unchanged_rows: int
    defective_rows: int
    changed_sessions: tuple[date, ...]


def import_bars(
    path: Path,
    lake: Lake,
    *,
    calendar: SessionCalendar,
    now: datetime,
    reference: str | None = None,
    defects: Defects = Defects.REFUSE,
) -> ImportReport:
    """Import daily bars from a CSV or Parquet file into the dataset `imported_bars`, or `reference_bars`.

    Columns, in any case and order: `symbol` (or `ticker`), `session` (or `date`) and / or `timestamp` (aware), `open`,
    `high`, `low`, `close` (dollars), `volume` (shares), optional `vwap`, `known_at` (aware; `now` where it is not
    said) and `source`. A row that says something else than the lake does is a new version; nothing is overwritten.

    Args:
        path: a `.csv` or `.parquet` file; one named after a symbol (`AAPL.csv`) may hold that symbol only.
        lake: where to.
        calendar: what is a session, and when it ends.
        now: the present instant (aware); a session that has not closed by then is refused.
        reference: name of a second vendor, whose bars the quality gate compares with; None: bars to be traded on.
        defects: what becomes of rows that no market can have made: prices that are missing or not positive, rows given
            twice, days without trading. A row of such a day is filed under the session after it.

    Raises:
        BarFileInvalid: anything is wrong with the file. Nothing was imported; row, column and remedy are listed.
        ConfigError: the second vendor has no name.
        DataQualityError: a version known at the same instant is stored with other values.
        ValueError: `now` has no time zone.
    """
    if now.utcoffset() is None:
        raise ValueError(f"now must have a time zone, not {now.isoformat()}")
    source = f"import:{path.name}" if reference is None else reference_source(reference)
    rows, defective = _read(path, calendar, now, defects)
    said = pl.col("source").fill_null(source) if reference is None else pl.lit(source)
    bars = known_from(rows.with_columns(said.alias("source")), now)
    sessions = sorted(bars["session"].unique())
    dataset = Dataset.IMPORTED_BARS if reference is None else Dataset.REFERENCE_BARS
    merge = _Merge(incoming=bars, reference=reference is not None)
    changed = lake.update(dataset, merge, sessions=sessions)
    return ImportReport(
        rows=bars.height,
        sessions=tuple(sessions),
        symbols=tuple(sorted(bars["symbol"].unique())),
        new_rows=merge.new,
        restated_rows=merge.restated,
        unchanged_rows=bars.height - merge.new - merge.restated,
        defective_rows=defective,
        changed_sessions=tuple(changed),
    )


def _read(path: Path, calendar: SessionCalendar, now: datetime, defects: Defects) -> tuple[pl.DataFrame, int]:
    cells = read_bar_file(path)
    faults = type_faults(cells)
    if faults:
        raise invalid(path, faults)
    rows = parse(cells)
    days, symbols = rows["session"].drop_nulls().unique(), rows["symbol"].drop_nulls().unique()
    beside = rows.hstack(cells.drop("row").rename(lambda name: f"{name}_cell")).with_columns(first_row())
    closes = {day: calendar.close_at(day) for day in days if calendar.is_session(day)}
    checks = [
        *cell_checks(cells),
        *value_checks(),
        symbol_check(),
        *session_checks(days, calendar, now),
        duplicate_check(),
    ]
    if "known_at" in cells.columns:
        checks += knowledge_checks(closes, now)
    problems = [*find(beside, checks), *name_faults(path, set(symbols))]
    defective = {problem.row for problem in problems if problem.defect}
    if problems and (defects is Defects.REFUSE or not all(problem.defect for problem in problems)):
        raise invalid(path, problems)
    return filed_by_day(rows.drop("row", "instant")), len(defective)


@dataclass(slots=True, kw_only=True)
class _Merge:
    """Rows of a file added to those of the lake as versions, counted on the way."""

    incoming: pl.DataFrame
    reference: bool
    new: int = field(default=0, init=False)
    restated: int = field(default=0, init=False)

    def __call__(self, present: pl.DataFrame | None) -> pl.DataFrame:
        if present is None:
            present = self.incoming.clear()
        mine = (
            pl.col("source").is_in(self.incoming["source"].unique().implode()) if self.reference else pl.lit(value=True)
        )
        stored = present.filter(mine)
        after = append_versions(stored, self.incoming)
        added = after.tail(after.height - stored.height)
        keys = [frame.with_columns(day_of(frame)) for frame in (added, stored)]
        self.restated = keys[0].join(keys[1], on=[*BAR_KEY, "day"], how="semi").height
        self.new = added.height - self.restated
        return pl.concat([present.filter(~mine), after])
