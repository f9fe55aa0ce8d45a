"""How old the newest bar of every expected symbol is at an instant, minutes of the session under way included."""

from collections.abc import Collection
from datetime import date, datetime
from typing import Protocol

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.manifest import sessions_back
from trading_pipeline.core.minute_bars import MinuteLabel, latest_minutes
from trading_pipeline.core.sessions import SessionCalendar


class MinuteSource(Protocol):
    """Somewhere that minute bars come from, labelled by their start."""

    @property
    def name(self) -> str:
        """What the bars are called in reports."""

    def minutes(self, session: date, symbols: Collection[str]) -> pl.DataFrame:
        """Return the minutes of one day so far, as `MINUTE_SCHEMA`."""


def newest_bars(
    lake: Lake,
    symbols: Collection[str],
    *,
    as_of: datetime,
    max_age_minutes: int,
    calendar: SessionCalendar,
    minutes: MinuteSource | None = None,
) -> pl.DataFrame:
    """Return the newest bar of each symbol that had ended at an instant: `symbol`, `ended_at` (UTC), `close`, `source`.

    Good daily bars of the lake, as far back as they may count, and the complete minutes of the instant's session, where
    there is a source of them. A symbol without either is absent.

    Raises:
        DataQualityError: the lake cannot be read, or what the source gave is no minute bars.
        TransientError: the source did not answer.
    """
    last = calendar.latest_closed(as_of)
    first = calendar.shift_within(last, -sessions_back(max_age_minutes))
    known = [_of_lake(lake, first, last)]
    day = as_of.astimezone(calendar.zone).date()
    if minutes is not None and calendar.is_session(day):
        begun = minutes.minutes(day, symbols).filter(pl.col("timestamp") <= as_of)
        newest = latest_minutes(begun, label=MinuteLabel.START, as_of=as_of)
        known.append(newest.with_columns(pl.lit(f"{minutes.name}, minutes").alias("source")))
    rows = pl.concat(known).filter(pl.col("symbol").is_in(list(symbols)), pl.col("ended_at") <= as_of)
    return rows.sort("symbol", "ended_at").unique("symbol", keep="last", maintain_order=True)


def _of_lake(lake: Lake, first: date, last: date) -> pl.DataFrame:
    columns = {
        "symbol": pl.String(),
        "ended_at": pl.Datetime("us", "UTC"),
        "close": pl.Float64(),
        "source": pl.String(),
    }
    if not lake.sessions(Dataset.BARS, start=first, end=last):
        return pl.DataFrame(schema=columns)
    return lake.read(Dataset.BARS, start=first, end=last, columns=list(columns))
