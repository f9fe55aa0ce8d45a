"""Which instrument each symbol meant, from the changes of symbol that the lake holds."""

from datetime import datetime

import polars as pl

from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.instruments import spells_of_actions


def read_spells(lake: Lake, *, known_at: datetime | None = None) -> pl.DataFrame:
    """Return the dated symbols of instruments as known at an instant (None: now), as `instruments.SYMBOL_SPELLS`."""
    return spells_of_actions(read_actions(lake, known_at=known_at))
