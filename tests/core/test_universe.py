"""Who was a member when, and which versions of a constituents file are believed."""

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shared_data import shared_panel

from trading_pipeline.core.sectors import sector_drift, universe_of_versions
from trading_pipeline.core.universe import MEMBERSHIP, Universe
from trading_pipeline.errors import DataQualityError

Row = tuple[str | None, date | None, date | None, str | None]


def spells(*rows: Row) -> pl.DataFrame:
    """Return membership spells."""
    return pl.DataFrame(list(rows), schema=MEMBERSHIP, orient="row")


def versions(*lists: dict[str, str], first: date = date(2018, 1, 2)) -> pl.DataFrame:
    """Return monthly versions of sectors by symbol."""
    rows = [(first + timedelta(days=30 * at), *pair) for at, one in enumerate(lists) for pair in one.items()]
    return pl.DataFrame(rows, schema=["as_of", "symbol", "sector"], orient="row")


def test_a_company_that_failed_is_a_member_of_its_days():
    """Lehman was one until it was not; who came later was not one then."""
    universe = Universe.of_spells(
        spells(
            ("LEH", date(1998, 1, 12), date(2008, 9, 16), "Financials"),
            ("FB", date(2013, 12, 23), date(2022, 6, 8), None),
            ("META", date(2022, 6, 9), None, None),
        )
    )

    assert {
        date(2008, 9, 16): ["LEH"],
        date(2013, 12, 23): ["FB"],
        date(2022, 6, 8): ["FB"],
        date(2022, 6, 9): ["META"],
    } == universe.members([date(2008, 9, 16), date(2013, 12, 23), date(2022, 6, 8), date(2022, 6, 9)])
    assert ["FB", "LEH", "META"] == universe.symbols


def test_a_member_may_leave_and_come_back():
    """AAL did, with another company behind it."""
    universe = Universe.of_spells(
        spells(("AAL", date(1996, 1, 2), date(1997, 1, 15), None), ("AAL", date(2015, 3, 23), date(2024, 9, 23), None))
    )

    assert [1, 0, 1] == [universe.on(day).height for day in (date(1997, 1, 15), date(1997, 1, 16), date(2015, 3, 23))]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ((None, date(2020, 1, 2), None, None), "has no symbol"),
        (("aapl", date(2020, 1, 2), None, None), "not in upper case"),
        (("AAPL", None, None, None), "has no first day"),
        (("AAPL", date(2020, 1, 3), date(2020, 1, 2), None), "ends before it begins"),
        (("MSFT", date(2020, 6, 1), None, None), "overlaps"),
    ],
)
def test_spells_that_state_no_universe_are_refused_by_name(row: Row, why: str):
    """A wrong file must not become a small universe."""
    with pytest.raises(DataQualityError, match=why):
        Universe.of_spells(spells(("MSFT", date(2019, 1, 2), date(2021, 1, 4), None), row))


def test_a_session_without_members_is_an_error():
    """An empty universe would count as fresh."""
    universe = Universe.of_spells(spells(("AAPL", date(2020, 1, 2), None, None)))
    with pytest.raises(DataQualityError, match="no member on 1 session"):
        universe.members([date(2019, 12, 31)])


@given(
    st.lists(
        st.dictionaries(st.sampled_from("ABCD"), st.sampled_from(["Energy", "Materials"]), min_size=1),
        min_size=1,
        max_size=6,
    )
)
def test_spells_give_back_every_version_that_is_believed(lists: list[dict[str, str]]):
    """Asked for the day of a version, and for the day before the next one."""
    universe, drifts = universe_of_versions(versions(*lists))

    believed = dict(lists[0])
    for at, one in enumerate(lists):
        if at and not drifts[at - 1].problem:
            believed = dict(one)
        day = date(2018, 1, 2) + timedelta(days=30 * at)
        for asked in (day, day + timedelta(days=29)):
            assert believed == dict(universe.on(asked).iter_rows())


def test_a_sector_that_is_renamed_is_no_drift():
    """All its members are in the new one, and nobody else."""
    before = {f"T{at}": "Telecommunication Services" for at in range(5)} | {"XOM": "Energy"}
    (drift,) = sector_drift(versions(before, {name: sector.replace("Tele", "C") for name, sector in before.items()}))

    assert ("", 0.0) == (drift.problem, drift.changed)
    assert {"Telecommunication Services": "Ccommunication Services"} == drift.renamed


def test_sub_industries_in_the_column_of_sectors_are_seen():
    """The version is refused by name and the sectors of before hold on; the next good one is used again."""
    good = {f"S{at}": ["Energy", "Materials", "Utilities"][at % 3] for at in range(30)}
    bad = {name: f"{sector} kind {at % 4}" for at, (name, sector) in enumerate(good.items())}
    universe, drifts = universe_of_versions(versions(good, bad, good))

    assert ["100% of the symbols have another sector: the column holds something else", ""] == [
        drift.problem for drift in drifts
    ]
    assert good == dict(universe.on(date(2018, 2, 5)).iter_rows())


def test_half_a_file_is_no_version():
    """Members that vanish together have not left."""
    good = {f"S{at}": "Energy" for at in range(30)}
    (drift,) = sector_drift(versions(good, dict(list(good.items())[:10])))

    assert "not whole" in drift.problem


def test_of_the_real_constituents_only_the_drifted_version_is_refused():
    """185 versions of the S&P 500: real changes of GICS pass, sub-industries in the sector column do not."""
    universe, drifts = universe_of_versions(shared_panel("constituents_sectors", "constituents_asof"))

    assert [date(2023, 3, 7)] == [drift.as_of for drift in drifts if drift.problem]
    assert 11 == universe.on(date(2023, 3, 8))["sector"].n_unique()
    assert {"American Airlines Group", "RVTY (Previously PKI)"} == {one for drift in drifts for one in drift.unreadable}


def test_the_real_spells_are_a_universe_without_survivorship():
    """Hundreds of members of 1996 are gone."""
    rows = shared_panel("constituents_sectors", "membership_spells_1996_2025").rename(
        {"start_date": "first_day", "end_date": "last_day"}
    )
    universe = Universe.of_spells(rows.with_columns(pl.lit(None, dtype=pl.String).alias("sector")))
    then, now = (set(universe.on(day)["symbol"]) for day in (date(1996, 1, 2), date(2025, 1, 2)))

    assert 480 < len(then) < 520
    assert 250 < len(then - now)
