"""Versions of rows by when they were known: a restated row is added beside the old one and replaces nothing."""

from datetime import datetime
from typing import Final

import polars as pl

from trading_pipeline.core.bars import BAR_KEY, BAR_SCHEMA, day_of, in_order
from trading_pipeline.errors import DataQualityError

KNOWN_AT: Final = "known_at"
RAW_SCHEMA: Final = pl.Schema({**BAR_SCHEMA, KNOWN_AT: pl.Datetime("us", "UTC")})
"""The bar format, and the instant (UTC) at which this version of the bar was known here."""

_BAR: Final = [*BAR_KEY, "day"]
"""A bar of a day without trading is not a version of the bar of the session it is filed under."""
_VERSION: Final = [*_BAR, KNOWN_AT]
_CONTENT: Final = [name for name in BAR_SCHEMA if name not in (*BAR_KEY, "source")]
"""What makes two versions differ. Another file or vendor saying the same is no restatement."""


def known_from(bars: pl.DataFrame, instant: datetime) -> pl.DataFrame:
    """Return bars in raw format: rows that do not say themselves since when they are known are known from `instant`.

    Raises:
        ValueError: the instant has no time zone.
    """
    if instant.utcoffset() is None:
        raise ValueError(f"{instant.isoformat()} has no time zone: give an aware datetime")
    stamp = pl.lit(instant).cast(RAW_SCHEMA[KNOWN_AT])
    known = pl.col(KNOWN_AT).fill_null(stamp) if KNOWN_AT in bars.columns else stamp
    return bars.with_columns(known.alias(KNOWN_AT)).select(RAW_SCHEMA.names())


def as_known_at(raw: pl.DataFrame, instant: datetime | None = None) -> pl.DataFrame:
    """Return of each symbol and day the version that was the newest at an instant; None means now.

    A version is all rows that became known together: conflicting rows of one delivery stay together for the gate to
    judge. What was not known yet is absent.

    Raises:
        ValueError: the instant has no time zone.
    """
    if instant is not None:
        if instant.utcoffset() is None:
            raise ValueError(f"{instant.isoformat()} has no time zone: give an aware datetime")
        raw = raw.filter(pl.col(KNOWN_AT) <= instant)
    if in_order(raw):
        return raw  # no bar has a second version
    return raw.filter(pl.col(KNOWN_AT) == pl.col(KNOWN_AT).max().over(*BAR_KEY, day_of(raw)))


def append_versions(present: pl.DataFrame | None, offered: pl.DataFrame) -> pl.DataFrame:
    """Return the present rows and, of the offered ones, the versions that say something new.

    An offered version equal to the one known just before it is left out, so that delivering the same again changes
    nothing. Nothing present is ever left out or changed. Both frames are in raw format.

    Raises:
        DataQualityError: a version offered for an instant of which another one is stored.
    """
    known = offered.clear() if present is None else present
    if known.is_empty() and offered[KNOWN_AT].n_unique() <= 1:
        return offered  # one delivery to an empty place: there is nothing to compare it with
    dated = offered.with_columns(day_of(offered))
    old, new = _digests(known.with_columns(day_of(known))), _digests(dated)
    clash = new.join(old, on=_VERSION, suffix="_old").filter(
        (pl.col("content") != pl.col("content_old")) | (pl.col("rows") != pl.col("rows_old"))
    )
    if clash.height:
        session, symbol, instant = clash.select(*BAR_KEY, KNOWN_AT).row(0)
        raise DataQualityError(
            f"{clash.height} bar(s) are stored as known at the same instant with other values, the first {symbol} of "
            f"{session} at {instant.isoformat()}: a restatement needs a later known_at",
            count=clash.height,
            symbol=symbol,
            session=session,
        )
    history = pl.concat(
        [
            old.with_columns(pl.lit(value=True).alias("stored")),
            new.join(old, on=_VERSION, how="anti").with_columns(pl.lit(value=False).alias("stored")),
        ]
    ).sort(_VERSION)
    # In this order the version known just before is the row before, where it is of the same bar.
    repeats = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in (*_BAR, "content", "rows"))
    news = history.filter(~pl.col("stored"), ~repeats)
    return pl.concat([known, dated.join(news, on=_VERSION, how="semi", maintain_order="left").drop("day")])


def _digests(raw: pl.DataFrame) -> pl.DataFrame:
    # Compared within this call only: the hash need not be the same in another process.
    return raw.group_by(_VERSION).agg(pl.struct(_CONTENT).hash().sum().alias("content"), pl.len().alias("rows"))
