"""Which bars a feature of a session is made of, and which features a changed bar touches; it computes no features.

Everything follows from how far the expressions reach (`CompiledFeatures.lookback` and `lookahead`). Windows over all
history and exponential means reach back to the first bar, and no state is carried from run to run: carried state would
have to be rounded and versioned, while a computation from the first bar on is exact to the bit by construction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from trading_pipeline.core.features.compiler import CompiledFeatures

KEY = ("session", "symbol")
CELLS = pl.Schema({"session": pl.Date(), "symbol": pl.String()})
"""A frame of cells: which symbols of which sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The sessions whose bars are read, both ends included."""

    start: date
    end: date


def bars_needed(compiled: CompiledFeatures, sessions: Sequence[date], calendar: Sequence[date]) -> Span:
    """Return the bars that the features of some sessions are made of.

    For features that do not look ahead that is all there is to know. One that does also depends on whether its symbol
    is listed any longer, which only later bars can tell.

    Args:
        compiled: the features.
        sessions: those wanted, at least one, each in the calendar.
        calendar: all exchange sessions from the first bar there is, in order; with a look-back over all history its
            first one is where the span starts.
    """
    place = {session: at for at, session in enumerate(calendar)}
    first, last = place[min(sessions)], place[max(sessions)]
    start = 0 if compiled.lookback is None else max(first - compiled.lookback, 0)
    return Span(start=calendar[start], end=calendar[min(last + compiled.lookahead, len(calendar) - 1)])


def changed_cells(
    before: pl.DataFrame, after: pl.DataFrame, *, compiled: CompiledFeatures, calendar: Sequence[date]
) -> pl.DataFrame:
    """Find where two versions of the bars differ as far as the features can see.

    A bar that came, went, or has another value in a field that is read; and sessions that a symbol is or is no longer
    listed in because its first or last bar is another one.

    Args:
        before: `session`, `symbol` and the fields, one row per session and symbol.
        after: the same, later.
        compiled: the features.
        calendar: all sessions that the bars span, in order.

    Returns:
        `session`, `symbol`, sorted.
    """
    fields = sorted(compiled.fields)
    values = [frame.select(*KEY, *(_plain(frame, name) for name in fields)) for frame in (before, after)]
    joined = values[0].join(values[1], on=KEY, how="full", suffix="_after", coalesce=True, nulls_equal=True)
    there = [
        frame.select(*KEY, pl.lit(value=True).alias(name)) for frame, name in zip(values, ("was", "is"), strict=True)
    ]
    joined = joined.join(there[0], on=KEY, how="left").join(there[1], on=KEY, how="left")
    differs = pl.any_horizontal(
        pl.col("was").ne_missing(pl.col("is")), *(pl.col(name).ne_missing(pl.col(f"{name}_after")) for name in fields)
    )
    cells = joined.filter(differs).select(*KEY)
    lives = [_lives(frame, calendar) for frame in values]
    appeared = pl.concat([lives[0].join(lives[1], on=KEY, how="anti"), lives[1].join(lives[0], on=KEY, how="anti")])
    return pl.concat([cells, appeared]).unique().sort(*KEY)


def affected_cells(
    changed: pl.DataFrame,
    *,
    compiled: CompiledFeatures,
    calendar: Sequence[date],
    symbols: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return every cell whose features may differ because of changed bars; no other one can.

    Args:
        changed: `session` and `symbol` of the bars, as `changed_cells` finds them.
        compiled: the features.
        calendar: all exchange sessions in order.
        symbols: every symbol there is; needed only where features compare symbols, as one then touches all.

    Returns:
        `session`, `symbol`, sorted; sessions beyond the calendar are left out.
    """
    days = pl.DataFrame({"session": calendar}, schema={"session": pl.Date}).with_row_index("place")
    placed = changed.join(days, on="session").with_columns(pl.col("place").cast(pl.Int64))
    last = len(calendar) - 1
    until = pl.lit(last) if compiled.lookback is None else (pl.col("place") + compiled.lookback).clip(upper_bound=last)
    ranges = placed.select(
        "symbol",
        pl.int_ranges((pl.col("place") - compiled.lookahead).clip(lower_bound=0), until.cast(pl.Int64) + 1).alias(
            "place"
        ),
    )
    cells = ranges.explode("place").unique().join(days.with_columns(pl.col("place").cast(pl.Int64)), on="place")
    if compiled.cross_section and symbols is not None:
        cells = cells.select("session").unique().join(pl.DataFrame({"symbol": sorted(set(symbols))}), how="cross")
    return cells.select(*KEY).sort(*KEY)


def compute_cells(
    compiled: CompiledFeatures,
    bars: pl.DataFrame,
    cells: pl.DataFrame,
    *,
    calendar: Sequence[date],
    first_sessions: Mapping[str, date] | None = None,
) -> pl.DataFrame:
    """Compute the features of some cells only, bit for bit as a run over everything does.

    Args:
        compiled: the features.
        bars: at least those that the cells need (`bars_needed`).
        cells: `session`, `symbol`; cells without a bar give no row.
        calendar: all sessions that the bars span.
        first_sessions: as `CompiledFeatures.compute` takes them.
    """
    ours = bars if compiled.cross_section else bars.join(cells.select("symbol").unique(), on="symbol", how="semi")
    sessions = cells["session"].unique().to_list()
    computed = compiled.compute(ours, calendar=calendar, sessions=sessions, first_sessions=first_sessions)
    return computed.join(cells, on=KEY, how="semi", maintain_order="left")


def _lives(bars: pl.DataFrame, calendar: Sequence[date]) -> pl.DataFrame:
    """Every session between the first and the last bar of each symbol."""
    days = pl.DataFrame({"session": calendar}, schema={"session": pl.Date})
    ends = bars.group_by("symbol").agg(first=pl.col("session").min(), last=pl.col("session").max())
    return days.join_where(ends, pl.col("session") >= pl.col("first"), pl.col("session") <= pl.col("last")).select(*KEY)


def _plain(bars: pl.DataFrame, field: str) -> pl.Expr:
    """The field as it is compared: numbers as Float64 without NaN, groups as they are."""
    return pl.col(field).cast(pl.Float64).fill_nan(None) if bars.schema[field].is_numeric() else pl.col(field)
