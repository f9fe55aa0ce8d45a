"""Information coefficients."""

from datetime import date
from itertools import chain

import polars as pl
import pytest

from trading_pipeline.core.training import information_coefficients
from trading_pipeline.core.training.evaluation import summarize

DAYS = [date(2024, 7, day) for day in (1, 2, 3)]


def _scored(scores: list[list[float]], labels: list[list[float]]) -> pl.DataFrame:
    sessions = [day for day, values in zip(DAYS, scores, strict=False) for _ in values]
    return pl.DataFrame({"session": sessions, "score": list(chain(*scores)), "label": list(chain(*labels))})


def test_perfect_and_reversed_orders_are_one_and_minus_one() -> None:
    """Each session stands alone, and only the order matters to the rank coefficient."""
    scored = _scored([[1.0, 2.0, 10.0], [1.0, 2.0, 3.0]], [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
    coefficients = information_coefficients(scored)
    assert [pytest.approx(1), pytest.approx(-1)] == coefficients["rank_ic"].to_list()
    assert [pytest.approx(0.9122, abs=1e-4), pytest.approx(-1)] == coefficients["ic"].to_list()


def test_sessions_without_differences_have_no_coefficient() -> None:
    """One symbol, or equal scores, say nothing about order: null, not zero and not NaN."""
    coefficients = information_coefficients(_scored([[1.0], [2.0, 2.0]], [[0.1], [0.1, 0.2]]))
    assert [(DAYS[0], None, None), (DAYS[1], None, None)] == coefficients.rows()
    assert {} == summarize(coefficients)


def test_summary_leaves_undefined_sessions_out() -> None:
    """Mean over standard deviation is the information ratio."""
    summary = summarize(pl.DataFrame({"session": DAYS, "ic": [0.1, None, 0.3], "rank_ic": [0.5, 0.5, 0.5]}))
    assert pytest.approx(0.2) == summary["ic_mean"]
    assert pytest.approx(0.2 / 0.02**0.5) == summary["icir"]
    assert "rank_icir" not in summary
