"""The rules that judge a row by itself or by rows of its own key, as Polars expressions; no history is needed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from trading_pipeline.core.bars import BAR_KEY, BAR_SCHEMA, EXCHANGE_ZONE, PRICE_COLUMNS
from trading_pipeline.core.quality.reasons import Reason

_OPEN, _HIGH, _LOW, _CLOSE = (pl.col(name) for name in PRICE_COLUMNS)
_VALUES = [name for name in BAR_SCHEMA if name not in (*BAR_KEY, "source")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One reason with the condition under which a row is broken, and what to tell the reader about the row.

    `decided_by` names the columns that the condition reads, where they have few different values.
    """

    reason: Reason
    broken: pl.Expr
    detail: pl.Expr
    decided_by: tuple[str, ...] = ()

    @property
    def flag(self) -> pl.Expr:
        """The condition by the name of its reason; what is not known is not broken."""
        return self.broken.fill_null(value=False).alias(self.reason)


def row_rules(non_sessions: Collection[date], closes: Mapping[date, datetime]) -> list[Rule]:
    """Return the rules that need nothing but the row.

    Args:
        non_sessions: the days of the frame without trading.
        closes: when the sessions of the frame end (UTC).
    """
    return [*_price_rules(), *_volume_rules(), *_shape_rules(), *_time_rules(non_sessions, closes), _symbol_rule()]


def with_copies(rows: pl.DataFrame) -> pl.DataFrame:
    """Add what the duplicate rules read: `copies` and `versions` of the key, and whether the row is a `later` copy."""
    return rows.with_columns(
        pl.len().over(BAR_KEY).alias("copies"),
        pl.struct(_VALUES).n_unique().over(BAR_KEY).alias("versions"),
        (pl.int_range(pl.len()).over(BAR_KEY) > 0).alias("later"),
    )


def duplicate_rules() -> list[Rule]:
    """Return the rules for rows that share a key, to be used on `with_copies`.

    Of equal rows the first stays; when rows of a key differ nobody knows which is right, and all go. The source a row
    came from is no difference.
    """
    versions = pl.col("versions")
    return [
        Rule(
            reason=Reason.EXACT_DUPLICATE,
            broken=(versions == 1) & pl.col("later"),
            detail=pl.format("one of {} equal rows", pl.col("copies")),
        ),
        Rule(
            reason=Reason.CONFLICTING_DUPLICATE,
            broken=versions > 1,
            detail=pl.format("one of {} rows in {} versions", pl.col("copies"), versions),
        ),
    ]


def _price_rules() -> list[Rule]:
    missing, low = (
        {name: _unusable(name) for name in PRICE_COLUMNS},
        {name: pl.col(name) <= 0 for name in PRICE_COLUMNS},
    )
    return [
        Rule(reason=Reason.MISSING_PRICE, broken=pl.any_horizontal(*missing.values()), detail=_values(missing)),
        Rule(reason=Reason.NON_POSITIVE_PRICE, broken=pl.any_horizontal(*low.values()), detail=_values(low)),
        Rule(
            reason=Reason.INVALID_VWAP,
            broken=pl.col("vwap").is_not_null() & (_unusable("vwap") | (pl.col("vwap") <= 0)),
            detail=_value("vwap"),
        ),
    ]


def _volume_rules() -> list[Rule]:
    return [
        Rule(reason=Reason.MISSING_VOLUME, broken=_unusable("volume"), detail=_value("volume")),
        Rule(reason=Reason.NEGATIVE_VOLUME, broken=pl.col("volume") < 0, detail=_value("volume")),
    ]


def _shape_rules() -> list[Rule]:
    complete = pl.all_horizontal(_unusable(name).not_() for name in PRICE_COLUMNS)
    shape = pl.format("open {}, high {}, low {}, close {}", _OPEN, _HIGH, _LOW, _CLOSE)
    return [
        Rule(
            reason=Reason.HIGH_TOO_LOW,
            broken=complete & (pl.max_horizontal(_OPEN, _LOW, _CLOSE) > _HIGH),
            detail=shape,
        ),
        Rule(
            reason=Reason.LOW_TOO_HIGH,
            broken=complete & (pl.min_horizontal(_OPEN, _HIGH, _CLOSE) < _LOW),
            detail=shape,
        ),
    ]


def _time_rules(non_sessions: Collection[date], closes: Mapping[date, datetime]) -> list[Rule]:
    ended_on = pl.col("ended_at").dt.convert_time_zone(EXCHANGE_ZONE).dt.date()
    closed_days = pl.Series(list(non_sessions), dtype=pl.Date).implode()
    close = pl.col("session").replace_strict(closes, default=None, return_dtype=BAR_SCHEMA["ended_at"])
    another_day = (ended_on != pl.col("session")) & ~ended_on.is_in(closed_days)
    return [
        Rule(
            reason=Reason.NOT_A_SESSION,
            decided_by=("session", "ended_at"),
            broken=pl.col("session").is_in(closed_days) | ended_on.is_in(closed_days),
            detail=pl.format(
                "{} is no trading session",
                pl.when(pl.col("session").is_in(closed_days)).then(pl.col("session")).otherwise(ended_on),
            ),
        ),
        Rule(
            reason=Reason.WRONG_TIME,
            decided_by=("session", "ended_at"),
            broken=another_day.fill_null(value=True) | (pl.col("ended_at") > close),
            detail=pl.format("ended at {}, session {}", _text("ended_at"), pl.col("session")),
        ),
    ]


def _symbol_rule() -> Rule:
    symbol = pl.col("symbol")
    return Rule(
        reason=Reason.MISSING_SYMBOL,
        broken=symbol.is_null() | (symbol.str.strip_chars() == ""),
        detail=_value("symbol"),
    )


def _unusable(name: str) -> pl.Expr:
    return pl.col(name).is_null() | pl.col(name).is_finite().not_()


def _text(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).fill_null("null")


def _value(name: str) -> pl.Expr:
    return pl.format("{} {}", pl.lit(name), _text(name))


def _values(broken: dict[str, pl.Expr]) -> pl.Expr:
    parts = [pl.when(condition).then(_value(name)) for name, condition in broken.items()]
    return pl.concat_str(parts, separator=", ", ignore_nulls=True)
