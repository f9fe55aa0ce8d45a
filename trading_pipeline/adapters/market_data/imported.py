"""Bars that somebody imported from files, read back from the lake; it imports nothing itself."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.bars import BAR_SCHEMA, empty_bars, require_bar_schema
from trading_pipeline.core.versions import KNOWN_AT


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
        """Return every version of the imported rows of these sessions and symbols, with `known_at`."""
        if not sessions or self.coverage() is None:
            return empty_bars()
        rows = self.lake.read(Dataset.IMPORTED_BARS, start=min(sessions), end=max(sessions))
        kept = rows.filter(pl.col("session").is_in(set(sessions)), pl.col("symbol").is_in(set(symbols)))
        require_bar_schema(kept.drop(KNOWN_AT, strict=False), where="imported bars")
        return kept.select(*BAR_SCHEMA, *(name for name in kept.columns if name == KNOWN_AT))

    def delivered(self, sessions: Sequence[date], symbols: Collection[str]) -> None:
        """Do nothing: no retrieval is kept."""
