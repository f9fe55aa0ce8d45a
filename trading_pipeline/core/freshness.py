"""Judge whether the newest bars are young enough to be used, in minutes of trading; reads neither clock nor store."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from statistics import median

import polars as pl

from trading_pipeline.core.open_time import open_minutes
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import (
    BarsUnavailable,
    DataQualityError,
    FutureTimestamp,
    InsufficientFreshness,
    MissingColumns,
    NaiveTimestamp,
    UnknownFreshnessMode,
)

FRESH, STALE, MISSING = "fresh", "stale", "missing"
"""States of a symbol."""

_TIME = pl.Datetime("us", "UTC")
_NAMED = 10
_HUNDRED = Decimal(100)
_STATISTICS: Mapping[str, Callable[[list[float]], float]] = {"latest": min, "oldest": max, "median": median}


class FreshnessMode(StrEnum):
    """What decides: the age of one statistic over the symbols, or the share of symbols that are fresh."""

    LATEST = "latest"
    OLDEST = "oldest"
    MEDIAN = "median"
    PER_SYMBOL = "per_symbol"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FreshnessReport:
    """The verdict on every expected symbol, and on all of them together."""

    table: pl.DataFrame
    """By symbol: String; ended_at: Datetime(us, UTC), age_minutes: Int64, state: String (fresh, stale, missing)."""
    mode: FreshnessMode
    as_of: datetime
    max_age_minutes: int
    min_fresh_pct: Decimal
    usable: bool

    @property
    def fresh(self) -> list[str]:
        """Symbols that may be used."""
        return self._symbols(FRESH)

    @property
    def excluded(self) -> dict[str, str]:
        """Symbols that may not be used, each with the reason in words."""
        rows = self.table.filter(pl.col("state") != FRESH).iter_rows(named=True)
        return {row["symbol"]: self._reason(row["ended_at"], row["age_minutes"]) for row in rows}

    @property
    def fresh_pct(self) -> Decimal:
        """Share of the expected symbols that are fresh, in percent, to 2 decimals (down)."""
        share = _HUNDRED * len(self.fresh) / self.table.height
        return share.quantize(Decimal("0.01"), rounding=ROUND_DOWN)

    def require(self) -> None:
        """Do nothing when the data are usable.

        Raises:
            InsufficientFreshness: they are not; names counts and symbols.
        """
        if self.usable:
            return
        stale, missing = self._symbols(STALE), self._symbols(MISSING)
        raise InsufficientFreshness(
            f"data are not fresh enough at {self.as_of.isoformat()} (mode {self.mode}): {len(self.fresh)} of "
            f"{self.table.height} symbols are fresh ({self.fresh_pct} %, {self.min_fresh_pct} % wanted, at most "
            f"{self.max_age_minutes} trading minutes old); stale: {_some(stale)}; missing: {_some(missing)}; "
            "load newer bars, then run the session again",
            stale=stale,
            missing=missing,
            fresh_pct=self.fresh_pct,
            mode=self.mode.value,
        )

    def _symbols(self, state: str) -> list[str]:
        return self.table.filter(pl.col("state") == state)["symbol"].to_list()

    def _reason(self, ended_at: datetime | None, age: int | None) -> str:
        if ended_at is None:
            return "no bar"
        limit = self.max_age_minutes
        return f"newest bar of {ended_at.isoformat()} is {age} trading minutes old, at most {limit} allowed"


def judge_freshness(
    latest: pl.DataFrame,
    *,
    expected: Collection[str],
    as_of: datetime,
    max_age_minutes: int,
    min_fresh_pct: Decimal | float,
    mode: FreshnessMode | str,
    calendar: SessionCalendar,
) -> FreshnessReport:
    """Judge the newest bar of every expected symbol at an instant.

    The age of a bar counts the minutes in which the exchange was open after its end; equal to the maximum is fresh.
    Mode `per_symbol` is usable when at least `min_fresh_pct` percent of the expected symbols are fresh; the others when
    the youngest, oldest or median age is not above the maximum. A missing symbol is older than any other.

    Args:
        latest: symbol: String and ended_at: Datetime with any time zone; of several rows of a symbol the newest counts.
        expected: the symbols that should be there; others are ignored.
        as_of: the instant of the judgement, aware.
        max_age_minutes: trading minutes, 0 or more.
        min_fresh_pct: 0 to 100.
        mode: what decides.
        calendar: the exchange.

    Raises:
        UnknownFreshnessMode: the mode is none of the four.
        NaiveTimestamp: `as_of` or the bars have no time zone.
        MissingColumns: the frame has no `symbol` or no `ended_at`.
        BarsUnavailable: the frame has no rows.
        FutureTimestamp: a bar of an expected symbol ends after `as_of`.
        DataQualityError: a column is of another type, or a timestamp is null.
        ValueError: nothing is expected, or a limit is out of range.
        NotASession: a timestamp is outside the calendar.
    """
    chosen = _mode(mode)
    share = Decimal(str(min_fresh_pct))
    _check_question(expected, as_of, max_age_minutes, share)
    ends = _newest_ends(_typed(latest), expected, as_of)
    table = with_states(ends, as_of=pl.lit(as_of), max_age_minutes=max_age_minutes, calendar=calendar)
    return FreshnessReport(
        table=table,
        mode=chosen,
        as_of=as_of,
        max_age_minutes=max_age_minutes,
        min_fresh_pct=share,
        usable=_usable(table, chosen, max_age_minutes, share),
    )


def with_states(ends: pl.DataFrame, *, as_of: pl.Expr, max_age_minutes: int, calendar: SessionCalendar) -> pl.DataFrame:
    """Add `age_minutes` and `state` to rows with the end of their newest bar, null where there is none.

    Args:
        ends: `ended_at`: Datetime(us, UTC), and whatever else the rows have.
        as_of: the instant of each row, not before its `ended_at`.
        max_age_minutes: trading minutes.
        calendar: the exchange.

    Raises:
        NotASession: a timestamp is outside the calendar.
    """
    timed = ends.with_columns(as_of.cast(_TIME).alias("_as_of"))
    ages = open_minutes(timed["ended_at"], timed["_as_of"], calendar)
    age = pl.col("age_minutes")
    return ends.with_columns(ages.alias("age_minutes")).with_columns(
        pl.when(age.is_null())
        .then(pl.lit(MISSING))
        .when(age <= max_age_minutes)
        .then(pl.lit(FRESH))
        .otherwise(pl.lit(STALE))
        .alias("state")
    )


def _mode(mode: FreshnessMode | str) -> FreshnessMode:
    try:
        return FreshnessMode(mode)
    except ValueError as error:
        raise UnknownFreshnessMode(
            f"unknown freshness mode {mode!r}: use one of {', '.join(FreshnessMode)}", mode=mode
        ) from error


def _check_question(expected: Collection[str], as_of: datetime, max_age_minutes: int, share: Decimal) -> None:
    if isinstance(expected, str) or not expected:
        raise ValueError(f"expected must be a collection of at least one symbol, not {expected!r}")
    if as_of.utcoffset() is None:
        raise NaiveTimestamp(f"as_of {as_of.isoformat()} has no time zone: give an aware datetime", as_of=as_of)
    if max_age_minutes < 0:
        raise ValueError(f"max_age_minutes must be 0 or more, not {max_age_minutes}")
    if not share.is_finite() or not 0 <= share <= _HUNDRED:
        raise ValueError(f"min_fresh_pct must be between 0 and 100, not {share}")


def _typed(latest: pl.DataFrame) -> pl.DataFrame:
    if absent := {"symbol", "ended_at"} - set(latest.columns):
        raise MissingColumns(
            f"the newest bars have no column {', '.join(sorted(absent))}, only {', '.join(latest.columns) or 'none'}",
            missing=sorted(absent),
        )
    symbol, ended_at = latest.schema["symbol"], latest.schema["ended_at"]
    if isinstance(ended_at, pl.Datetime) and ended_at.time_zone is None:
        raise NaiveTimestamp(
            f"column ended_at of the newest bars is {ended_at} without a time zone: say which it is in",
            column="ended_at",
        )
    for column, found, fits in (
        ("symbol", symbol, symbol == pl.String),
        ("ended_at", ended_at, isinstance(ended_at, pl.Datetime)),
    ):
        if not fits:
            wanted = pl.String() if column == "symbol" else _TIME
            raise DataQualityError(
                f"column {column} of the newest bars is {found}, not {wanted}: cast it first", column=column
            )
    if latest.is_empty():
        raise BarsUnavailable("there is no newest bar of any symbol: load bars first")
    if latest["ended_at"].has_nulls():
        raise DataQualityError("a newest bar has no ended_at: leave out symbols without bars", column="ended_at")
    return latest.select("symbol", pl.col("ended_at").dt.convert_time_zone("UTC").cast(_TIME))


def _newest_ends(latest: pl.DataFrame, expected: Collection[str], as_of: datetime) -> pl.DataFrame:
    universe = pl.DataFrame({"symbol": sorted(set(expected))}, schema={"symbol": pl.String})
    newest = latest.group_by("symbol").agg(pl.col("ended_at").max())
    ends = universe.join(newest, on="symbol", how="left", maintain_order="left")
    refuse_future(ends.filter(pl.col("ended_at") > as_of), as_of)
    return ends


def refuse_future(ahead: pl.DataFrame, as_of: datetime) -> None:
    """Raise FutureTimestamp when there are rows: bars (`symbol`, `ended_at`) that end after an instant."""
    if ahead.height:
        symbols = ahead["symbol"].to_list()
        raise FutureTimestamp(
            f"bars end after as_of {as_of.isoformat()}, which nobody could know then: {_some(symbols)}", symbols=symbols
        )


def _usable(table: pl.DataFrame, mode: FreshnessMode, max_age_minutes: int, share: Decimal) -> bool:
    if mode is FreshnessMode.PER_SYMBOL:
        fresh = table.filter(pl.col("state") == FRESH).height
        return fresh * _HUNDRED >= share * table.height
    ages = [math.inf if age is None else float(age) for age in table["age_minutes"]]
    return _STATISTICS[mode](ages) <= max_age_minutes


def _some(symbols: list[str]) -> str:
    rest = len(symbols) - _NAMED
    return (", ".join(symbols[:_NAMED]) or "none") + (f" and {rest} more" if rest > 0 else "")
