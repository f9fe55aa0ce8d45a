"""The bar format that sources, lake and checks agree on; it holds no data and reads none."""

from typing import Final

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
    # pandera takes over a second to import: a process that only loads definitions never pays for it.
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


def closes_of(sessions: pl.Series) -> pl.Series:
    """Return the closing instant (UTC) of each session; raises NotASession for a day that is none."""
    calendar = xnys()
    closes = {day: calendar.close_at(day) for day in sessions.unique()}
    return sessions.replace_strict(closes, return_dtype=BAR_SCHEMA["ended_at"]).alias("ended_at")
