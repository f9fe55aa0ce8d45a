"""The Parquet lake."""

from typing import Any

import dagster as dg

from trading_pipeline.adapters.store.lake import Lake


class LakeResource(dg.ConfigurableResource[Any]):
    """Opens the lake under a folder or the URL of a bucket."""

    root: str

    def lake(self) -> Lake:
        """Return the lake."""
        return Lake(self.root)
