"""Bars that somebody imported from files, read back from the lake; it imports nothing itself."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.bars import empty_bars, require_bar_schema


@dataclass(frozen=True, slots=True)
class ImportedBars:
    """The `imported_bars` dataset of a lake as a source."""

    lake: Lake

    @property
    def name(self) -> str:
        """The name of the source."""
        return "imported"

    def coverage(self) -> tuple[date, date] | None:
        """Return the first and last imported session, or None when nothing was imported yet."""
        written = self.lake.sessions(Dataset.IMPORTED_BARS)
        return (written[0], written[-1]) if written else None

    def symbols(self) -> frozenset[str] | None:
        """Return the imported symbols; reads the symbol column of every imported session."""
        span = self.coverage()
        if span is None:
            return frozenset()
        rows = self.lake.read(Dataset.IMPORTED_BARS, start=span[0], end=span[1], columns=["symbol"])
        return frozenset(rows["symbol"].unique())

    def bars(self, sessions: Sequence[date], symbols: Collection[str]) -> pl.DataFrame:
        """Return the imported rows of these sessions and symbols, in bar format."""
        if not sessions or self.coverage() is None:
            return empty_bars()
        rows = self.lake.read(Dataset.IMPORTED_BARS, start=min(sessions), end=max(sessions))
        kept = rows.filter(pl.col("session").is_in(set(sessions)), pl.col("symbol").is_in(set(symbols)))
        return require_bar_schema(kept, where="imported bars")

    def delivered(self, sessions: Sequence[date], symbols: Collection[str]) -> None:
        """Do nothing: no retrieval is kept."""
