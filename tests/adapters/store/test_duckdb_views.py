"""SQL views over the lake: which exist, what they return, and that any root path is taken literally."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path

import duckdb
import polars as pl
import pytest

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.store.duckdb_views import connect_views, read_query
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.quality import judge_bars
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ConfigError, DataQualityError

DAYS = xnys().between(date(2023, 9, 11), date(2023, 9, 21))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake of nine sessions of two symbols, AAPL's last row broken."""
    broken = (pl.col("symbol") == "AAPL") & (pl.col("session") == DAYS[-1])
    raw = BundledSample().bars(DAYS, {"AAPL", "META"})
    raw = raw.with_columns(pl.when(broken).then(-1.0).otherwise("volume").alias("volume"))
    result = judge_bars(raw, last_good={})
    lake = Lake(tmp_path / "lake")
    lake.write(Dataset.BARS, result.bars, sessions=DAYS)
    lake.write(Dataset.QUARANTINED_BARS, result.quarantined, sessions=DAYS)
    return lake


@pytest.fixture
def views(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a connection to the views of the lake."""
    with closing(connect_views(lake)) as connection:
        yield connection


def tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of all views."""
    return {name for (name,) in connection.execute("SHOW TABLES").fetchall()}


def test_only_datasets_that_exist_have_views(views: duckdb.DuckDBPyConnection):
    """And views made of them, but none of what was never written."""
    assert {"bars", "quarantined_bars", "latest_bars", "daily_returns"} == tables(views)


def test_an_empty_lake_has_no_views(tmp_path: Path):
    """There is nothing to ask yet, and no error."""
    with closing(connect_views(Lake(tmp_path / "nowhere"))) as connection:
        assert set() == tables(connection)


def test_every_dataset_has_a_view(tmp_path: Path):
    """One that is added to the lake needs nothing else."""
    lake = Lake(tmp_path / "lake")
    for dataset in Dataset:
        lake.write(dataset, pl.DataFrame({"session": DAYS[:1], "symbol": ["A"]}), sessions=DAYS[:1])
    rows = {"session": DAYS[:1], "symbol": ["A"], "close": [1.0], "known_at": [datetime(2024, 1, 1, tzinfo=UTC)]}
    for dataset in (Dataset.BARS, Dataset.RAW_BARS, Dataset.IMPORTED_BARS):
        lake.write(dataset, pl.DataFrame(rows), sessions=DAYS[:1])

    with closing(connect_views(lake)) as connection:
        assert {dataset.value for dataset in Dataset} <= tables(connection)


def test_a_view_returns_the_rows_with_their_types(views: duckdb.DuckDBPyConnection):
    """The session is the date of the file, not text from the folder name; times are UTC."""
    row = views.execute("SELECT session, symbol, ended_at, vwap FROM bars ORDER BY ALL LIMIT 1").fetchone()

    assert (DAYS[0], "AAPL", datetime(2023, 9, 11, 20, tzinfo=UTC), None) == row
    assert (17,) == views.execute("SELECT count(*) FROM bars").fetchone()


def test_a_connection_shows_the_lake_as_of_its_opening(views: duckdb.DuckDBPyConnection, lake: Lake):
    """Replaced sessions appear once, in the connection opened after."""
    lake.write(Dataset.BARS, BundledSample().bars(DAYS[:1], {"AAPL"}), sessions=DAYS[:1])

    assert (17,) == views.execute("SELECT count(*) FROM bars").fetchone()
    with closing(connect_views(lake)) as later:
        assert (16,) == later.execute("SELECT count(*) FROM bars").fetchone()
        assert [("AAPL",)] == later.execute(f"SELECT symbol FROM bars WHERE session = '{DAYS[0]}'").fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/never.csv'",
        "ATTACH '/tmp/never.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/etc/passwd']",
    ],
)
def test_a_connection_reaches_nothing_but_the_lake(views: duckdb.DuckDBPyConnection, statement: str):
    """Whatever the SQL says."""
    with pytest.raises(duckdb.Error):
        views.execute(statement)


def test_the_latest_bar_of_each_symbol(views: duckdb.DuckDBPyConnection):
    """The quarantined last row of AAPL is no bar."""
    rows = views.execute("SELECT symbol, session FROM latest_bars ORDER BY symbol").fetchall()

    assert [("AAPL", DAYS[-2]), ("META", DAYS[-1])] == rows


def test_daily_returns_are_close_to_close(views: duckdb.DuckDBPyConnection, lake: Lake):
    """The first bar has none, and a weekend counts its days."""
    rows = views.execute(
        "SELECT close_return, days_since_previous FROM daily_returns WHERE symbol = 'META' ORDER BY session"
    )
    closes = lake.read(Dataset.BARS, start=DAYS[0], end=DAYS[-1]).filter(symbol="META")["close"]
    expected = (closes / closes.shift(1) - 1).to_list()

    returns, days = zip(*rows.fetchall(), strict=True)
    assert expected[0] is returns[0] is None
    assert pytest.approx(expected[1:]) == list(returns[1:])
    assert (None, 1, 1, 1, 1, 3, 1, 1, 1) == days


@pytest.mark.parametrize("name", ["it's", "a [b] *c? {d}", "ä ö;--", 'say "x"', "$lake_root", "session=1"])
def test_any_root_path_is_taken_literally(tmp_path: Path, name: str):
    """Quotes end no string and glob characters match nothing else."""
    for root in (tmp_path / name, tmp_path / "a b *c? d"):
        Lake(root).write(Dataset.BARS, BundledSample().bars(DAYS[:1], {"AAPL"}), sessions=DAYS[:1])

    with closing(connect_views(Lake(tmp_path / name))) as connection:
        assert (1,) == connection.execute("SELECT count(*) FROM bars").fetchone()


def test_coverage_by_symbol(views: duckdb.DuckDBPyConnection):
    """First and last session, bars, and sessions missing in between."""
    expected = [("AAPL", DAYS[0], DAYS[-2], 8, 0), ("META", DAYS[0], DAYS[-1], 9, 0)]

    assert expected == views.execute(read_query("coverage_by_symbol")).fetchall()


def test_coverage_counts_missing_sessions(lake: Lake):
    """A hole within the span of a symbol is one session of the others."""
    lake.write(Dataset.BARS, BundledSample().bars(DAYS[3:4], {"META"}), sessions=DAYS[3:4])

    with closing(connect_views(lake)) as views:
        assert ("AAPL", DAYS[0], DAYS[-2], 7, 1) == views.execute(read_query("coverage_by_symbol")).fetchone()


def test_quarantine_by_reason(views: duckdb.DuckDBPyConnection):
    """Each reason with its rows."""
    assert [("negative_volume", 1, 1, DAYS[-1], DAYS[-1])] == views.execute(
        read_query("quarantine_by_reason")
    ).fetchall()


def test_every_query_runs(views: duckdb.DuckDBPyConnection):
    """No query of sql/queries has fallen behind the views."""
    names = [Path(entry.name).stem for entry in files("sql").joinpath("queries").iterdir()]

    assert len(names) >= 3
    assert all(views.execute(read_query(name)).fetchall() for name in names)


def test_an_unknown_query_lists_those_there_are():
    """The reader need not look for the folder."""
    with pytest.raises(ConfigError, match="choose one of coverage_by_symbol, "):
        read_query("nothing")


def test_files_that_do_not_fit_a_view_are_reported(lake: Lake):
    """The message names the view, and no half-made connection is left."""
    for day in DAYS:
        lake.write(Dataset.BARS, pl.DataFrame({"session": [day], "value": [1.0]}), sessions=[day])

    with pytest.raises(DataQualityError, match="view daily_returns does not fit"):
        connect_views(lake)


def test_no_extension_is_ever_fetched(views: duckdb.DuckDBPyConnection):
    """A query does not reach for the network."""
    setting = "SELECT current_setting('autoinstall_known_extensions'), current_setting('autoload_known_extensions')"

    assert (False, False) == views.execute(setting).fetchone()
