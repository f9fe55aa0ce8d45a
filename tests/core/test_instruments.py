"""Identity: symbols that change, and symbols that are used again."""

from datetime import date

import polars as pl
import pytest

from trading_pipeline.core.instruments import identify, require_spells, spells_of_map_file
from trading_pipeline.errors import DataQualityError

MAP = pl.DataFrame(
    [
        ("GARBAGE", date(1998, 1, 2), "UW"),
        ("GARBAGE", date(1998, 7, 16), "UW"),
        ("GARBAGE", date(2009, 8, 4), "WMI"),
        ("GARBAGE", date(2050, 12, 31), "WM"),
        ("BANK", date(1998, 1, 2), "WM"),
        ("BANK", date(2008, 9, 26), "WM"),
    ],
    schema=["permtick", "date", "mapped_symbol"],
    orient="row",
)


def rows(*pairs: tuple[str, date]) -> pl.DataFrame:
    """Return rows of symbol and session."""
    return pl.DataFrame(list(pairs), schema=["symbol", "session"], orient="row")


def test_a_symbol_means_what_it_meant_on_the_day():
    """One symbol, two companies; one company, three symbols; between them nobody."""
    asked = rows(
        ("WM", date(2009, 8, 5)),
        ("WM", date(2008, 9, 26)),
        ("WM", date(2008, 9, 29)),
        ("UW", date(1998, 7, 16)),
        ("WMI", date(1998, 7, 17)),
        ("WMI", date(1998, 7, 16)),
        ("AAPL", date(2020, 1, 2)),
    )

    assert ["GARBAGE", "BANK", None, "GARBAGE", "GARBAGE", None, "AAPL"] == identify(asked, spells_of_map_file(MAP))[
        "instrument"
    ].to_list()


def test_one_symbol_of_two_instruments_on_a_day_is_an_error():
    """There would be no telling them apart."""
    spells = spells_of_map_file(MAP).with_columns(
        pl.when(pl.col("instrument") == "BANK").then(date(2010, 1, 4)).otherwise("last_day").alias("last_day")
    )
    with pytest.raises(DataQualityError, match="WM means GARBAGE from 2009-08-05 on"):
        require_spells(spells)
