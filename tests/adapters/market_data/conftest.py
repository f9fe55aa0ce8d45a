"""A lake and a clock for the tests of sources and imports."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from trading_pipeline.adapters.store.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return an empty lake."""
    return Lake(tmp_path / "lake")


@pytest.fixture
def now() -> datetime:
    """Return an instant after the close of 2024-07-31."""
    return datetime(2024, 7, 31, 21, 0, tzinfo=UTC)
