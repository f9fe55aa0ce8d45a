"""Where raw bars come from, and which symbols are expected."""

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from resources.alpaca_data import AlpacaDataResource
from resources.lake import LakeResource
from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.market_data.imported import ImportedBars
from trading_pipeline.adapters.market_data.source import BarSource, CombinedSource
from trading_pipeline.adapters.market_data.universe_file import expected_universe, read_universe
from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA, ActionKind
from trading_pipeline.core.quality import GateConfig
from trading_pipeline.core.sectors import SectorDrift
from trading_pipeline.core.universe import Universe

_DEFAULTS = GateConfig()


class MarketDataResource(dg.ConfigurableResource[Any]):
    """Imported bars first, then Alpaca's or the bundled sample; and what the gates ask of them.

    `outlier_threshold` is the largest move from the last good close, as a fraction of it; `max_age_minutes` counts
    minutes in which the exchange was open; `reference_vendor` names whose imported reference bars closes are compared
    with; `symbols` are those to keep bars of, one text with commas between, as Dagster checks every entry of a list a
    dozen times a run; `universe_file` says who was a member when (empty: all of them, always); `min_fresh_pct` is the
    share of the universe that must be fresh, percent.
    """

    lake: LakeResource
    alpaca: AlpacaDataResource | None = None
    symbols: str
    universe_file: str = ""
    outlier_threshold: float
    gap_threshold: float = _DEFAULTS.gap_threshold
    news_volume: float = _DEFAULTS.news_volume
    spike_score: float = _DEFAULTS.spike_score
    vendor_tolerance: float = _DEFAULTS.vendor_tolerance
    reference_vendor: str = ""
    max_age_minutes: int
    min_fresh_pct: float

    @property
    def universe(self) -> list[str]:
        """Every symbol to keep bars of."""
        return self.symbols.split(",")

    @property
    def gate(self) -> GateConfig:
        """The thresholds of the quality gate."""
        return GateConfig(
            outlier_threshold=self.outlier_threshold,
            gap_threshold=self.gap_threshold,
            news_volume=self.news_volume,
            spike_score=self.spike_score,
            vendor_tolerance=self.vendor_tolerance,
        )

    def members(self) -> Universe:
        """Return who is expected on which day.

        Raises:
            ConfigError: the file of the universe is of no use.
        """
        return expected_universe(self.universe, Path(self.universe_file) if self.universe_file else None)

    def sector_drift(self) -> list[SectorDrift]:
        """Return how each version of the universe's file compares with the one before it; nothing for spells."""
        return read_universe(Path(self.universe_file))[1] if self.universe_file else []

    def actions(self, start: date, end: date) -> pl.DataFrame:
        """Return the corporate actions that the vendor knows of around some days; the sample's prices need none."""
        if self.alpaca is None:
            return ACTION_SCHEMA.to_frame()
        return self.alpaca.data.actions.actions(start, end, self.universe)

    def source(self) -> BarSource:
        """Return the source of raw bars."""
        vendor: BarSource = BundledSample() if self.alpaca is None else self.alpaca.data.bars.cut_at(self._changes())
        return CombinedSource([ImportedBars(self.lake.lake()), vendor])

    def _changes(self) -> set[date]:
        """The days on which symbols changed, as far as `corporate_actions` knows."""
        actions = read_actions(self.lake.lake())
        return set(actions.filter(pl.col("kind") == ActionKind.SYMBOL_CHANGE.value)["ex_date"])
