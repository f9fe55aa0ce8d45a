"""The universe from a file: membership spells, or dated versions of a constituents list."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

import polars as pl

from trading_pipeline.core.sectors import VERSIONS, SectorDrift, universe_of_versions
from trading_pipeline.core.universe import MEMBERSHIP, Universe
from trading_pipeline.errors import ConfigError, DataQualityError

SUFFIXES: Final = (".csv", ".parquet")
_ALIASES: Final = {
    "ticker": "symbol",
    "from": "first_day",
    "start": "first_day",
    "start_date": "first_day",
    "to": "last_day",
    "end": "last_day",
    "end_date": "last_day",
    "gics_sector": "sector",
}


def expected_universe(symbols: Collection[str], file: Path | None) -> Universe:
    """Return who is expected on which day: what the file states where there is one, else these symbols, always.

    Raises:
        ConfigError: the file is of no use.
    """
    return Universe.always(symbols) if file is None else read_universe(file)[0]


def read_universe(path: Path) -> tuple[Universe, list[SectorDrift]]:
    """Return the universe that a CSV or Parquet file states, and how its versions compare.

    Spells: `symbol`, `first_day` (or from, start, start_date), `last_day` (or to, end, end_date; empty: it still is
    one), and `sector` if known. Versions: `as_of`, `symbol`, `sector`; each holds until the next one. Other columns are
    ignored.

    Raises:
        ConfigError: the file cannot be read, lacks a column, has cells that are no dates, or states no usable universe;
            what and where is named.
    """
    try:
        rows = pl.read_csv(path, infer_schema=False) if path.suffix.lower() == ".csv" else pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ConfigError(f"UNIVERSE {path} cannot be read: {error}", path=str(path)) from error
    rows = rows.rename(lambda name: _ALIASES.get(name.strip().lower(), name.strip().lower()))
    by_version = "as_of" in rows.columns
    needed = ("symbol", "as_of", "sector") if by_version else ("symbol", "first_day")
    missing = [name for name in needed if name not in rows.columns]
    if missing:
        raise ConfigError(
            f"UNIVERSE {path} lacks {', '.join(missing)}: give symbol, first_day, last_day and sector, or as_of, "
            "symbol and sector",
            path=str(path),
            missing=missing,
        )
    try:
        if by_version:
            return universe_of_versions(_typed(rows, VERSIONS), where=f"UNIVERSE {path}")
        return Universe.of_spells(_typed(rows, MEMBERSHIP), where=f"UNIVERSE {path}"), []
    except (DataQualityError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"UNIVERSE {path}: {error}", path=str(path)) from error


def _typed(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    columns = []
    for name, dtype in schema.items():
        if name not in rows.columns:
            columns.append(pl.lit(None, dtype=dtype).alias(name))
        elif dtype == pl.Date() and rows.schema[name] == pl.String():
            columns.append(pl.col(name).str.strip_chars().replace("", None).str.to_date("%Y-%m-%d").alias(name))
        else:
            columns.append(pl.col(name).cast(dtype))
    return rows.select(columns)
