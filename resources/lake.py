"""The Parquet lake."""

from pathlib import Path
from typing import Any

import dagster as dg

from trading_pipeline.adapters.store.lake import Lake


class LakeResource(dg.ConfigurableResource[Any]):
    """Opens the lake under a folder."""

    root: str

    def lake(self) -> Lake:
        """Return the lake."""
        return Lake(Path(self.root))
