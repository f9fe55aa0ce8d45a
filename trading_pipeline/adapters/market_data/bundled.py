"""The sample of real daily bars that comes with the package, so that everything runs without an account or network."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import as_file, files

import polars as pl

from trading_pipeline.core.bars import require_bar_schema


@dataclass(frozen=True, slots=True)
class BundledSample:
    """Six US large caps, 2013-01-02 to 2023-09-21, prices adjusted for splits but not for dividends."""

    @property
    def name(self) -> str:
        """The name of the source."""
        return "sample"

    def coverage(self) -> tuple[date, date] | None:
        """Return the first and last session of the sample."""
        sessions = _sample()["session"]
        return sessions[0], sessions[-1]

    def symbols(self) -> frozenset[str] | None:
        """Return the symbols of the sample."""
        return frozenset(_sample()["symbol"].unique())

    def bars(self, sessions: Sequence[date], symbols: Collection[str]) -> pl.DataFrame:
        """Return the rows of these sessions and symbols, in bar format."""
        return _sample().filter(pl.col("session").is_in(set(sessions)), pl.col("symbol").is_in(set(symbols)))

    def delivered(self, sessions: Sequence[date], symbols: Collection[str]) -> None:
        """Do nothing: no retrieval is kept."""


@cache
def _sample() -> pl.DataFrame:
    with as_file(files("trading_pipeline.adapters.market_data") / "sample" / "bars.parquet") as path:
        return require_bar_schema(pl.read_parquet(path), where=str(path)).sort("session", "symbol")
