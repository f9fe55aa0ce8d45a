"""The bar format that sources, lake and checks agree on; it holds no data and reads none."""

from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError

BAR_SCHEMA: Final = pl.Schema(
    {
        "session": pl.Date(),
        "symbol": pl.String(),
        "ended_at": pl.Datetime("us", "UTC"),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "vwap": pl.Float64(),
        "source": pl.String(),
    }
)
"""`ended_at` is the end of the interval (the close of the session); dollars, shares; only `vwap` may be null."""
BAR_KEY: Final = ("session", "symbol")
PRICE_COLUMNS: Final = ("open", "high", "low", "close")
EXCHANGE_ZONE: Final = "America/New_York"
_USUAL_CLOSE: Final = time(16)
_SHOWN_PROBLEMS: Final = 10


def empty_bars() -> pl.DataFrame:
    """Return a frame in bar format without rows."""
    return BAR_SCHEMA.to_frame()


def require_bar_schema(frame: pl.DataFrame, *, where: str) -> pl.DataFrame:
    """Return the frame with its columns in the order of the bar format; the rows are not looked at.

    Args:
        frame: columns and dtypes of the bar format, in any order.
        where: what the frame is, for the message.

    Raises:
        DataQualityError: columns missing, unknown, or of another dtype; all are named.
    """
    problems = [f"column {name} is missing" for name in BAR_SCHEMA if name not in frame.columns]
    problems += [f"column {name} is not part of the bar format" for name in frame.columns if name not in BAR_SCHEMA]
    problems += [
        f"column {name} is {frame.schema[name]}, not {dtype}"
        for name, dtype in BAR_SCHEMA.items()
        if name in frame.columns and frame.schema[name] != dtype
    ]
    if problems:
        raise DataQualityError(
            f"{where}: not in bar format: {'; '.join(problems)}. Cast to BAR_SCHEMA first",
            where=where,
            problems=problems,
        )
    return frame.select(BAR_SCHEMA.names())


def validate_bars(frame: pl.DataFrame, *, where: str) -> pl.DataFrame:
    """Return the frame, columns in order, when every row of it is a usable bar.

    Args:
        frame: what is said to be clean bars.
        where: what the frame is, for the message.

    Raises:
        DataQualityError: wrong columns; null, infinite or non-positive prices; high or low that do not enclose open
            and close; negative volume; one key twice; `ended_at` on another exchange day. Rows and columns are named.
    """
    ordered = require_bar_schema(frame, where=where)
    if _is_sound(ordered):
        return ordered
    # pandera takes longer to import than a session to judge: only who has something to hear from it pays for it.
    from trading_pipeline.core.bar_model import bar_violations  # noqa: PLC0415

    violations = bar_violations(ordered)
    if violations:
        shown = "; ".join(violations[:_SHOWN_PROBLEMS])
        raise DataQualityError(
            f"{where}: {len(violations)} violation(s) of the bar format: {shown}. Run the quality gate first",
            where=where,
            problems=violations[:_SHOWN_PROBLEMS],
            count=len(violations),
        )
    return ordered


def in_order(rows: pl.DataFrame) -> bool:
    """Tell whether rows are in order of session and symbol, and no key is there twice; a null is in no order.

    To look costs a small part of what sorting, or looking for duplicates, does.
    """
    session, symbol = (pl.col(name) for name in BAR_KEY)
    later = (session > session.shift()) | ((session == session.shift()) & (symbol > symbol.shift()))
    known = session.is_not_null() & symbol.is_not_null()
    return bool(rows.select((later.slice(1).fill_null(value=False).all()) & known.all()).item())


def _is_sound(frame: pl.DataFrame) -> bool:
    """Tell whether `bar_violations` would find nothing."""
    prices = [pl.col(name) for name in PRICE_COLUMNS]
    positive = [price.is_finite() & (price > 0) for price in (*prices, pl.col("vwap").fill_null(1.0))]
    sound = pl.all_horizontal(
        pl.col("session", "symbol", "ended_at", "source").is_not_null(),
        pl.col("symbol") != "",
        *positive,
        pl.col("volume").is_finite() & (pl.col("volume") >= 0),
        pl.col("high") >= pl.max_horizontal(prices),
        pl.col("low") <= pl.min_horizontal(prices),
        pl.col("ended_at").dt.convert_time_zone(EXCHANGE_ZONE).dt.date() == pl.col("session"),
    )
    every, keys = sound.fill_null(value=False).all(), pl.struct(BAR_KEY).n_unique()
    return bool(frame.select(every & (keys == pl.len())).item())


def closes_of(sessions: pl.Series) -> pl.Series:
    """Return the closing instant (UTC) of each session; raises NotASession for a day that is none."""
    calendar = xnys()
    closes = {day: calendar.close_at(day) for day in sessions.unique()}
    return sessions.replace_strict(closes, return_dtype=BAR_SCHEMA["ended_at"]).alias("ended_at")


def filed_by_day(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows whose `session` is the day that the source names, with `ended_at`, each filed under a session.

    A bar of a session ends at its close. One of a day without trading is filed under the next session, ending at four
    on its own day: nobody trades on it, and the quality gate finds it there instead of nobody.

    Raises:
        NotASession: a day outside the calendar, or after its last session.
    """
    days = rows["session"].unique().drop_nulls().to_list()
    filed, ends = {day: xnys().at_or_after(day) for day in days}, {day: _ended_at(day) for day in days}
    return rows.with_columns(
        pl.col("session").replace_strict(filed, return_dtype=pl.Date),
        pl.col("session").replace_strict(ends, return_dtype=BAR_SCHEMA["ended_at"]).alias("ended_at"),
    )


def day_of(rows: pl.DataFrame) -> pl.Expr:
    """Return the day that each row is of: its session, or the day without trading that it ended on.

    It tells a bar of a closed day from the bar of the session that it is filed under.
    """
    calendar, zone = xnys(), ZoneInfo(EXCHANGE_ZONE)
    days = {end: end.astimezone(zone).date() for end in rows["ended_at"].unique().drop_nulls()}
    closed = {end: day for end, day in days.items() if not calendar.is_session(day)}
    if not closed:
        return pl.col("session").alias("day")
    own = pl.col("ended_at").replace_strict(closed, default=None, return_dtype=pl.Date)
    return pl.coalesce(own, "session").alias("day")


def _ended_at(day: date) -> datetime:
    calendar = xnys()
    if calendar.is_session(day):
        return calendar.close_at(day)
    return datetime.combine(day, _USUAL_CLOSE, ZoneInfo(EXCHANGE_ZONE)).astimezone(UTC)
