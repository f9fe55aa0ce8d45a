"""The universe from a file, from `UNIVERSE` to the freshness that every session is judged by."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from assets.features import write_freshness
from resources import LakeResource
from resources.market_data import MarketDataResource
from trading_pipeline.adapters.market_data.universe_file import read_universe
from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.core.bars import closes_of
from trading_pipeline.core.sessions import xnys
from trading_pipeline.definitions import build_resources
from trading_pipeline.errors import ConfigError
from trading_pipeline.settings import load_settings

SPELLS = "Ticker,from,to,sector,note\nFB,2012-05-18,2022-06-08,Technology,x\nMETA,2022-06-09,,Technology,\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two spells."""
    path = tmp_path / "Members.csv"
    path.write_text(SPELLS)
    return path


def resource(file: Path, monkeypatch: pytest.MonkeyPatch) -> MarketDataResource:
    """Return what the pipeline makes of `UNIVERSE=FILE`."""
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("UNIVERSE", str(file))
    made = build_resources(load_settings())["market_data"]
    assert isinstance(made, MarketDataResource)
    return made


def test_spells_are_read_from_csv_and_parquet(file: Path):
    """Under the names that such files use; what else they hold is left alone."""
    parquet = file.with_suffix(".parquet")
    pl.read_csv(file, try_parse_dates=True).write_parquet(parquet)
    for path in (file, parquet):
        universe, drifts = read_universe(path)
        assert [] == drifts
        assert [("META", "Technology")] == universe.on(date(2024, 7, 3)).rows()


def test_versions_are_read_as_spells(tmp_path: Path):
    """Each version holds until the next."""
    path = tmp_path / "versions.csv"
    path.write_text("as_of,symbol,sector\n2020-01-02,AAA,Energy\n2020-02-03,AAA,Energy\n2020-02-03,BBB,Energy\n")
    universe, drifts = read_universe(path)

    assert [date(2020, 2, 3)] == [drift.as_of for drift in drifts]
    assert {date(2020, 1, 31): ["AAA"], date(2020, 2, 3): ["AAA", "BBB"]} == universe.members(
        [date(2020, 1, 31), date(2020, 2, 3)]
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("symbol,to\nA,2020-01-02\n", "lacks first_day"),
        ("symbol,from\nA,soon\n", "soon"),
        ("symbol,from\n", "nothing is a member"),
        ("symbol,from,to\nA,2020-01-02,\nA,2021-01-04,\n", "overlaps"),
    ],
)
def test_a_file_of_no_use_stops_the_start(file: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str):
    """Not the session at night."""
    file.write_text(text)
    with pytest.raises(ConfigError, match=why):
        resource(file, monkeypatch)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    """With its path."""
    with pytest.raises(ConfigError, match=r"gone\.csv cannot be read"):
        read_universe(tmp_path / "gone.csv")


def test_every_session_expects_the_members_of_its_day(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """FB is expected, and missing where it has no bar, up to its last day; META from its first; all bars are kept."""
    market_data = resource(file, monkeypatch)
    assert ["FB", "META"] == market_data.universe
    sessions = xnys().between(date(2022, 6, 7), date(2022, 6, 9))
    rows = pl.DataFrame({"session": sessions, "symbol": ["FB", "META", "META"]})
    bars = rows.with_columns(closes_of(rows["session"]))
    store = LakeResource(root=str(tmp_path / "lake")).lake()
    store.write(Dataset.BARS, bars, sessions=sessions)
    manifest = write_freshness(store, market_data.model_copy(update={"max_age_minutes": 30}), sessions)

    assert [
        (date(2022, 6, 7), "FB", "fresh", True),
        (date(2022, 6, 8), "FB", "stale", False),
        (date(2022, 6, 9), "META", "fresh", True),
    ] == manifest.select("session", "symbol", "state", "session_usable").rows()
