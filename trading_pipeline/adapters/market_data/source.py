"""What every source of bars offers, and how several become one; judging the rows is the quality gate's work."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import polars as pl

from trading_pipeline.core.bars import BAR_KEY, day_of, empty_bars


class BarSource(Protocol):
    """Somewhere that daily bars come from."""

    @property
    def name(self) -> str:
        """The name under which the source appears in logs and metadata."""

    def coverage(self) -> tuple[date, date] | None:
        """Return the first and last session the source may have bars of, or None when it has none at all."""

    def symbols(self) -> frozenset[str] | None:
        """Return the symbols the source knows, or None when it can be asked for any."""

    def bars(self, sessions: Sequence[date], symbols: Collection[str]) -> pl.DataFrame:
        """Return what the source has of these sessions and symbols, in bar format.

        Rows come as the source has them, defects and duplicates included; those of days without trading are filed under
        the session after. A source that knows since when its rows are known adds `known_at` (UTC), and may then have
        several versions of a bar. Nothing known: no rows, and no error.
        """

    def delivered(self, sessions: Sequence[date], symbols: Collection[str]) -> None:
        """Take note that the rows of these sessions and symbols are stored: what was kept to resume may go."""


@dataclass(frozen=True, slots=True)
class CombinedSource:
    """Several sources in order of trust: a symbol's day is taken whole from the first that has it."""

    sources: Sequence[BarSource]

    @property
    def name(self) -> str:
        """The names of the sources in order."""
        return "+".join(source.name for source in self.sources)

    def coverage(self) -> tuple[date, date] | None:
        """Return the span from the earliest first to the latest last session; it may have gaps."""
        spans = [span for source in self.sources if (span := source.coverage())]
        return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None

    def symbols(self) -> frozenset[str] | None:
        """Return the symbols of all sources, or None when one of them can be asked for any."""
        known = [source.symbols() for source in self.sources]
        return None if None in known else frozenset[str]().union(*(symbols for symbols in known if symbols))

    def bars(self, sessions: Sequence[date], symbols: Collection[str]) -> pl.DataFrame:
        """Return the rows of the first source that has a symbol's day, sorted by session and symbol."""
        key = [*BAR_KEY, "day"]
        rows = empty_bars().with_columns(pl.col("session").alias("day"))
        for source in self.sources:
            offered = source.bars(sessions, symbols)
            dated = offered.with_columns(day_of(offered))
            rows = pl.concat([rows, dated.join(rows, on=key, how="anti", maintain_order="left")], how="diagonal")
        return rows.drop("day").sort(BAR_KEY, maintain_order=True)

    def delivered(self, sessions: Sequence[date], symbols: Collection[str]) -> None:
        """Tell every source."""
        for source in self.sources:
            source.delivered(sessions, symbols)
