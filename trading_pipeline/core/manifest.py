"""The freshness of every expected symbol at the close of every session of a range.

The table the order path reads again.
"""

from collections.abc import Collection, Sequence
from datetime import date

import polars as pl

from trading_pipeline.core.freshness import FreshnessMode, judge_freshness
from trading_pipeline.core.sessions import SessionCalendar

FRESH = "fresh"
HISTORY = 5
"""Sessions before a session in which the newest bar of an absent symbol is looked for."""

MANIFEST_SCHEMA = pl.Schema(
    {
        "session": pl.Date(),
        "symbol": pl.String(),
        "ended_at": pl.Datetime("us", "UTC"),
        "age_minutes": pl.Int64(),
        "state": pl.String(),
        "session_usable": pl.Boolean(),
    }
)


def freshness_manifest(
    bars: pl.DataFrame,
    *,
    sessions: Sequence[date],
    expected: Collection[str],
    max_age_minutes: int,
    min_fresh_pct: float,
    calendar: SessionCalendar,
) -> pl.DataFrame:
    """Judge every expected symbol as of the close of each session, in mode `per_symbol`.

    Args:
        bars: session: Date, symbol: String, ended_at: Datetime in UTC; good bars of the sessions and of some before.
        sessions: what to judge.
        expected: the universe; a symbol of it without a bar is missing.
        max_age_minutes: trading minutes.
        min_fresh_pct: share of the universe that must be fresh, percent.
        calendar: the exchange.

    Returns:
        One row a session and symbol, in that order; `session_usable` says whether enough symbols were fresh.

    Raises:
        InsufficientFreshness: the first session of the range that has too few fresh symbols, by name.
    """
    universe = sorted(set(expected))
    complete = _complete_sessions(bars, sessions, universe)
    parts = [_all_fresh(bars, complete, universe)]
    for session in sorted(set(sessions) - complete):
        window = bars.filter(pl.col("session").is_between(calendar.shift(session, -HISTORY), session))
        report = judge_freshness(
            window.select("symbol", "ended_at"),
            expected=universe,
            as_of=calendar.close_at(session),
            max_age_minutes=max_age_minutes,
            min_fresh_pct=min_fresh_pct,
            mode=FreshnessMode.PER_SYMBOL,
            calendar=calendar,
        )
        report.require()
        parts.append(
            report.table.with_columns(pl.lit(session).alias("session"), pl.lit(report.usable).alias("session_usable"))
        )
    typed = [part.select(MANIFEST_SCHEMA.names()).cast(MANIFEST_SCHEMA) for part in parts]
    return pl.concat(typed).sort("session", "symbol")


def _complete_sessions(bars: pl.DataFrame, sessions: Sequence[date], universe: Sequence[str]) -> set[date]:
    """Find the sessions in which every expected symbol has a bar of the session itself.

    Nothing of them can be stale.
    """
    present = bars.filter(pl.col("symbol").is_in(universe)).group_by("session").agg(pl.col("symbol").n_unique())
    full = present.filter(pl.col("symbol") == len(universe))["session"]
    return set(full.to_list()) & set(sessions)


def _all_fresh(bars: pl.DataFrame, complete: Collection[date], universe: Sequence[str]) -> pl.DataFrame:
    rows = bars.filter(pl.col("session").is_in(list(complete)) & pl.col("symbol").is_in(universe))
    return rows.select(
        "session",
        "symbol",
        "ended_at",
        pl.lit(0).alias("age_minutes"),
        pl.lit(FRESH).alias("state"),
        pl.lit(value=True).alias("session_usable"),
    )
