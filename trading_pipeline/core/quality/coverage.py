"""One verdict a symbol-session: good, quarantined, or missing; and one a session: usable, or a hole of the vendor."""

from collections.abc import Sequence
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from trading_pipeline.core.bars import in_order
from trading_pipeline.core.quality.config import GateConfig
from trading_pipeline.core.quality.panel import days_of, session_days
from trading_pipeline.core.quality.reasons import Reason
from trading_pipeline.core.sessions import SessionCalendar

GOOD: Final = "good"
QUARANTINED: Final = "quarantined"
ABSENT: Final = "missing"

VERDICT_SCHEMA: Final = pl.Schema(
    {"session": pl.Date(), "symbol": pl.String(), "verdict": pl.String(), "reason": pl.String()}
)
SESSION_SCHEMA: Final = pl.Schema(
    {
        "session": pl.Date(),
        "verdict": pl.String(),
        "expected": pl.Int64(),
        "good": pl.Int64(),
        "quarantined": pl.Int64(),
        "missing": pl.Int64(),
    }
)
USABLE: Final = "usable"


def symbol_verdicts(
    bars: pl.DataFrame,
    quarantined: pl.DataFrame,
    calendar: SessionCalendar,
    config: GateConfig,
    last: date | None,
    *,
    sessions: Sequence[date] | None = None,
) -> pl.DataFrame:
    """Return one row a session and symbol, in that order: its verdict, and the reasons joined by `;`.

    A symbol is expected from its first row to its last and `gone_after` sessions on, at most to `last`. Verdicts of
    other days than `sessions` are left out; None: all are told.
    """
    good = bars.select("session", "symbol", pl.lit(GOOD).alias("verdict"), pl.lit("").alias("reason"))
    named = quarantined.filter(pl.col("symbol").is_not_null())
    key = ["session", "symbol"]
    also_good = good.select(key).join(named, on=key, how="semi")
    kept_out = (
        named.join(also_good, on=key, how="anti")
        .group_by("session", "symbol")
        .agg(pl.lit(QUARANTINED).alias("verdict"), pl.col("reason").unique(maintain_order=True).str.join(";"))
    )
    seen = pl.concat([good, kept_out])
    verdicts = pl.concat([seen, _missing(seen, calendar, config, last)])
    if sessions is not None:
        verdicts = verdicts.filter(pl.col("session").is_in(list(sessions)))
    verdicts = verdicts.select(VERDICT_SCHEMA.names()).cast(VERDICT_SCHEMA)
    return verdicts if in_order(verdicts) else verdicts.sort("session", "symbol")


def session_verdicts(
    verdicts: pl.DataFrame, config: GateConfig, sessions: Sequence[date] | None = None
) -> pl.DataFrame:
    """Return one row a session (`SESSION_SCHEMA`), usable or not: too much of what is expected is missing or unusable.

    `vendor_hole` by name, or `look_ahead` when most of that are bars of another session.

    Args:
        verdicts: of symbols, as `symbol_verdicts` returns them.
        config: thresholds.
        sessions: those to judge; one without any verdict is a hole in which nothing was expected. None: those there.
    """
    count = pl.len().cast(pl.Int64)
    unusable = (pl.col("good") == 0) | (pl.col("expected") - pl.col("good") >= config.hole_share * pl.col("expected"))
    counted = verdicts.group_by("session").agg(
        pl.col("reason").str.contains(f"{Reason.LOOK_AHEAD}|{Reason.REPEATED_BAR}").sum().cast(pl.Int64).alias("other"),
        count.alias("expected"),
        *((pl.col("verdict") == name).sum().cast(pl.Int64).alias(name) for name in (GOOD, QUARANTINED, ABSENT)),
    )
    if sessions is not None:
        asked = pl.DataFrame({"session": list(sessions)}, schema={"session": pl.Date})
        counted = asked.join(counted, on="session", how="left").fill_null(0)
    return (
        counted.with_columns(
            pl.when(unusable & (2 * pl.col("other") > pl.col("expected") - pl.col("good")))
            .then(pl.lit(Reason.LOOK_AHEAD.value))
            .when(unusable)
            .then(pl.lit(Reason.VENDOR_HOLE.value))
            .otherwise(pl.lit(USABLE))
            .alias("verdict")
        )
        .select(SESSION_SCHEMA.names())
        .sort("session")
    )


def _missing(seen: pl.DataFrame, calendar: SessionCalendar, config: GateConfig, last: date | None) -> pl.DataFrame:
    """Return the sessions between two rows of a symbol, and the few after its last one."""
    if seen.is_empty():
        return VERDICT_SCHEMA.to_frame()
    names = seen["symbol"].unique().sort()
    place = seen["symbol"].cast(pl.Enum(names)).to_physical().to_numpy()
    day = days_of(seen["session"], calendar)
    begin, newest = int(day.min()), int(day.max())
    end = int(days_of(pl.Series([last]), calendar)[0]) if last else newest
    there = np.zeros((max(newest, end) - begin + 1, len(names)), dtype=bool)
    there[day - begin, place] = True
    first, final = there.argmax(axis=0), len(there) - 1 - there[::-1].argmax(axis=0)
    until = np.maximum(final, np.minimum(final + config.gone_after, end - begin))
    days = np.arange(len(there))[:, None]
    at, symbol = np.nonzero(~there & (days > first) & (days <= until))
    return pl.DataFrame({"session": session_days(calendar)[at + begin], "symbol": names[symbol]}).with_columns(
        pl.lit(ABSENT).alias("verdict"), pl.lit(Reason.MISSING.value).alias("reason")
    )
