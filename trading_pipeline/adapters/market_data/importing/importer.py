"""Bring the bars of a file into the lake, all or none; what is wrong with single bars is left to the quality gate."""

from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import polars as pl

from trading_pipeline.adapters.market_data.importing.bar_file import read_bar_file
from trading_pipeline.adapters.market_data.importing.cells import cell_checks, find, parse, type_faults
from trading_pipeline.adapters.market_data.importing.problems import invalid
from trading_pipeline.adapters.market_data.importing.reference import reference_source
from trading_pipeline.adapters.market_data.importing.row_checks import (
    duplicate_check,
    first_row,
    name_faults,
    session_checks,
    symbol_check,
    value_checks,
)
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.bars import BAR_KEY, BAR_SCHEMA, require_bar_schema
from trading_pipeline.core.sessions import SessionCalendar

_VALUES = [name for name in BAR_SCHEMA if name not in (*BAR_KEY, "source")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did. Every row of the file is new, replaced or unchanged.

    Attributes:
        rows: rows of the file.
        sessions: sessions of the file, in order.
        symbols: symbols of the file, sorted.
        new_rows: rows whose symbol and session the lake did not have.
        replaced_rows: rows that took the place of other values.
        unchanged_rows: rows the lake had already; they keep the name of the file they came from first.
        changed_sessions: sessions whose partition is another one now, and with it everything made from it.
    """

    rows: int
    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    new_rows: int
    replaced_rows: int
    unchanged_rows: int
    changed_sessions: tuple[date, ...]


def import_bars(
    path: Path, lake: Lake, *, calendar: SessionCalendar, now: datetime, reference: str | None = None
) -> ImportReport:
    """Import daily bars from a CSV or Parquet file into the dataset `imported_bars`, or `reference_bars`.

    Columns, in any case and order: `symbol` (or `ticker`), `session` (or `date`) and / or `timestamp` (aware), `open`,
    `high`, `low`, `close` (dollars), `volume` (shares), optional `vwap`. A row whose symbol and session are in the lake
    replaces what is there.

    Args:
        path: a `.csv` or `.parquet` file; one named after a symbol (`AAPL.csv`) may hold that symbol only.
        lake: where to.
        calendar: what is a session, and when it ends.
        reference: name of a second vendor, whose bars the quality gate compares with; None: bars to be traded on.
        now: the present instant (aware); a session that has not closed by then is refused.

    Raises:
        BarFileInvalid: anything is wrong with the file. Nothing was imported; row, column and remedy are listed.
        ConfigError: the second vendor has no name.
        ValueError: `now` has no time zone.
    """
    if now.utcoffset() is None:
        raise ValueError(f"now must have a time zone, not {now.isoformat()}")
    source = f"import:{path.name}" if reference is None else reference_source(reference)
    bars = _read(path, calendar, now).with_columns(pl.lit(source).alias("source"))
    merge = _Merge(incoming=bars)
    sessions = sorted(bars["session"].unique())
    dataset = Dataset.IMPORTED_BARS if reference is None else Dataset.REFERENCE_BARS
    changed = lake.update(dataset, merge, sessions=sessions)
    return ImportReport(
        rows=bars.height,
        sessions=tuple(sessions),
        symbols=tuple(sorted(bars["symbol"].unique())),
        new_rows=bars.height - merge.replaced - merge.unchanged,
        replaced_rows=merge.replaced,
        unchanged_rows=merge.unchanged,
        changed_sessions=tuple(changed),
    )


def _read(path: Path, calendar: SessionCalendar, now: datetime) -> pl.DataFrame:
    cells = read_bar_file(path)
    faults = type_faults(cells)
    if faults:
        raise invalid(path, faults)
    rows = parse(cells)
    days, symbols = rows["session"].drop_nulls().unique(), rows["symbol"].drop_nulls().unique()
    beside = rows.hstack(cells.drop("row").rename(lambda name: f"{name}_cell")).with_columns(first_row())
    checks = [
        *cell_checks(cells),
        *value_checks(),
        symbol_check(),
        *session_checks(days, calendar, now),
        duplicate_check(),
    ]
    problems = [*find(beside, checks), *name_faults(path, set(symbols))]
    if problems:
        raise invalid(path, problems)
    closes = {day: calendar.close_at(day) for day in days}
    bars = rows.with_columns(
        pl.col("session").replace_strict(closes, return_dtype=BAR_SCHEMA["ended_at"]).alias("ended_at"),
        pl.lit(f"import:{path.name}").alias("source"),
    )
    return require_bar_schema(bars.drop("row", "instant"), where=path.name)


@dataclass(slots=True, kw_only=True)
class _Merge:
    """Rows of a file laid over those of the lake, counted on the way."""

    incoming: pl.DataFrame
    replaced: int = field(default=0, init=False)
    unchanged: int = field(default=0, init=False)

    def __call__(self, present: pl.DataFrame | None) -> pl.DataFrame:
        if present is None:
            return self.incoming
        known = self.incoming.join(present, on=BAR_KEY, how="semi").height
        same = self.incoming.join(present, on=[*BAR_KEY, *_VALUES], how="semi", nulls_equal=True).select(BAR_KEY)
        self.unchanged, self.replaced = same.height, known - same.height
        fresh = self.incoming.join(same, on=BAR_KEY, how="anti")
        return pl.concat([present.join(fresh, on=BAR_KEY, how="anti"), fresh])
