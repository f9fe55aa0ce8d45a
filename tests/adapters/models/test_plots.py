"""The picture of the information coefficients."""

from datetime import date, timedelta

import polars as pl

from trading_pipeline.adapters.models import ic_plot


def test_plot_is_an_svg_even_with_undefined_sessions() -> None:
    """Sessions without a coefficient leave gaps and do not break the picture."""
    sessions = [date(2024, 1, 1) + timedelta(days=day) for day in range(60)]
    values = [None if place % 7 == 0 else place / 100 - 0.3 for place in range(60)]
    image = ic_plot(pl.DataFrame({"session": sessions, "ic": values, "rank_ic": values}))
    assert image.startswith(b"<?xml")
    assert b"</svg>" in image


def test_plot_of_sessions_that_are_all_undefined_is_drawn() -> None:
    """A universe of one symbol has no coefficients at all."""
    ic = pl.DataFrame(
        {"session": [date(2024, 1, 1), date(2024, 1, 2)], "ic": [None, None], "rank_ic": [None, None]},
        schema_overrides={"ic": pl.Float64, "rank_ic": pl.Float64},
    )
    assert b"</svg>" in ic_plot(ic)
