"""Which instrument a symbol meant on a day: symbols change and are used again, instruments stay what they are."""

from typing import Final

import polars as pl

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


def identify(rows: pl.DataFrame, spells: pl.DataFrame, *, day: str = "session") -> pl.DataFrame:
    """Return the rows with a column `instrument`: what their symbol meant on their day.

    A symbol that no spell names is an instrument of its own. One that is named, but not on this day, is unknown then:
    null, never the instrument of another day.
    """
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
