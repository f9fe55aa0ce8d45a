"""Lays bars out as pyqlib does, a row for each session between a symbol's first and last bar; it fills no values in."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date

import polars as pl

from trading_pipeline.core.features.plan import AGE, REMAINING, SYMBOL
from trading_pipeline.errors import FeatureError

SESSION = "session"
HAS_BAR = "has_bar"
_POSITION = "position"
_SHOWN = 5


def build_panel(
    bars: pl.DataFrame,
    *,
    calendar: Sequence[date],
    fields: Collection[str],
    first_sessions: Mapping[str, date] | None = None,
) -> pl.DataFrame:
    """Return the panel sorted by symbol and session.

    Args:
        bars: one row per session and symbol that has a bar.
        calendar: all sessions that the bars span.
        fields: columns of the bars to carry, named `$field` in the panel, Float64, missing as null.
        first_sessions: the first bar ever of a symbol, where it lies before the bars given here.

    Raises:
        FeatureError: a column is absent, a bar lies outside the calendar, or a session and symbol repeat.
    """
    _check_columns(bars, fields)
    sessions = pl.Series(SESSION, sorted(set(calendar)), dtype=pl.Date)
    days = pl.DataFrame({SESSION: sessions}).with_row_index(_POSITION)
    days = days.with_columns(pl.col(_POSITION).cast(pl.Int32))
    values = [pl.col(field).cast(pl.Float64).fill_nan(None).alias(f"${field}") for field in sorted(fields)]
    rows = bars.select(SESSION, SYMBOL, *values).join(days, on=SESSION, how="left")
    _check_rows(rows)
    lives = _lives(rows, sessions, first_sessions or {})
    rows = rows.drop(SESSION).with_columns(pl.lit(value=True).alias(HAS_BAR))
    panel = lives.join(rows, on=[SYMBOL, _POSITION], how="left").join(days, on=_POSITION, how="left")
    return panel.sort(SYMBOL, _POSITION).drop(_POSITION).with_columns(pl.col(HAS_BAR).fill_null(value=False))


def _lives(rows: pl.DataFrame, sessions: pl.Series, first_sessions: Mapping[str, date]) -> pl.DataFrame:
    positions = {symbol: int(sessions.search_sorted(first, side="left")) for symbol, first in first_sessions.items()}
    known = pl.DataFrame(
        {SYMBOL: list(positions), "known": list(positions.values())}, schema={SYMBOL: pl.String, "known": pl.Int32}
    )
    lives = rows.group_by(SYMBOL).agg(first=pl.col(_POSITION).min(), last=pl.col(_POSITION).max())
    lives = lives.join(known, on=SYMBOL, how="left").with_columns(pl.min_horizontal("first", "known").alias("first"))
    lives = lives.with_columns(pl.int_ranges("first", pl.col("last") + 1, dtype=pl.Int32).alias(_POSITION))
    return lives.explode(_POSITION, empty_as_null=False).select(
        SYMBOL,
        _POSITION,
        (pl.col(_POSITION) - pl.col("first")).alias(AGE),
        (pl.col("last") - pl.col(_POSITION)).alias(REMAINING),
    )


def _check_columns(bars: pl.DataFrame, fields: Collection[str]) -> None:
    absent = sorted({SESSION, SYMBOL, *fields} - set(bars.columns))
    if absent:
        message = f"the bars have no column {', '.join(absent)}; add it (all null if it is unknown)"
        raise FeatureError(message, absent=absent, columns=bars.columns)


def _check_rows(rows: pl.DataFrame) -> None:
    outside = rows.filter(pl.col(_POSITION).is_null())
    if outside.height:
        shown = sorted({str(session) for session in outside[SESSION].head(_SHOWN)})
        message = f"{outside.height} bars lie outside the calendar, among them {shown}; give a calendar that spans them"
        raise FeatureError(message, bars=outside.height, sessions=shown)
    repeated = rows.filter(pl.struct(SYMBOL, _POSITION).is_duplicated())
    if repeated.height:
        shown = [f"{symbol} {session}" for symbol, session in repeated.select(SYMBOL, SESSION).head(_SHOWN).rows()]
        message = f"{repeated.height} bars share their symbol and session with another, among them {shown}; keep one"
        raise FeatureError(message, bars=repeated.height, shown=shown)
