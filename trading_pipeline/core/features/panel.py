"""Lays bars out as pyqlib does, a row for each session between a symbol's first and last bar; it fills no values in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.core.features.kernels import layout
from trading_pipeline.errors import FeatureError

SESSION = "session"
SYMBOL = "symbol"
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """Rows by symbol and session, with the bars they come from.

    Attributes:
        symbols: sorted.
        sessions: the calendar, sorted.
        bounds: rows of symbol s are bounds[s] to bounds[s + 1].
        firsts: session of each symbol's first row.
        bar_of: bar of each row, -1 where the symbol has none.
        fields: a number for each bar, NaN where it is missing.
        groups: likewise, the number of the bar's group.
    """

    symbols: pl.Series
    sessions: pl.Series
    bounds: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int64]
    bar_of: npt.NDArray[np.int32]
    fields: Mapping[str, npt.NDArray[np.float64]]
    groups: Mapping[str, npt.NDArray[np.float64]]


def build_panel(
    bars: pl.DataFrame,
    *,
    calendar: Sequence[date],
    fields: Collection[str],
    groups: Collection[str] = (),
    first_sessions: Mapping[str, date] | None = None,
) -> Panel:
    """Lay out bars in any order.

    Args:
        bars: one row per session and symbol that has a bar.
        calendar: all sessions that the bars span.
        fields: columns of the bars to carry as numbers.
        groups: columns to carry as numbers of their distinct values.
        first_sessions: the first bar ever of a symbol, where it lies before the bars given here.

    Raises:
        FeatureError: a column is absent or no number, a bar lies outside the calendar or has no symbol, or a session
            and symbol repeat.
    """
    _check_columns(bars, fields, groups)
    sessions = pl.Series(SESSION, sorted(set(calendar)), dtype=pl.Date)
    positions = _positions(bars, sessions)
    symbols = bars[SYMBOL].unique().sort()
    numbers = _numbered(bars[SYMBOL], symbols)
    firsts = np.full(len(symbols), len(sessions), dtype=np.int64)
    lasts = np.full(len(symbols), -1, dtype=np.int64)
    layout.spans(numbers, positions, firsts, lasts)
    if first_sessions:
        known = [first_sessions.get(symbol) for symbol in symbols]
        for symbol, first in enumerate(known):
            if first is not None:
                firsts[symbol] = min(firsts[symbol], int(sessions.search_sorted(first, side="left")))
    bounds = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lasts - firsts + 1)])
    bar_of = np.empty(bounds[-1], dtype=np.int32)
    if layout.place_bars(numbers, positions, firsts, bounds, bar_of):
        _refuse_repeated(bars)
    return Panel(
        symbols=symbols,
        sessions=sessions,
        bounds=bounds,
        firsts=firsts,
        bar_of=bar_of,
        fields={field: _numbers(bars, field) for field in sorted(fields)},
        groups={group: _groups(bars[group]) for group in sorted(groups)},
    )


def _positions(bars: pl.DataFrame, sessions: pl.Series) -> npt.NDArray[np.int32]:
    days = bars[SESSION].cast(pl.Date).to_physical().fill_null(-(2**30)).to_numpy()
    known = sessions.to_physical().to_numpy()
    if not days.size:
        return np.empty(0, dtype=np.int32)
    if not known.size:
        _refuse_outside(bars, np.ones(len(days), dtype=np.bool_))
    position_of = np.full(known[-1] - known[0] + 1, -1, dtype=np.int32)
    position_of[known - known[0]] = np.arange(len(known), dtype=np.int32)
    positions = np.empty(len(days), dtype=np.int32)
    if layout.positions_of(days, int(known[0]), position_of, positions):
        _refuse_outside(bars, positions < 0)
    return positions


def _numbered(column: pl.Series, distinct: pl.Series) -> npt.NDArray[np.uint32]:
    return column.cast(pl.String).cast(pl.Enum(distinct.cast(pl.String))).to_physical().cast(pl.UInt32).to_numpy()


def _numbers(bars: pl.DataFrame, field: str) -> npt.NDArray[np.float64]:
    column = bars[field]
    if not (column.dtype.is_numeric() or column.dtype in {pl.Null, pl.Boolean}):
        message = f"the column {field} holds {column.dtype}, not numbers; text can only name groups"
        raise FeatureError(message, field=field, dtype=str(column.dtype))
    return np.ascontiguousarray(column.cast(pl.Float64).to_numpy())


def _groups(column: pl.Series) -> npt.NDArray[np.float64]:
    text = column.cast(pl.String)
    distinct = text.drop_nulls().unique().sort()
    numbers = text.cast(pl.Enum(distinct)).to_physical().cast(pl.Float64)
    return np.ascontiguousarray(numbers.to_numpy())


def _check_columns(bars: pl.DataFrame, fields: Collection[str], groups: Collection[str]) -> None:
    absent = sorted({SESSION, SYMBOL, *fields, *groups} - set(bars.columns))
    if absent:
        message = f"the bars have no column {', '.join(absent)}; add it (all null if it is unknown)"
        raise FeatureError(message, absent=absent, columns=bars.columns)
    nameless = bars[SYMBOL].null_count()
    if nameless:
        message = f"{nameless} bars have no symbol; drop them"
        raise FeatureError(message, bars=nameless)


def _refuse_outside(bars: pl.DataFrame, outside: npt.NDArray[np.bool_]) -> None:
    rows = bars.filter(pl.Series(outside))
    shown = sorted({str(session) for session in rows[SESSION].head(_SHOWN)})
    message = f"{rows.height} bars lie outside the calendar, among them {shown}; give a calendar that spans them"
    raise FeatureError(message, bars=rows.height, sessions=shown)


def _refuse_repeated(bars: pl.DataFrame) -> None:
    repeated = bars.filter(pl.struct(SYMBOL, SESSION).is_duplicated())
    shown = [f"{symbol} {session}" for symbol, session in repeated.select(SYMBOL, SESSION).head(_SHOWN).rows()]
    message = f"{repeated.height} bars share their symbol and session with another, among them {shown}; keep one"
    raise FeatureError(message, bars=repeated.height, shown=shown)
