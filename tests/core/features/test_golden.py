"""Every operator on stored answers of pyqlib, where pyqlib itself is not installed."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from core.features.expressions import OPERATORS
from core.features.oracle import numbers, ours

GOLDEN = Path(__file__).parent / "golden" / "operators.parquet"


@pytest.fixture(scope="module")
def computed(awkward_bars: pl.DataFrame, calendar: list[date]) -> pl.DataFrame:
    """Our answers for the awkward panel, rounded where pyqlib rounds."""
    return ours(awkward_bars, calendar, {text: text for text in OPERATORS}, float32_steps=True)


def test_every_operator_agrees_with_the_stored_answers(computed: pl.DataFrame) -> None:
    """The same values are missing, the same infinite, and the others equal to 1e-5."""
    golden = pl.read_parquet(GOLDEN)
    mine = golden.select("symbol", "position").join(computed, on=["symbol", "position"], maintain_order="left")
    differing = [
        text
        for text in OPERATORS
        if not np.allclose(numbers(mine[text]), numbers(golden[text]), rtol=1e-5, atol=1e-9, equal_nan=True)
    ]
    assert [] == differing
