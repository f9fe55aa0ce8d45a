"""All that the lake knows of one symbol: bars, actions, quarantine and versions."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from trading_pipeline.adapters.price_plot import PriceHistory
from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.bars import BAR_KEY
from trading_pipeline.core.versions import KNOWN_AT
from trading_pipeline.errors import DataQualityError


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolReport:
    """Frames about one symbol, each in order of time.

    Attributes:
        bars: its newest good bars.
        actions: its corporate actions, newest version of each.
        quarantined: its rows kept out of the bars, with reasons.
        restated: every version of the raw bars that have more than one.
    """

    bars: pl.DataFrame
    actions: pl.DataFrame
    quarantined: pl.DataFrame
    restated: pl.DataFrame

    def sections(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Return title and rows of each part."""
        for title in ("bars", "actions", "quarantined", "restated"):
            frame: pl.DataFrame = getattr(self, title)
            yield title, frame.to_dicts()


def inspect_symbol(lake: Lake, symbol: str, *, newest: int, known_at: datetime | None = None) -> SymbolReport:
    """Gather what the lake has of a symbol.

    Args:
        lake: where to look.
        symbol: as the bars spell it.
        newest: how many bars, counted from the last.
        known_at: leave out versions and actions that became known later.

    Raises:
        DataQualityError: the lake has never heard of the symbol.
    """
    raw = _rows(lake, Dataset.RAW_BARS, symbol)
    if known_at is not None and KNOWN_AT in raw.columns:
        raw = raw.filter(pl.col(KNOWN_AT) <= known_at)
    bars = _rows(lake, Dataset.BARS, symbol)
    actions = read_actions(lake, known_at=known_at).filter(pl.col("symbol") == symbol)
    if raw.is_empty() and bars.is_empty() and actions.is_empty():
        raise DataQualityError(
            f"the lake knows no {symbol}: `import-bars` it, or add it to UNIVERSE and materialise `raw_bars`",
            symbol=symbol,
        )
    versions = pl.col(KNOWN_AT).n_unique().over(BAR_KEY) if KNOWN_AT in raw.columns else pl.lit(0)
    return SymbolReport(
        bars=bars.tail(newest),
        actions=actions,
        quarantined=_rows(lake, Dataset.QUARANTINED_BARS, symbol),
        restated=raw.filter(versions > 1).sort([name for name in ("session", KNOWN_AT) if name in raw.columns]),
    )


def price_histories(
    lake: Lake,
    symbols: Collection[str],
    *,
    start: date = date.min,
    end: date = date.max,
    known_at: datetime | None = None,
) -> list[PriceHistory]:
    """Return what there is to draw of some symbols from `start` to `end`, both included, in their order.

    Raises:
        DataQualityError: there are no bars at all.
    """
    wanted = pl.col("symbol").is_in(list(symbols))
    bars, quarantined = (
        lake.read(dataset, start=start, end=end, columns=["session", "symbol", "close"]).filter(wanted)
        for dataset in (Dataset.BARS, Dataset.QUARANTINED_BARS)
    )
    actions = read_actions(lake, known_at=known_at, start=start, end=end).filter(wanted)
    return [
        PriceHistory(
            symbol=symbol,
            bars=bars.filter(pl.col("symbol") == symbol),
            actions=actions.filter(pl.col("symbol") == symbol),
            quarantined=quarantined.filter(pl.col("symbol") == symbol),
        )
        for symbol in symbols
    ]


def worth_a_look(bars: pl.DataFrame, quarantined: pl.DataFrame, *, count: int) -> list[str]:
    """Return the symbols with most rows in quarantine, then those most traded in dollars, in that order."""
    dollars = bars.group_by("symbol").agg((pl.col("close") * pl.col("volume")).sum().alias("dollars"))
    faults = quarantined.drop_nulls("symbol").group_by("symbol").agg(pl.len().alias("faults"))
    ranked = dollars.join(faults, on="symbol", how="full", coalesce=True).sort(
        "faults", "dollars", "symbol", descending=[True, True, False], nulls_last=True
    )
    return ranked["symbol"].head(count).to_list()


def _rows(lake: Lake, dataset: Dataset, symbol: str) -> pl.DataFrame:
    if not lake.sessions(dataset):
        return pl.DataFrame()
    return lake.read(dataset, start=date.min, end=date.max).filter(pl.col("symbol") == symbol)
