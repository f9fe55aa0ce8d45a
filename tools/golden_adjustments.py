"""Compare adjusted prices with what three publishers made of the same bars and actions.

    python tools/golden_adjustments.py FOLDER

FOLDER holds `quandl_wiki_public_domain`, `lean_apache2` and `stocknet_yahoo_2012_2017`. WIKI states raw bars, actions
and adjusted closes. LEAN states factors, from which its splits and dividends are taken; the closes are its raw bars.
The Yahoo panel states no dividends: they are taken from its adjusted closes, to a hundredth of a cent, and what is
compared is everything that follows from them. The last line is JSON.
"""

import argparse
import json
from pathlib import Path

import polars as pl

from trading_pipeline.core.adjustment import Convention, adjust_bars
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.core.instruments import identify, spells_of_map_file

PAID, SPLIT = "cash_dividend", "split"
MONEY = 1e-4
INCOMPLETE = {"AAA.1": "its actions are not stated", "QQQ": "its bars as QQQQ, 2004 to 2011, are not there"}
"""Instruments of LEAN's files that cannot be rebuilt from what the folder holds."""


def actions_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows of symbol, ex_date, kind, ratio and amount as corporate actions."""
    return frame.select(
        pl.col(name) if name in frame.columns else pl.lit(None).alias(name) for name in ACTION_SCHEMA
    ).cast(ACTION_SCHEMA)


def worst(rows: pl.DataFrame, got: str, expected: str) -> dict[str, float | int]:
    """Return the largest and the median relative difference."""
    difference = (rows[got] / rows[expected] - 1).abs()
    return {"rows": rows.height, "largest": difference.max(), "median": difference.median()}


def wiki(folder: Path) -> dict[str, float | int]:
    """Return how far WIKI's adjusted closes are from ours, by the ex-date convention."""
    stated = pl.read_parquet(folder / "daily_panel_raw_actions.parquet").rename({"date": "session"})
    bars = stated.drop_nulls("close")
    # WIKI forgets a payment that it dates to a day without a close (KO 2001-09-12, when the exchange was closed); ours
    # holds from the next bar and would differ by it from there back.
    moved = bars.rename({"session": "ex_date"})
    splits = moved.filter(pl.col("split_ratio") != 1).with_columns(kind=pl.lit(SPLIT), ratio="split_ratio")
    dividends = moved.filter(pl.col("ex_dividend") > 0).with_columns(kind=pl.lit(PAID), amount="ex_dividend")
    actions = pl.concat([actions_of(splits), actions_of(dividends)])
    adjusted = adjust_bars(bars.select("session", "symbol", "close"), actions, convention=Convention.EX_DATE_CLOSE)
    both = bars.select("session", "symbol", "adj_close").join(adjusted, on=["session", "symbol"])
    # Both are rounded at their source: closes to the cent, adjusted closes to the millionth.
    return worst(both, "close", "adj_close")


def lean(folder: Path) -> dict[str, float | int]:
    """Return how far LEAN's factors are from ours, on the days of its factor files, by the previous close."""
    # Bars carry the symbol of their day, actions and factors the instrument.
    spells = spells_of_map_file(pl.read_parquet(folder / "map_files.parquet"))
    traded = pl.read_parquet(folder / "daily_panel_raw.parquet").rename({"date": "session"})
    bars = identify(traded, spells).drop("symbol").drop_nulls("instrument").rename({"instrument": "symbol"})
    stated = pl.read_parquet(folder / "corporate_actions_derived.parquet")
    actions = actions_of(stated.with_columns(ratio="split_ratio", amount="cash_amount"))
    actions = actions.with_columns(kind=pl.when(pl.col("ratio").is_null()).then(pl.lit(PAID)).otherwise(pl.lit(SPLIT)))
    adjusted = adjust_bars(bars.select("session", "symbol", "close"), actions, convention=Convention.PREVIOUS_CLOSE)
    ours = bars.select("session", "symbol", raw="close").join(adjusted, on=["session", "symbol"])
    factors = pl.read_parquet(folder / "factor_files.parquet").rename({"date": "session"})
    both = ours.with_columns(factor=pl.col("close") / pl.col("raw")).join(
        factors.with_columns(stated=pl.col("price_factor") * pl.col("split_factor")), on=["session", "symbol"]
    )
    # Each symbol is measured from its own newest common day: the bars of some end before their factor file does.
    newest = pl.col("factor", "stated").sort_by("session").last().over("symbol")
    compared = both.with_columns(pl.col("factor", "stated") / newest).filter(~pl.col("symbol").is_in(list(INCOMPLETE)))
    return worst(compared, "factor", "stated") | {"symbols": compared["symbol"].n_unique()}


def yahoo(folder: Path) -> dict[str, float | int]:
    """Return how far Yahoo's adjusted closes are from ours, by the previous close."""
    bars = pl.read_parquet(folder / "daily_panel.parquet").rename({"date": "session"}).drop_nulls("close")
    ratio = pl.col("adj_close") / pl.col("close")
    steps = bars.sort("symbol", "session").with_columns(
        (ratio.shift() / ratio).over("symbol").alias("factor"), pl.col("close").shift().over("symbol").alias("previous")
    )
    moved = steps.filter(pl.col("factor") < 1 - 2e-5).rename({"session": "ex_date"})
    paid = ((1 - pl.col("factor")) * pl.col("previous") / MONEY).round() * MONEY
    actions = actions_of(moved.with_columns(kind=pl.lit(PAID), amount=paid).filter(pl.col("amount") > 0))
    adjusted = adjust_bars(bars.select("session", "symbol", "close"), actions, convention=Convention.PREVIOUS_CLOSE)
    both = bars.select("session", "symbol", "adj_close", raw="close").join(adjusted, on=["session", "symbol"])
    # Yahoo's factors go on beyond the last bar of the panel.
    last = (pl.col("adj_close") / pl.col("raw")).sort_by("session").last().over("symbol")
    return worst(both.with_columns(pl.col("close") * last), "close", "adj_close") | {
        "symbols": both["symbol"].n_unique()
    }


def main() -> None:
    """Print the three comparisons."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    figures = {
        "wiki": wiki(folder / "quandl_wiki_public_domain"),
        "lean": lean(folder / "lean_apache2"),
        "yahoo": yahoo(folder / "stocknet_yahoo_2012_2017"),
    }
    for name, found in figures.items():
        print(name, *(f"{key}={value}" for key, value in found.items()))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
