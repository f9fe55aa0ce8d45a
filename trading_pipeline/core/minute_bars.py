"""Minute bars made into the daily bars of their sessions, and the newest complete minute of each symbol.

The consolidated daily bar counts the trades of the regular session and the closing auction, whose print arrives just
after the close. In minute bars that print is a bar of a single price, the last price of the session.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

import polars as pl

from trading_pipeline.core.bars import EXCHANGE_ZONE, PRICE_COLUMNS, require_bar_schema
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import DataQualityError

MINUTE_SCHEMA: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "timestamp": pl.Datetime("us", "UTC"),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "vwap": pl.Float64(),
    }
)
"""`timestamp` is the start or the end of the minute, as the vendor labels it; dollars, shares; `vwap` may be null."""
CLOSING_PRINT_MINUTES: Final = 2
"""How many minutes after the close the print of the closing auction may arrive."""
_AGREEMENT: Final = 0.8
_MINUTE: Final = timedelta(minutes=1)


class MinuteLabel(StrEnum):
    """Which end of the minute a vendor's timestamp names."""

    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """Daily bars made of minutes.

    Attributes:
        bars: in bar format, sorted by session and symbol.
        left_out: minutes that are part of no daily bar, by why: `closed_day`, `before_open`, `after_close`.
    """

    bars: pl.DataFrame
    left_out: dict[str, int]


def require_minutes(minutes: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with the columns of `MINUTE_SCHEMA`, in order, when each row is one usable minute.

    Raises:
        DataQualityError: columns missing or of another dtype (a naive timestamp among them), nulls, a symbol and
            timestamp twice, or timestamps that are no whole minutes.
    """
    problems = [
        f"column {name} is {minutes.schema.get(name, 'missing')}, not {dtype}"
        for name, dtype in MINUTE_SCHEMA.items()
        if minutes.schema.get(name) != dtype
    ]
    if not problems:
        required = [name for name in MINUTE_SCHEMA if name != "vwap"]
        nulls = minutes.select(pl.any_horizontal(pl.col(required).is_null()).sum()).item()
        doubles = int(minutes.select(pl.struct("symbol", "timestamp").is_duplicated().sum()).item())
        odd = minutes.select((pl.col("timestamp").dt.truncate("1m") != pl.col("timestamp")).sum()).item()
        counts = {"with nulls": nulls, "that repeat a symbol and minute": doubles, "not on a whole minute": odd}
        problems = [f"{count} row(s) {what}" for what, count in counts.items() if count]
    if problems:
        raise DataQualityError(f"not minute bars: {'; '.join(problems)}", problems=problems)
    return minutes.select(MINUTE_SCHEMA.names())


def label_of(minutes: pl.DataFrame, *, calendar: SessionCalendar) -> MinuteLabel:
    """Tell from the data which end of the minute the timestamps name.

    The first and the last minute of a session are its busiest. Labelled by their start, the first is stamped at the
    open; labelled by their end, the last is stamped at the close. Each session of a symbol votes with whichever of the
    two stamps carries more volume.

    Raises:
        DataQualityError: not minute bars, no stamp at an open or a close, or votes that disagree: ask the vendor.
    """
    rows = _with_hours(require_minutes(minutes), calendar)
    at_open, at_close = pl.col("timestamp") == pl.col("opens"), pl.col("timestamp") == pl.col("closes")
    votes = (
        rows.filter(at_open | at_close)
        .group_by("session", "symbol")
        .agg(start=pl.col("volume").filter(at_open).sum(), end=pl.col("volume").filter(at_close).sum())
        .filter(pl.col("start") != pl.col("end"))
    )
    share = votes.select((pl.col("start") > pl.col("end")).mean()).item()
    if share is None or 1 - _AGREEMENT < share < _AGREEMENT:
        raise DataQualityError(
            f"the minute bars do not show whether they are labelled by start or end ({votes.height} sessions of "
            f"symbols, {0.0 if share is None else share:.0%} for start): state the label",
            votes=votes.height,
        )
    return MinuteLabel.START if share >= _AGREEMENT else MinuteLabel.END


def sessions_from_minutes(
    minutes: pl.DataFrame, *, label: MinuteLabel, calendar: SessionCalendar, source: str
) -> Aggregation:
    """Aggregate minutes to one bar per session and symbol, as the consolidated daily bar counts them.

    Open, high, low and close are those of the regular session, which ends early on half days. Volume and vwap also
    hold the print of the closing auction, when the first minute after the close, within `CLOSING_PRINT_MINUTES`, is
    one. `vwap` is null unless every minute counted has one.

    Args:
        minutes: as `MINUTE_SCHEMA`, in any order, extended hours included or not.
        label: which end of the minute the timestamps name; see `label_of`.
        calendar: the exchange's sessions, which must cover the minutes.
        source: written into every bar.

    Raises:
        DataQualityError: not minute bars.
        NotASession: minutes beyond the calendar's data.
    """
    shift = _MINUTE if label is MinuteLabel.END else timedelta()
    rows = _with_hours(require_minutes(minutes), calendar).with_columns(began=pl.col("timestamp") - shift)
    before, after = pl.col("began") < pl.col("opens"), pl.col("began") >= pl.col("closes")
    regular = rows.filter(~before & ~after).sort("symbol", "began")
    bars = regular.group_by("session", "symbol", maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("closes").first(),
    )
    late = _closing_prints(rows.filter(after), bars)
    counted = pl.concat([regular, late.select(regular.columns)])
    totals = counted.group_by("session", "symbol").agg(pl.col("volume").sum(), vwap=_vwap())
    complete = bars.join(totals, on=["session", "symbol"]).rename({"closes": "ended_at"})
    complete = complete.with_columns(pl.lit(source).alias("source"))
    left_out = {
        "closed_day": minutes.height - rows.height,
        "before_open": rows.select(before.sum()).item(),
        "after_close": rows.select(after.sum()).item() - late.height,
    }
    return Aggregation(
        bars=require_bar_schema(complete, where="bars from minutes").sort("session", "symbol"), left_out=left_out
    )


def latest_minutes(minutes: pl.DataFrame, *, label: MinuteLabel, as_of: datetime) -> pl.DataFrame:
    """Return the newest complete minute of each symbol, for freshness: `symbol`, `ended_at` (UTC), `close`.

    A minute that has begun but not ended at `as_of` is left out: its close is not known yet.

    Raises:
        DataQualityError: not minute bars, or minutes that begin after `as_of`; they are named.
        ValueError: a naive `as_of`.
    """
    if as_of.tzinfo is None:
        msg = f"as_of must be an aware instant, not {as_of}"
        raise ValueError(msg)
    shift = timedelta() if label is MinuteLabel.END else _MINUTE
    rows = require_minutes(minutes).with_columns(ended_at=pl.col("timestamp") + shift)
    future = rows.filter(pl.col("ended_at") - _MINUTE > as_of)
    if future.height:
        first = future.sort("timestamp").row(0, named=True)
        raise DataQualityError(
            f"{future.height} minute(s) begin after {as_of.isoformat()}, the first of {first['symbol']} at "
            f"{first['timestamp'].isoformat()}: check the vendor's clock and label",
            minutes=future.height,
            symbol=first["symbol"],
        )
    newest = rows.filter(pl.col("ended_at") <= as_of).sort("symbol", "ended_at")
    return newest.group_by("symbol", maintain_order=True).last().select("symbol", "ended_at", "close")


def _with_hours(rows: pl.DataFrame, calendar: SessionCalendar) -> pl.DataFrame:
    local = pl.col("timestamp").dt.convert_time_zone(EXCHANGE_ZONE).dt.date()
    dated = rows.with_columns(session=local)
    return dated.join(_hours(dated["session"].unique().to_list(), calendar), on="session")


def _hours(days: list[date], calendar: SessionCalendar) -> pl.DataFrame:
    sessions = [day for day in days if calendar.is_session(day)]
    instant = MINUTE_SCHEMA["timestamp"]
    return pl.DataFrame(
        {
            "session": sessions,
            "opens": [calendar.open_at(day) for day in sessions],
            "closes": [calendar.close_at(day) for day in sessions],
        },
        schema={"session": pl.Date, "opens": instant, "closes": instant},
    )


def _closing_prints(after: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Keep the first minute after each close if it has a single price, and that is the last price of the session."""
    near = after.filter(pl.col("began") < pl.col("closes") + CLOSING_PRINT_MINUTES * _MINUTE)
    first = near.sort("began").group_by("session", "symbol", maintain_order=True).first()
    first = first.join(bars.select("session", "symbol", last="close"), on=["session", "symbol"])
    return first.filter(pl.all_horizontal(pl.col(price) == pl.col("last") for price in PRICE_COLUMNS))


def _vwap() -> pl.Expr:
    traded = pl.col("volume") > 0
    known = pl.col("vwap").filter(traded).is_not_null().all() & (pl.col("volume").sum() > 0)
    return pl.when(known).then((pl.col("vwap") * pl.col("volume")).filter(traded).sum() / pl.col("volume").sum())
