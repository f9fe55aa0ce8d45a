"""The freshness of every expected symbol at the close of every session of a range.

The table the order path reads again.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from trading_pipeline.core.freshness import FRESH, MISSING, STALE, refuse_future, with_states
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import InsufficientFreshness

SHORTEST_SESSION: Final = 210
"""Minutes of a half day."""
_LEAST_HISTORY: Final = 5
_NAMED: Final = 10

MANIFEST_SCHEMA: Final = pl.Schema(
    {
        "session": pl.Date(),
        "symbol": pl.String(),
        "ended_at": pl.Datetime("us", "UTC"),
        "age_minutes": pl.Int64(),
        "state": pl.String(),
        "session_usable": pl.Boolean(),
    }
)


def sessions_back(max_age_minutes: int) -> int:
    """Return how many sessions before a session can hold a bar that is still fresh in it, and at least five.

    A symbol whose newest bar is older is missing, not stale.
    """
    return max(_LEAST_HISTORY, max_age_minutes // SHORTEST_SESSION + 2)


def freshness_manifest(
    bars: pl.DataFrame,
    *,
    sessions: Sequence[date],
    expected: Collection[str] | Mapping[date, Collection[str]],
    max_age_minutes: int,
    min_fresh_pct: float,
    calendar: SessionCalendar,
) -> pl.DataFrame:
    """Judge every expected symbol as of the close of each session, in mode `per_symbol`, in one pass.

    Args:
        bars: session: Date, symbol: String, ended_at: Datetime in UTC; good bars of the sessions and of the
            `sessions_back` before them.
        sessions: what to judge; `bars` of other sessions than these and those before change nothing.
        expected: the universe, or that of each session; a symbol of it without a bar is missing.
        max_age_minutes: trading minutes.
        min_fresh_pct: share of the universe that must be fresh, percent.
        calendar: the exchange.

    Returns:
        One row a session and symbol (`MANIFEST_SCHEMA`), in that order; `session_usable` says whether enough symbols
        were fresh. A session that is not usable is a row like any other: see `require_usable`.

    Raises:
        FutureTimestamp: a bar ends after the close of its session.
    """
    days = np.array(calendar.sessions, dtype="datetime64[D]")
    asked = _asked(sessions, expected)
    grid = asked.with_columns(_index(asked["session"], days), _closes(asked["session"], calendar))
    newest = bars.group_by("session", "symbol").agg(pl.col("ended_at").max())
    newest = newest.with_columns(_index(newest["session"], days)).drop("session").sort("day")
    found = grid.sort("day").join_asof(
        newest.with_columns(pl.col("day").alias("bar_day")), on="day", by="symbol", check_sortedness=False
    )
    within = pl.col("bar_day") >= pl.col("day") - sessions_back(max_age_minutes)
    ends = found.with_columns(pl.when(within).then("ended_at").alias("ended_at"))
    ahead = ends.filter(pl.col("ended_at") > pl.col("close_at"))
    if ahead.height:
        first = ahead.filter(pl.col("session") == ahead["session"].min())
        refuse_future(first, first["close_at"][0])
    judged = with_states(ends, as_of=pl.col("close_at"), max_age_minutes=max_age_minutes, calendar=calendar)
    enough = (pl.col("state") == FRESH).sum().over("session") * 100 >= min_fresh_pct * pl.len().over("session")
    usable = judged.with_columns(enough.alias("session_usable"))
    return usable.select(MANIFEST_SCHEMA.names()).cast(MANIFEST_SCHEMA).sort("session", "symbol")


def insufficient_sessions(manifest: pl.DataFrame) -> list[date]:
    """Return the sessions of a manifest that had too few fresh symbols, in order."""
    return manifest.filter(~pl.col("session_usable"))["session"].unique().sort().to_list()


def require_usable(manifest: pl.DataFrame) -> None:
    """Do nothing when every session of a manifest had enough fresh symbols.

    Raises:
        InsufficientFreshness: some had not; they are named with what was stale and missing in the first.
    """
    failed = insufficient_sessions(manifest)
    if not failed:
        return
    first = manifest.filter(pl.col("session") == failed[0])
    stale, missing = (first.filter(pl.col("state") == state)["symbol"].to_list() for state in (STALE, MISSING))
    fresh = first.height - len(stale) - len(missing)
    total = manifest["session"].n_unique()
    raise InsufficientFreshness(
        f"{len(failed)} of {total} session(s) are not fresh enough: {_some(failed)}. Of {failed[0]} {fresh} of "
        f"{first.height} symbols are fresh; stale: {_some(stale)}; missing: {_some(missing)}. Load and judge bars of "
        "these sessions, then run them again; the others are done",
        sessions=[day.isoformat() for day in failed],
        stale=stale,
        missing=missing,
    )


def _asked(sessions: Sequence[date], expected: Collection[str] | Mapping[date, Collection[str]]) -> pl.DataFrame:
    """Return `session` and `symbol` of everything to judge."""
    ordered = sorted(set(sessions))
    universes = [sorted(set(expected[day] if isinstance(expected, Mapping) else expected)) for day in ordered]
    schema = pl.Schema({"session": pl.Date(), "symbol": pl.List(pl.String())})
    return pl.DataFrame({"session": ordered, "symbol": universes}, schema=schema).explode("symbol")


def _index(sessions: pl.Series, days: np.ndarray) -> pl.Series:
    return pl.Series("day", np.searchsorted(days, sessions.to_numpy().astype("datetime64[D]")), dtype=pl.Int64)


def _closes(sessions: pl.Series, calendar: SessionCalendar) -> pl.Series:
    closes = {day: calendar.close_at(day) for day in sessions.unique()}
    return sessions.replace_strict(closes, return_dtype=MANIFEST_SCHEMA["ended_at"]).alias("close_at")


def _some(items: Sequence[object]) -> str:
    rest = len(items) - _NAMED
    return (", ".join(map(str, items[:_NAMED])) or "none") + (f" and {rest} more" if rest > 0 else "")
