"""Put imported bars into the lake as versions beside those that are there, and count them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.bars import BAR_KEY, day_of
from trading_pipeline.core.versions import append_versions


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did. Every bar is new, restated or unchanged.

    Attributes:
        rows: bars that were offered.
        sessions: their sessions, in order.
        symbols: their symbols, sorted.
        new_rows: bars whose symbol and day the lake did not have.
        restated_rows: bars that say something else than those of before, which stay as earlier versions.
        unchanged_rows: bars the lake had already; they keep the name of the file they came from first.
        changed_sessions: sessions whose partition is another one now, and with it everything made from it.
        defective_rows: of all these, bars that no market can have made.
        left_out: rows of the file that are part of no bar, by why.
    """

    rows: int
    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    new_rows: int
    restated_rows: int
    unchanged_rows: int
    changed_sessions: tuple[date, ...]
    defective_rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


def record_imported(
    lake: Lake, dataset: Dataset, bars: pl.DataFrame, *, defective: int = 0, left_out: dict[str, int] | None = None
) -> ImportReport:
    """Add bars in raw format to `imported_bars` or `reference_bars` and say what became of them.

    The bars of a second vendor are versions of each other only; imported bars are, whatever file they came from.

    Raises:
        DataQualityError: a version known at the same instant is stored with other values.
    """
    sessions = sorted(bars["session"].unique())
    merge = _Merge(incoming=bars, by_source=dataset is Dataset.REFERENCE_BARS)
    changed = lake.update(dataset, merge, sessions=sessions)
    return ImportReport(
        rows=bars.height,
        sessions=tuple(sessions),
        symbols=tuple(sorted(bars["symbol"].unique())),
        new_rows=merge.new,
        restated_rows=merge.restated,
        unchanged_rows=bars.height - merge.new - merge.restated,
        changed_sessions=tuple(changed),
        defective_rows=defective,
        left_out=left_out or {},
    )


@dataclass(slots=True, kw_only=True)
class _Merge:
    incoming: pl.DataFrame
    by_source: bool
    new: int = field(default=0, init=False)
    restated: int = field(default=0, init=False)

    def __call__(self, present: pl.DataFrame | None) -> pl.DataFrame:
        held = self.incoming.clear() if present is None else present
        mine = self._of_sources(self.incoming["source"].unique().to_list())
        stored = held.filter(mine)
        after = append_versions(stored, self.incoming)
        added = after.tail(after.height - stored.height)
        keys = [frame.with_columns(day_of(frame)) for frame in (added, stored)]
        self.restated = keys[0].join(keys[1], on=[*BAR_KEY, "day"], how="semi").height
        self.new = added.height - self.restated
        return pl.concat([held.filter(~mine), after])

    def _of_sources(self, sources: Sequence[str]) -> pl.Expr:
        return pl.col("source").is_in(sources) if self.by_source else pl.lit(value=True)
