"""Panels of bars that the feature tests share."""

from datetime import date

import polars as pl
import pytest
from core.features.awkward import make_awkward_bars, make_calendar


@pytest.fixture(scope="session")
def calendar() -> list[date]:
    """Weekdays from the start of 2020."""
    return make_calendar()


@pytest.fixture(scope="session")
def awkward_bars(calendar: list[date]) -> pl.DataFrame:
    """Seeded bars with suspensions, a late listing, a single row, idle and constant stretches; exact in float32."""
    return make_awkward_bars(calendar)
