"""Identity: symbols that change, and symbols that are used again."""

from datetime import date

import polars as pl
import pytest
from support.shared_data import shared_panel

from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.core.instruments import (
    identify,
    identify_actions,
    require_spells,
    spells_of_actions,
    spells_of_map_file,
)
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


def actions(*rows: tuple[date, str, str, str | None]) -> pl.DataFrame:
    """Return actions of day, symbol, kind and other symbol."""
    columns = dict.fromkeys(ACTION_SCHEMA)
    return pl.DataFrame(
        [
            columns | {"action_id": f"{at}", "ex_date": day, "symbol": symbol, "kind": kind, "other_symbol": other}
            for at, (day, symbol, kind, other) in enumerate(rows)
        ],
        schema=ACTION_SCHEMA,
    )


REAL = actions(
    (date(1998, 7, 17), "UW", "symbol_change", "WMI"),
    (date(2003, 3, 31), "FB", "merger", None),
    (date(2008, 9, 29), "WM", "symbol_change", "WAMUQ"),
    (date(2009, 8, 5), "WMI", "symbol_change", "WM"),
    (date(2014, 4, 3), "GOOG", "symbol_change", "GOOGL"),
    (date(2014, 4, 3), "GOOCV", "symbol_change", "GOOG"),
    (date(2022, 1, 31), "META", "symbol_change", "METV"),
    (date(2022, 6, 9), "FB", "symbol_change", "META"),
)


@pytest.mark.parametrize(
    ("symbol", "day", "instrument"),
    [
        ("WM", date(2008, 9, 26), "WM"),
        ("WM", date(2009, 3, 2), "WM@2008-09-29"),
        ("WM", date(2009, 8, 5), "UW"),
        ("WMI", date(2009, 8, 4), "UW"),
        ("GOOG", date(2014, 4, 2), "GOOG"),
        ("GOOG", date(2014, 4, 3), "GOOCV"),
        ("GOOGL", date(2014, 4, 3), "GOOG"),
        ("FB", date(2003, 3, 28), "FB"),
        ("FB", date(2012, 5, 18), "FB@2003-03-31"),
        ("META", date(2022, 6, 9), "FB@2003-03-31"),
        ("META", date(2022, 1, 28), "META"),
        ("METV", date(2022, 6, 9), "META"),
        ("AAPL", date(2022, 6, 9), "AAPL"),
    ],
)
def test_changes_of_symbol_say_who_was_meant(symbol: str, day: date, instrument: str):
    """Washington Mutual, Waste Management and nobody; two classes of Google; a bank, Facebook and a fund."""
    assert [instrument] == identify(rows((symbol, day)), spells_of_actions(REAL))["instrument"].to_list()


def test_later_changes_rename_no_instrument():
    """What was computed with the knowledge of then keeps its names."""
    day = date(2014, 4, 2)
    early = spells_of_actions(REAL.filter(pl.col("ex_date") <= day))
    asked = rows(*((symbol, day) for symbol in ("WM", "GOOG", "GOOGL", "FB", "META", "UW")))

    assert identify(asked, early).equals(identify(asked, spells_of_actions(REAL)))


def test_an_action_on_the_day_of_the_change_is_the_companys_under_either_symbol():
    """A reverse split together with a new symbol is told under the old or the new one."""
    told = actions((date(2022, 6, 9), "FB", "reverse_split", None), (date(2022, 6, 9), "META", "reverse_split", None))

    assert ["FB@2003-03-31"] * 2 == identify_actions(told, spells_of_actions(REAL))["symbol"].to_list()


def test_two_companies_cannot_take_one_symbol_on_one_day():
    """One of the two changes is wrong, and nobody can tell which."""
    with pytest.raises(DataQualityError, match="both become C on 2020-01-02"):
        spells_of_actions(
            actions((date(2020, 1, 2), "A", "symbol_change", "C"), (date(2020, 1, 2), "B", "symbol_change", "C"))
        )


def test_changes_say_what_the_real_map_files_say():
    """WM, GOOG and FB of LEAN, told as changes of symbol."""
    spells = spells_of_map_file(shared_panel("lean_apache2", "map_files"))
    ours = spells_of_actions(REAL)
    for symbol, day in [("WM", date(2012, 1, 3)), ("GOOG", date(2012, 1, 3)), ("GOOGL", date(2016, 1, 4))]:
        theirs = identify(rows((symbol, day)), spells)["instrument"][0]
        known = ours.filter(pl.col("instrument") == identify(rows((symbol, day)), ours)["instrument"][0])
        assert set(spells.filter(pl.col("instrument") == theirs)["symbol"]) <= set(known["symbol"])
