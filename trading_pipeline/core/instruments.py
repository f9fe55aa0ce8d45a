"""Which instrument a symbol meant on a day: symbols change and are used again, instruments stay what they are."""

from collections import defaultdict
from datetime import date, timedelta
from typing import Final

import polars as pl

from trading_pipeline.core.corporate_actions import ActionKind
from trading_pipeline.errors import DataQualityError

SYMBOL_SPELLS: Final = pl.Schema(
    {"instrument": pl.String(), "symbol": pl.String(), "first_day": pl.Date(), "last_day": pl.Date()}
)
"""One row a stretch of days, both included, on which an instrument traded under a symbol."""


def spells_of_map_file(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the spells that map files state.

    Args:
        rows: `permtick` (the instrument), `date` (last day of the symbol; the first row of an instrument is its first
            day), `mapped_symbol`.
    """
    ordered = rows.sort("permtick", "date", maintain_order=True)
    before = pl.col("date").shift().over("permtick")
    first = pl.int_range(pl.len()).over("permtick") == 1
    spells = ordered.with_columns(
        pl.when(first).then(before).otherwise(before + pl.duration(days=1)).alias("first_day")
    ).filter(pl.col("first_day").is_not_null(), pl.col("first_day") <= pl.col("date"))
    return require_spells(
        spells.select(
            pl.col("permtick").alias("instrument"),
            pl.col("mapped_symbol").alias("symbol"),
            "first_day",
            pl.col("date").alias("last_day"),
        )
    )


_ENDING: Final = (ActionKind.SYMBOL_CHANGE, ActionKind.MERGER, ActionKind.WORTHLESS)
"""Kinds after which a symbol no longer means the company it meant."""


def spells_of_actions(actions: pl.DataFrame) -> pl.DataFrame:
    """Return the spells that changes of symbol, mergers and worthless removals state, without a gap in time.

    A company that changes its symbol stays one instrument, named after its first symbol. A symbol that is used again
    after its company left it means another instrument from then on, `WM@2009-08-05`, whether or not anybody says what
    became of it. Later actions never rename an instrument. Symbols without such an action are absent: they are
    instruments of their own.

    Args:
        actions: as `corporate_actions.ACTION_SCHEMA`, one version each; `ex_date` of a change is the first day under
            the new symbol.

    Raises:
        DataQualityError: two companies take one symbol on one day.
    """
    wanted = [kind.value for kind in _ENDING]
    rows = (
        actions.filter(pl.col("kind").is_in(wanted))
        .filter(pl.col("other_symbol").ne_missing(pl.col("symbol")) | (pl.col("kind") != ActionKind.SYMBOL_CHANGE))
        .select("ex_date", "symbol", "kind", "other_symbol")
        .unique()
        .sort("ex_date", "symbol", "kind", "other_symbol", nulls_last=True)
    )
    starts: dict[str, list[tuple[date, str]]] = defaultdict(list)
    for (day,), of_day in rows.group_by("ex_date", maintain_order=True):
        if not isinstance(day, date):
            continue
        before = {symbol: _holder(starts, symbol) for symbol in (*of_day["symbol"], *of_day["other_symbol"]) if symbol}
        taken: dict[str, str] = {}
        for _, symbol, kind, other in of_day.iter_rows():
            if kind != ActionKind.SYMBOL_CHANGE or not other:
                continue
            if taken.setdefault(other, before[symbol]) != before[symbol]:
                raise DataQualityError(
                    f"{before[symbol]} and {taken[other]} both become {other} on {day}: correct one of the changes",
                    symbol=other,
                    day=day,
                )
        left = {symbol: f"{symbol}@{day}" for symbol in of_day["symbol"] if symbol not in taken}
        for symbol, instrument in (left | taken).items():
            if not starts[symbol]:
                starts[symbol].append((date.min, symbol))
            starts[symbol].append((day, instrument))
    return _spells(starts)


def _holder(starts: dict[str, list[tuple[date, str]]], symbol: str) -> str:
    return starts[symbol][-1][1] if starts[symbol] else symbol


def _spells(starts: dict[str, list[tuple[date, str]]]) -> pl.DataFrame:
    spells = [
        (instrument, symbol, first, last)
        for symbol, ordered in starts.items()
        for (first, instrument), last in zip(
            ordered, [*(later - timedelta(days=1) for later, _ in ordered[1:]), date.max], strict=True
        )
    ]
    return require_spells(pl.DataFrame(spells, schema=SYMBOL_SPELLS, orient="row"))


def require_spells(spells: pl.DataFrame) -> pl.DataFrame:
    """Return the spells in order when no symbol means two instruments on one day.

    Raises:
        DataQualityError: two spells of a symbol overlap.
    """
    ordered = spells.select(SYMBOL_SPELLS.names()).cast(SYMBOL_SPELLS).sort("symbol", "first_day")
    latest = pl.col("last_day").cum_max().shift().over("symbol")
    overlap = ordered.filter(pl.col("first_day") <= latest)
    if overlap.height:
        row = overlap.row(0, named=True)
        raise DataQualityError(
            f"{row['symbol']} means {row['instrument']} from {row['first_day']} on, and another instrument as well: "
            "end one of the two spells",
            symbol=row["symbol"],
            instrument=row["instrument"],
        )
    return ordered


def takeovers(spells: pl.DataFrame) -> pl.DataFrame:
    """Return `symbol` and `first_day` of each spell that follows another one of its symbol."""
    ordered = spells.sort("symbol", "first_day")
    later = pl.int_range(pl.len()).over("symbol") > 0
    return ordered.filter(later).select("symbol", "first_day")


def identify(rows: pl.DataFrame, spells: pl.DataFrame, *, day: str = "session") -> pl.DataFrame:
    """Return the rows with a column `instrument`: what their symbol meant on their day.

    A symbol that no spell names is an instrument of its own. One that is named, but not on this day, is unknown then:
    null, never the instrument of another day.
    """
    if spells.is_empty():
        return rows.with_columns(pl.col("symbol").alias("instrument"))
    named = spells.select("symbol").unique()
    found = (
        rows.with_row_index("_row")
        .sort(day)
        .join_asof(
            spells.sort("first_day"),
            left_on=day,
            right_on="first_day",
            by="symbol",
            strategy="backward",
            check_sortedness=False,
        )
        .sort("_row")
        .join(named.with_columns(pl.lit(value=True).alias("_named")), on="symbol", how="left", maintain_order="left")
    )
    within = pl.when(pl.col(day) <= pl.col("last_day")).then("instrument")
    instrument = pl.when(pl.col("_named").is_null()).then("symbol").otherwise(within)
    return found.with_columns(instrument.alias("instrument")).select(*rows.columns, "instrument")


def identify_actions(actions: pl.DataFrame, spells: pl.DataFrame) -> pl.DataFrame:
    """Return actions with `symbol` and `other_symbol` replaced by the instruments they meant on the ex-date.

    What happens on the day of a change of symbol is told under either symbol: the old one means the company that left
    it.
    """
    if spells.is_empty():
        return actions
    found = actions
    for name in ("symbol", "other_symbol"):
        eve = pl.col("ex_date").dt.offset_by("-1d").alias("eve")
        asked = actions.select(pl.col(name).alias("symbol"), "ex_date", eve)
        on, before = (identify(asked, spells, day=day)["instrument"] for day in ("ex_date", "eve"))
        left = on == (asked["symbol"] + "@" + asked["ex_date"].cast(pl.String))
        found = found.with_columns(on.zip_with(~left.fill_null(value=False), before).alias(name))
    return found
