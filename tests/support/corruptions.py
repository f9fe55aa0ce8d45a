"""Seeded defects put into clean bars: each says which rows it spoilt and by which reasons the gate may name them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from trading_pipeline.core.bars import BAR_SCHEMA, PRICE_COLUMNS

Random = np.random.Generator
_KEY = ["session", "symbol"]
_VALUES = [*PRICE_COLUMNS, "volume"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """Spoilt bars, the keys that are defective, and those that wait with them (bars at an unexplained level)."""

    bars: pl.DataFrame
    bad: pl.DataFrame
    waiting: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of defect: how to make it, and the reasons that name it."""

    spoil: Callable[[pl.DataFrame, Random], Corruption]
    reasons: frozenset[str]


def _pick(bars: pl.DataFrame, random: Random, count: int, margin: int = 80) -> pl.DataFrame:
    """Choose rows, at most one a symbol, away from both ends of its history."""
    inner = bars.with_columns(
        pl.int_range(pl.len()).over("symbol").alias("at"), pl.len().over("symbol").alias("length")
    ).filter((pl.col("at") >= margin) & (pl.col("at") < pl.col("length") - margin))
    symbols = inner["symbol"].unique(maintain_order=True).to_numpy()
    chosen = random.choice(symbols, min(count, len(symbols)), replace=False)
    rows = [inner.filter(pl.col("symbol") == one).sample(1, seed=int(random.integers(1 << 30))) for one in chosen]
    return pl.concat(rows).select(*BAR_SCHEMA.names())


def _replace(bars: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([bars.join(rows, on=_KEY, how="anti"), rows.select(BAR_SCHEMA.names())]).sort(_KEY)


def _no_one(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.clear().select(_KEY)


def _changed(change: Callable[[pl.DataFrame, Random], pl.DataFrame], count: int = 40) -> Callable[..., Corruption]:
    def spoil(bars: pl.DataFrame, random: Random) -> Corruption:
        rows = change(_pick(bars, random, count), random)
        return Corruption(bars=_replace(bars, rows), bad=rows.select(_KEY), waiting=_no_one(bars))

    return spoil


def _scaled(columns: tuple[str, ...], factor: float) -> Callable[[pl.DataFrame, Random], pl.DataFrame]:
    return lambda rows, _: rows.with_columns(pl.col(*columns) * factor)


def _level(factor: float, bars_long: int | None, columns: tuple[str, ...] = PRICE_COLUMNS) -> Callable[..., Corruption]:
    """Multiply prices from a row on (and volume the other way), for some bars or to the end."""

    def spoil(bars: pl.DataFrame, random: Random) -> Corruption:
        begins = _pick(bars, random, 30).select("symbol", pl.col("session").alias("begin"))
        inside = bars.join(begins, on="symbol", how="inner").filter(pl.col("session") >= pl.col("begin"))
        inside = inside.with_columns(pl.int_range(pl.len()).over("symbol").alias("n"))
        if bars_long is not None:
            inside = inside.filter(pl.col("n") < bars_long)
        spoilt = inside.with_columns(pl.col(*columns) * factor, (pl.col("volume") / factor).round())
        first = spoilt.filter(pl.col("n") == 0)
        return Corruption(
            bars=_replace(bars, spoilt), bad=first.select(_KEY), waiting=spoilt.filter(pl.col("n") > 0).select(_KEY)
        )

    return spoil


def _unadjusted_split(bars: pl.DataFrame, random: Random) -> Corruption:
    return _level(1 / float(random.choice([2, 3, 4, 7, 10])), None)(bars, random)


def _mixed_basis(bars: pl.DataFrame, random: Random) -> Corruption:
    """Halve the prices of every other bar of some sessions."""
    begins = _pick(bars, random, 30).select("symbol", pl.col("session").alias("begin"))
    inside = bars.join(begins, on="symbol", how="inner").filter(pl.col("session") >= pl.col("begin"))
    inside = inside.with_columns(pl.int_range(pl.len()).over("symbol").alias("n"))
    spoilt = inside.filter((pl.col("n") < 10) & (pl.col("n") % 2 == 0)).with_columns(pl.col(*PRICE_COLUMNS) / 2)
    return Corruption(bars=_replace(bars, spoilt), bad=spoilt.select(_KEY), waiting=_no_one(bars))


def _bar_of(lag: int, share: float) -> Callable[..., Corruption]:
    """Give a share of the symbols of one session the bar of a session `lag` later (negative: before)."""

    def spoil(bars: pl.DataFrame, random: Random) -> Corruption:
        days = bars["session"].unique().sort()
        at = int(random.integers(100, len(days) - 100))
        symbols = bars["symbol"].unique(maintain_order=True).to_numpy()
        chosen = random.choice(symbols, max(1, int(share * len(symbols))), replace=False)
        other = bars.filter((pl.col("session") == days[at + lag]) & pl.col("symbol").is_in(chosen.tolist()))
        rows = other.with_columns(pl.lit(days[at]).alias("session")).drop("ended_at")
        ends = bars.filter(pl.col("session") == days[at]).select("ended_at").head(1)
        rows = rows.join(ends, how="cross").select(BAR_SCHEMA.names())
        return Corruption(bars=_replace(bars, rows), bad=rows.select(_KEY), waiting=_no_one(bars))

    return spoil


def _restated_look_ahead(bars: pl.DataFrame, random: Random) -> Corruption:
    """As a vendor that restates volume after the wrong filing."""
    filed = _bar_of(4, 0.3)(bars, random)
    rows = filed.bars.join(filed.bad, on=_KEY, how="semi").with_columns((pl.col("volume") * 0.98).round())
    return Corruption(bars=_replace(filed.bars, rows), bad=filed.bad, waiting=filed.waiting)


def _shared_series(bars: pl.DataFrame, random: Random) -> Corruption:
    one, *others = random.choice(bars["symbol"].unique(maintain_order=True).to_numpy(), 4, replace=False)
    source = bars.filter(pl.col("symbol") == one)
    rows = pl.concat([source.with_columns(pl.lit(str(name)).alias("symbol")) for name in (one, *others)])
    return Corruption(bars=_replace(bars, rows), bad=rows.select(_KEY), waiting=_no_one(bars))


def _stuck(bars: pl.DataFrame, random: Random) -> Corruption:
    """Repeat a bar for eight sessions; the first one is true."""
    begins = _pick(bars, random, 25).select("symbol", pl.col("session").alias("begin"), *_VALUES)
    inside = bars.drop(_VALUES).join(begins, on="symbol").filter(pl.col("session") > pl.col("begin"))
    rows = inside.filter(pl.int_range(pl.len()).over("symbol") < 8).select(BAR_SCHEMA.names())
    return Corruption(bars=_replace(bars, rows), bad=rows.select(_KEY), waiting=_no_one(bars))


def _stale(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
    return rows.with_columns(*(pl.col("close").alias(name) for name in PRICE_COLUMNS), pl.lit(0.0).alias("volume"))


def _copies(conflict: bool) -> Callable[..., Corruption]:
    def spoil(bars: pl.DataFrame, random: Random) -> Corruption:
        rows = _pick(bars, random, 40)
        copies = rows.with_columns(pl.col("volume") + (1 if conflict else 0))
        return Corruption(bars=pl.concat([bars, copies]).sort(_KEY), bad=rows.select(_KEY), waiting=_no_one(bars))

    return spoil


def _index(bars: pl.DataFrame, random: Random) -> Corruption:
    name = str(random.choice(bars["symbol"].unique(maintain_order=True).to_numpy()))
    rows = bars.filter(pl.col("symbol") == name).with_columns(pl.lit(0.0).alias("volume"))
    return Corruption(bars=_replace(bars, rows), bad=rows.select(_KEY), waiting=_no_one(bars))


def _when_issued(bars: pl.DataFrame, random: Random) -> Corruption:
    """Let symbols begin late, with ten thin bars."""
    begins = _pick(bars, random, 10).select("symbol", pl.col("session").alias("begin"))
    late = bars.join(begins, on="symbol").with_columns((pl.col("session") - pl.col("begin")).alias("age"))
    late = late.filter(pl.col("age").dt.total_days() >= 0).with_columns(
        pl.int_range(pl.len()).over("symbol").alias("n")
    )
    thin = late.filter(pl.col("n") < 10).with_columns(
        pl.Series("volume", random.integers(1, 40, 10 * begins.height) * 100.0)
    )
    kept = bars.join(begins, on="symbol", how="anti")
    rest = late.filter(pl.col("n") >= 10)
    frame = pl.concat([kept, thin.select(BAR_SCHEMA.names()), rest.select(BAR_SCHEMA.names())]).sort(_KEY)
    return Corruption(bars=frame, bad=thin.select(_KEY), waiting=_no_one(bars))


def _outside(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
    return rows.with_columns((pl.col("high") * 1.01).round(2).alias("close"))


def _value(column: str, value: float | None) -> Callable[[pl.DataFrame, Random], pl.DataFrame]:
    return lambda rows, _: rows.with_columns(pl.lit(value, dtype=pl.Float64).alias(column))


def _wrong_close(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
    return rows.with_columns((pl.col("close") * 0.6).round(2).alias("close")).with_columns(
        pl.min_horizontal("low", "close").alias("low")
    )


def _kind(spoil: Callable[..., Corruption], *reasons: str) -> Kind:
    return Kind(spoil=spoil, reasons=frozenset(reasons))


_JUMPS = ("outlier", "unadjusted_split", "scale_error", "mixed_basis", "spike", "awaiting_explanation")
KINDS: Mapping[str, Kind] = {
    "null price": _kind(_changed(_value("open", None)), "missing_price"),
    "NaN price": _kind(_changed(_value("close", float("nan"))), "missing_price"),
    "zero price": _kind(_changed(_value("low", 0.0)), "non_positive_price"),
    "negative volume": _kind(_changed(_value("volume", -1.0)), "negative_volume"),
    "close outside the bar": _kind(_changed(_outside), "high_too_low"),
    "sub-penny price": _kind(_changed(_scaled(PRICE_COLUMNS, 1e-5)), "sub_penny"),
    "exact duplicate": _kind(_copies(conflict=False), "exact_duplicate"),
    "conflicting duplicate": _kind(_copies(conflict=True), "conflicting_duplicate"),
    "price in cents (x100), one bar": _kind(_changed(_scaled(PRICE_COLUMNS, 100.0)), *_JUMPS),
    "price / 100, one bar": _kind(_changed(_scaled(PRICE_COLUMNS, 0.01)), *_JUMPS),
    "wrong bar, +60 %": _kind(_changed(_scaled(PRICE_COLUMNS, 1.6)), *_JUMPS),
    "wrong bar, -25 %": _kind(_changed(_scaled(PRICE_COLUMNS, 0.75)), *_JUMPS),
    "wrong bar, +8 %": _kind(_changed(_scaled(PRICE_COLUMNS, 1.08)), *_JUMPS),
    "wrong close, -40 %": _kind(_changed(_wrong_close), *_JUMPS),
    "unadjusted split": _kind(_unadjusted_split, *_JUMPS),
    "unadjusted reverse split 1:10": _kind(_level(10.0, None), *_JUMPS),
    "unadjusted spin-off, -30 %": _kind(_level(0.7, None), *_JUMPS),
    "mixed price basis": _kind(_mixed_basis, *_JUMPS),
    "look-ahead, 30 % of a session, +9": _kind(_bar_of(9, 0.3), "look_ahead"),
    "look-ahead, 30 % of a session, +1": _kind(_bar_of(1, 0.3), "look_ahead", "repeated_bar"),
    "look-ahead, 30 %, volume restated": _kind(_restated_look_ahead, "look_ahead"),
    "look-ahead, one symbol, +5": _kind(_bar_of(5, 0.0), "look_ahead", "repeated_bar"),
    "bar of the session before, 30 %": _kind(_bar_of(-1, 0.3), "repeated_bar"),
    "one series under four symbols": _kind(_shared_series, "shared_series"),
    "stuck series": _kind(_stuck, "stuck", "repeated_bar"),
    "stale, carried forward": _kind(_changed(_stale), "stale", "no_trades"),
    "index in the feed": _kind(_index, "not_an_equity", "no_trades"),
    "volume in lots (/100)": _kind(_changed(_scaled(("volume",), 0.01)), "volume_units"),
    "volume x1000": _kind(_changed(_scaled(("volume",), 1000.0)), "volume_units"),
    "when-issued bars": _kind(_when_issued, "when_issued"),
}
"""Every kind the tests and the measurement know, by the name it has in the table of results."""
