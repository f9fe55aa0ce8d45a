"""Real panels that may not be part of the project: tests that want them are skipped where the folder is absent."""

import os
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(os.environ.get("SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
"""The folder of the panels, by default beside the checkout."""


def shared_panel(source: str, name: str) -> pl.DataFrame:
    """Read a panel, or skip the test that asks for it."""
    file = ROOT / source / f"{name}.parquet"
    if not file.exists():
        pytest.skip(f"needs {source}/{name}.parquet in SHARED_DATA")
    return pl.read_parquet(file)
