"""Sort raw bars into bars fit for use and quarantined rows with a reason; nothing is changed, nothing is dropped."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl

from trading_pipeline.core.bars import BAR_KEY, BAR_SCHEMA, require_bar_schema
from trading_pipeline.core.quality.outliers import OutlierRule
from trading_pipeline.core.quality.rules import Rule, duplicate_rules, row_rules, with_copies
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError

QUARANTINE_SCHEMA: Final = pl.Schema({**BAR_SCHEMA, "reason": pl.String(), "detail": pl.String()})
SEPARATOR: Final = ";"
"""Between the reasons of a row that breaks several rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What the gate decided; together the two frames hold every raw row once, sorted by session and symbol.

    Attributes:
        bars: rows in bar format that broke no rule.
        quarantined: the other rows with `reason` (joined by `;`) and `detail`.
        last_good: the newest good close by symbol (dollars), to be handed to the next range.
    """

    bars: pl.DataFrame
    quarantined: pl.DataFrame
    last_good: Mapping[str, float]

    def reasons(self) -> dict[str, int]:
        """Return the number of quarantined rows by reason; a row with two reasons counts twice."""
        each = self.quarantined.select(pl.col("reason").str.split(SEPARATOR).list.explode())
        return dict(each.group_by("reason").len().sort("reason").iter_rows())


def judge_bars(
    raw: pl.DataFrame,
    *,
    last_good: Mapping[str, float],
    outlier_threshold: float = 0.5,
    accepted: Collection[tuple[date, str]] = (),
) -> GateResult:
    """Judge raw bars of whole sessions, in time order of their sessions whatever the order of the rows.

    Args:
        raw: rows in bar format; a symbol may have any number of rows a session. `session` is never null.
        last_good: last good close (dollars) before the range by symbol; a symbol without one starts with its first row.
        outlier_threshold: largest change (fraction) against the last good close that passes; equal passes.
        accepted: (session, symbol) of jumps that an operator has confirmed; only the outlier rule is waived.

    Raises:
        DataQualityError: `raw` is not in bar format, a row has no session, or a last good close is no positive number.
        ValueError: the threshold is not a positive number.
    """
    _require_usable(last_good, outlier_threshold)
    rows = require_bar_schema(raw, where="raw bars").sort(*BAR_KEY, "source", maintain_order=True).with_row_index("row")
    if rows["session"].has_nulls():
        raise DataQualityError("raw bars: rows without a session cannot be filed; fix the source", column="session")
    findings = [_broken_rows(rows, row_rules(_non_sessions(rows))), _duplicates(rows)]
    sound = rows.join(pl.concat(findings), on="row", how="anti")
    rule = OutlierRule(threshold=outlier_threshold, last_good=last_good, accepted=frozenset(accepted))
    findings.append(rule.find(sound.select("row", "session", "symbol", "close")))
    return _result(rows, pl.concat(findings), last_good)


def _require_usable(last_good: Mapping[str, float], threshold: float) -> None:
    if not (math.isfinite(threshold) and threshold > 0):
        raise ValueError(f"outlier_threshold must be a positive fraction such as 0.5, not {threshold}")
    for symbol, close in last_good.items():
        if not (math.isfinite(close) and close > 0):
            raise DataQualityError(
                f"{symbol}: last good close must be a positive number, not {close}; leave the symbol out instead",
                symbol=symbol,
                close=close,
            )


def _non_sessions(rows: pl.DataFrame) -> list[date]:
    calendar = xnys()
    return [day for day in rows["session"].unique() if not calendar.is_session(day)]


def _duplicates(rows: pl.DataFrame) -> pl.DataFrame:
    repeated = rows.filter(rows.select(BAR_KEY).is_duplicated())
    return _broken_rows(with_copies(repeated), duplicate_rules())


def _broken_rows(rows: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    flags = rows.select(rule.broken.fill_null(value=False).alias(rule.reason) for rule in rules)
    return pl.concat(
        rows.filter(flags[rule.reason]).select(
            "row", pl.lit(rule.reason.value).alias("reason"), rule.detail.cast(pl.String).alias("detail")
        )
        for rule in rules
    )


def _result(rows: pl.DataFrame, findings: pl.DataFrame, last_good: Mapping[str, float]) -> GateResult:
    joined = (
        findings.with_columns(pl.format("{}: {}", "reason", "detail").alias("detail"))
        .group_by("row", maintain_order=True)
        .agg(pl.col("reason").str.join(SEPARATOR), pl.col("detail").str.join("; "))
    )
    bars = rows.join(joined, on="row", how="anti", maintain_order="left").drop("row")
    quarantined = rows.join(joined, on="row", how="inner", maintain_order="left").select(QUARANTINE_SCHEMA.names())
    if bars.height + quarantined.height != rows.height:
        raise DataQualityError(
            f"the gate got {rows.height} rows and returned {bars.height} + {quarantined.height}: do not use the result",
            rows=rows.height,
        )
    newest = bars.group_by("symbol").agg(pl.col("close").last())
    return GateResult(bars=bars, quarantined=quarantined, last_good={**last_good, **dict(newest.iter_rows())})
