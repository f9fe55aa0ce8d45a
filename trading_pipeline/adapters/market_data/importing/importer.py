"""Bring the bars of a file into the lake, all or none, as versions beside those that are there."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path

import polars as pl

from trading_pipeline.adapters.market_data.importing.bar_file import read_bar_file
from trading_pipeline.adapters.market_data.importing.cells import cell_checks, find, parse, type_faults
from trading_pipeline.adapters.market_data.importing.problems import invalid
from trading_pipeline.adapters.market_data.importing.recording import ImportReport, record_imported
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
from trading_pipeline.core.bars import filed_by_day
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.core.versions import known_from


class Defects(StrEnum):
    """What an import does with rows that can be read and filed, but that no market can have made."""

    REFUSE = "refuse"
    QUARANTINE = "quarantine"


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
    dataset = Dataset.IMPORTED_BARS if reference is None else Dataset.REFERENCE_BARS
    return record_imported(lake, dataset, bars, defective=defective)


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
