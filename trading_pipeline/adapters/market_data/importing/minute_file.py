"""Minute bars from a file, made into the daily bars of their sessions: all of them or none."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from trading_pipeline.adapters.market_data.importing.bar_file import read_bar_file
from trading_pipeline.adapters.market_data.importing.cells import (
    find,
    number_checks,
    parse,
    timestamp_checks,
    type_faults,
)
from trading_pipeline.adapters.market_data.importing.problems import Problem, invalid
from trading_pipeline.adapters.market_data.importing.recording import ImportReport, record_imported
from trading_pipeline.adapters.market_data.importing.row_checks import (
    name_faults,
    outside_check,
    symbol_check,
    unfinished_check,
    value_checks,
)
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.minute_bars import MINUTE_SCHEMA, MinuteLabel, label_of, sessions_from_minutes
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.core.versions import known_from

LONGEST_SILENCE: Final = timedelta(minutes=15)
"""Of all symbols of a file together, after the open and before the close."""
_OF_DAILY_BARS = ("session", "known_at", "source")


def import_minutes(
    path: Path, lake: Lake, *, calendar: SessionCalendar, now: datetime, label: MinuteLabel | None = None
) -> ImportReport:
    """Import a CSV or Parquet file of minute bars as daily bars, as `sessions_from_minutes` makes them.

    Columns as of daily bars, with `timestamp` (aware) and no `session`. Minutes of extended hours and of closed days
    may be in the file: they are part of no bar, and counted. A part of a session makes no bar of it: a file without
    minutes near an open or a close is refused.

    Args:
        path: a `.csv` or `.parquet` file; one named after a symbol may hold that symbol only.
        lake: where to.
        calendar: the sessions and their hours.
        now: the present instant (aware); minutes of a session that has not closed by then are refused.
        label: which end of the minute the timestamps name; None: the one that shows in the data.

    Raises:
        BarFileInvalid: anything is wrong with the file. Nothing was imported; row, column and remedy are listed.
        ValueError: `now` has no time zone.
        DataQualityError: minutes given twice or not on a whole minute, a label that does not show, or a bar that is
            stored as known at the same instant with other values.
    """
    minutes = _read(path, calendar, now)
    named = label or label_of(minutes, calendar=calendar)
    made = sessions_from_minutes(minutes, label=named, calendar=calendar, source=f"import:{path.name}")
    if made.bars.is_empty():
        raise invalid(
            path, [Problem(what="no minute of it lies within a regular session: check the offsets of `timestamp`")]
        )
    if problems := _parts(minutes, made.bars["session"].unique().sort().to_list(), calendar):
        raise invalid(path, problems)
    return record_imported(lake, Dataset.IMPORTED_BARS, known_from(made.bars, now), left_out=made.left_out)


def _parts(minutes: pl.DataFrame, sessions: Sequence[date], calendar: SessionCalendar) -> list[Problem]:
    """Name the sessions of which no symbol has a minute near the open, or near the close."""
    stamps = minutes["timestamp"]
    problems = []
    for session in sessions:
        opens, closes = calendar.open_at(session), calendar.close_at(session)
        near = {"open": (opens, opens + LONGEST_SILENCE), "close": (closes - LONGEST_SILENCE, closes)}
        problems += [
            Problem(what=f"session {session} has no minute near its {end}: give all of its minutes")
            for end, (first, last) in near.items()
            if not stamps.is_between(first, last).any()
        ]
    return problems


def _read(path: Path, calendar: SessionCalendar, now: datetime) -> pl.DataFrame:
    if now.utcoffset() is None:
        raise ValueError(f"now must have a time zone, not {now.isoformat()}")
    cells = read_bar_file(path)
    columns = [Problem(column=name, what="is of daily bars: remove it") for name in _OF_DAILY_BARS if name in cells]
    if problems := [*columns, *type_faults(cells)]:
        raise invalid(path, problems)
    rows = parse(cells)
    days, symbols = rows["session"].drop_nulls().unique(), rows["symbol"].drop_nulls().unique()
    beside = rows.hstack(cells.drop("row").rename(lambda name: f"{name}_cell"))
    checks = [
        *number_checks(cells),
        *value_checks(),
        *timestamp_checks(cells),
        symbol_check(),
        outside_check(days, calendar),
        unfinished_check({day: day for day in days if calendar.is_session(day)}, calendar, now),
    ]
    # A defective minute would be part of a bar that looks good: the gate could not keep it out.
    if problems := [replace(one, defect=False) for one in find(beside, checks)] + name_faults(path, set(symbols)):
        raise invalid(path, problems)
    return rows.rename({"instant": "timestamp"}).select(MINUTE_SCHEMA.names())
