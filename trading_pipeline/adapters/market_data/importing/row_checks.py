"""Checks of the parsed rows of a bar file: values, days, symbols, and rows against each other."""

import re
from collections.abc import Collection, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Final

import polars as pl

from trading_pipeline.adapters.market_data.importing.cells import Check, shown
from trading_pipeline.adapters.market_data.importing.problems import Problem
from trading_pipeline.core.bars import BAR_KEY, BAR_SCHEMA, PRICE_COLUMNS
from trading_pipeline.core.sessions import SessionCalendar

_TICKER: Final = re.compile(r"[A-Z]{1,5}([.-][A-Z]{1,2})?")


def value_checks() -> list[Check]:
    """Return the checks of prices (positive) and volume (not negative)."""
    return [
        Check(
            column=name,
            broken=pl.col(name) <= 0,
            what=pl.format("{} is no price: it must be above 0", pl.col(name)),
            defect=True,
        )
        for name in (*PRICE_COLUMNS, "vwap")
    ] + [
        Check(
            column="volume",
            broken=pl.col("volume") < 0,
            what=pl.format("{} is no volume: it must not be negative", pl.col("volume")),
            defect=True,
        )
    ]


def symbol_check() -> Check:
    """Return the check that a symbol is written in the one way the lake knows: upper case, no spaces."""
    plain = pl.col("symbol").str.strip_chars().str.to_uppercase()
    return Check(
        column="symbol",
        broken=pl.col("symbol").is_null() | (pl.col("symbol") != plain) | (plain == ""),
        what=pl.format(
            "{} is not how a symbol is written: use '{}'", shown("symbol"), plain.replace("", None).fill_null("AAPL")
        ),
    )


def session_checks(days: Collection[date], calendar: SessionCalendar, now: datetime) -> list[Check]:
    """Return the checks that the days of the file are sessions, and closed by `now`.

    A day without trading is a defect only where the session after it, under which it would be filed, has closed.
    """
    covered = [day for day in days if calendar.first_day <= day <= calendar.last_day]
    filed = {day: calendar.at_or_after(day) for day in covered}
    day = pl.col("session")
    return [
        outside_check(days, calendar),
        Check(
            column="session",
            broken=_among(day, [one for one in covered if not calendar.is_session(one)]),
            what=pl.format("{} is no trading session of the exchange: correct the date or remove the row", day),
            defect=True,
        ),
        unfinished_check(filed, calendar, now),
    ]


def outside_check(days: Collection[date], calendar: SessionCalendar) -> Check:
    """Return the check that days are covered by the calendar."""
    return Check(
        column="session",
        broken=_among(pl.col("session"), [day for day in days if not calendar.first_day <= day <= calendar.last_day]),
        what=pl.format("{} is outside the exchange's calendar: remove the row", pl.col("session")),
    )


def unfinished_check(filed: Mapping[date, date], calendar: SessionCalendar, now: datetime) -> Check:
    """Return the check that the session each day is filed under has closed by `now`."""
    return Check(
        column="session",
        broken=_among(pl.col("session"), [day for day, session in filed.items() if calendar.close_at(session) > now]),
        what=pl.format("session {} has not closed yet: remove the row", pl.col("session").replace(filed)),
    )


def knowledge_checks(closes: Mapping[date, datetime], now: datetime) -> list[Check]:
    """Return the checks that a bar is known from an instant on that has come, and not before its session closed."""
    known, day = pl.col("known_at"), pl.col("session")
    close = day.replace_strict(closes, default=None, return_dtype=BAR_SCHEMA["ended_at"])
    return [
        Check(
            column="known_at",
            broken=known > now,
            what=pl.format("{} has not come yet: say since when the bar was known", shown("known_at_cell")),
        ),
        Check(
            column="known_at",
            broken=known < close,
            what=pl.format(
                "{} is before session {} closed: nobody knew the bar then, so correct it or leave it empty",
                shown("known_at_cell"),
                day,
            ),
        ),
    ]


def first_row() -> pl.Expr:
    """Return the column that the duplicate check reads: the first row that has key and instant of the row."""
    return pl.col("row").min().over(*BAR_KEY, "known_at").alias("first_row")


def duplicate_check() -> Check:
    """Return the check that a key appears once, to be run on rows with `first_row`."""
    first = pl.col("first_row")
    return Check(
        column="symbol",
        broken=pl.all_horizontal(pl.col(BAR_KEY).is_not_null()) & (pl.col("row") > first),
        what=pl.format("{} of {} is given already (at {}): keep one of them", "symbol", "session", first),
        defect=True,
    )


def name_faults(path: Path, symbols: Collection[str]) -> list[Problem]:
    """Return the fault of a file that is named after one symbol but holds others."""
    others = sorted(set(symbols) - {path.stem.upper()})
    named_after_one = _TICKER.fullmatch(path.stem) or path.stem.upper() in symbols
    if not (named_after_one and others):
        return []
    what = (
        f"the file is named after {path.stem.upper()} but holds {', '.join(others[:5])}: remove those rows or rename it"
    )
    return [Problem(column="symbol", what=what)]


def _among(day: pl.Expr, days: Collection[date]) -> pl.Expr:
    return day.is_in(pl.Series(list(days), dtype=pl.Date).implode())
