"""What `inspect` finds, and actions imported from files."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.market_data.importing.action_file import read_action_file
from trading_pipeline.adapters.store.actions import read_actions, record_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import BarFileInvalid, DataQualityError
from trading_pipeline.services.inspection import inspect_symbol, price_histories, worth_a_look

DAYS = xnys().between(date(2023, 9, 11), date(2023, 9, 15))
EVENING = datetime(2023, 9, 15, 21, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake of one symbol, one of its bars restated."""
    lake = Lake(tmp_path / "lake")
    bars = BundledSample().bars(DAYS, {"AAPL"})
    record_raw_bars(lake, bars, sessions=DAYS, now=EVENING)
    restated = bars.with_columns(pl.when(pl.col("session") == DAYS[1]).then(1.0).otherwise("volume").alias("volume"))
    record_raw_bars(lake, restated, sessions=DAYS, now=EVENING + timedelta(days=1))
    lake.write(Dataset.BARS, bars, sessions=DAYS)
    return lake


def actions_file(folder: Path, text: str) -> Path:
    """Return a file of actions."""
    path = folder / "actions.csv"
    path.write_text(text)
    return path


def test_a_symbol_is_shown_with_its_versions_and_actions(lake: Lake, tmp_path: Path):
    """The restated bar in both versions; as known that evening, in none."""
    path = actions_file(tmp_path, "symbol,ex_date,kind,amount\nAAPL,2023-09-13,cash_dividend,0.24\n")
    record_actions(lake, read_action_file(path, now=EVENING + timedelta(days=2)))

    report = inspect_symbol(lake, "AAPL", newest=2)
    assert DAYS[-2:] == report.bars["session"].to_list()
    assert [DAYS[1]] * 2 == report.restated["session"].to_list()
    assert [0.24] == report.actions["amount"].to_list()
    then = inspect_symbol(lake, "AAPL", newest=2, known_at=EVENING)
    assert then.restated.is_empty()
    assert then.actions.is_empty()
    with pytest.raises(DataQualityError, match="knows no NONE"):
        inspect_symbol(lake, "NONE", newest=2)


def test_what_is_drawn_of_a_symbol_is_what_the_lake_has(lake: Lake, tmp_path: Path):
    """Its bars, quarantine and actions of the span, those of nobody else, as known at an instant."""
    bars = lake.read(Dataset.BARS, start=DAYS[0], end=DAYS[-1])
    lake.write(Dataset.QUARANTINED_BARS, bars.filter(pl.col("session") == DAYS[2]), sessions=DAYS)
    text = "symbol,ex_date,kind,amount\nAAPL,2023-09-13,cash_dividend,0.24\nMETA,2023-09-13,cash_dividend,0.1\n"
    record_actions(lake, read_action_file(actions_file(tmp_path, text), now=EVENING))

    aapl, none = price_histories(lake, ["AAPL", "NONE"], start=DAYS[1], end=DAYS[3])
    assert DAYS[1:4] == aapl.bars["session"].to_list()
    assert [[DAYS[2]], [0.24]] == [aapl.quarantined["session"].to_list(), aapl.actions["amount"].to_list()]
    assert ["NONE", 0, 0] == [none.symbol, none.bars.height, none.actions.height]
    (before,) = price_histories(lake, ["AAPL"], known_at=EVENING - timedelta(hours=1))
    assert [5, 0] == [before.bars.height, before.actions.height]


def test_the_most_doubtful_symbols_come_first_then_the_most_traded():
    """A symbol all of whose rows are in quarantine is among them; one without a name is not."""
    bars = pl.DataFrame({"symbol": ["BIG", "SMALL", "BAD"], "close": [9.0, 1.0, 1.0], "volume": [9.0, 1.0, 1.0]})
    quarantined = pl.DataFrame({"symbol": ["BAD", "WORST", "WORST", None, None, None]})
    assert ["WORST", "BAD", "BIG"] == worth_a_look(bars, quarantined, count=3)
    assert ["BIG", "BAD"] == worth_a_look(bars, quarantined.clear(), count=2)


def test_a_file_imported_again_adds_nothing_and_a_corrected_one_a_version(lake: Lake, tmp_path: Path):
    """Known from the import on, unless the file says since when."""
    text = "symbol,ex_date,kind,amount\nAAPL,2023-09-13,cash_dividend,0.24\n"
    first = read_action_file(actions_file(tmp_path, text), now=EVENING)
    again = read_action_file(actions_file(tmp_path, text), now=EVENING + timedelta(hours=1))
    corrected = read_action_file(actions_file(tmp_path, text.replace("0.24", "0.25")), now=EVENING + timedelta(hours=2))

    assert [1, 0, 1] == [record_actions(lake, frame) for frame in (first, again, corrected)]
    assert [0.25] == read_actions(lake)["amount"].to_list()
    assert [0.24] == read_actions(lake, known_at=EVENING)["amount"].to_list()


def test_known_at_of_a_file_is_read_with_its_offset(tmp_path: Path):
    """As text or typed; naive times of Parquet are refused as well."""
    text = "symbol,ex_date,kind,ratio,known_at\nA,2023-09-13,split,2,2023-09-13T10:00:00-04:00\n"
    read = read_action_file(actions_file(tmp_path, text), now=EVENING)
    assert [datetime(2023, 9, 13, 14, tzinfo=UTC)] == read["known_at"].to_list()

    typed = tmp_path / "actions.parquet"
    read.select("symbol", "ex_date", "kind", "ratio", "known_at").write_parquet(typed)
    assert read["known_at"].equals(read_action_file(typed, now=EVENING)["known_at"])
    read.select("symbol", "ex_date", "kind", "ratio", pl.col("known_at").dt.replace_time_zone(None)).write_parquet(
        typed
    )
    with pytest.raises(BarFileInvalid, match="known_at has no time zone"):
        read_action_file(typed, now=EVENING)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("symbol,kind\nA,split\n", "columns missing: ex_date"),
        ("symbol,ex_date,kind,price\nA,2023-09-13,split,1\n", "unknown: price"),
        ("symbol,ex_date,kind,ratio\nA,13.9.2023,split,2\n", "does not parse"),
        ("symbol,ex_date,kind,ratio\nA,2023-09-13,split,two\n", "does not parse"),
        ("symbol,ex_date,kind,ratio\nA,2023-09-13,split,-2\n", "not positive"),
        ("symbol,ex_date,kind\nA,2023-09-13,halving\n", "unknown kind"),
        (
            "symbol,ex_date,kind,ratio\na,2023-09-13,split,2\n",
            "line 2, column symbol: 'a' is not how .* use 'A'",
        ),
        ("symbol,ex_date,kind,other_symbol\nA,2023-09-13,symbol_change,B \n", "other_symbol: 'B ' is not how"),
        ("symbol,ex_date,kind,ratio,known_at\nA,2023-09-13,split,2,2023-09-13 10:00\n", "known_at has no time zone"),
        (
            "symbol,ex_date,kind,ratio,known_at\nA,2023-09-13,split,2,2030-01-01T00:00:00Z\n",
            "line 2, column known_at: 2030.* has not come yet",
        ),
    ],
)
def test_a_wrong_file_is_refused_whole(tmp_path: Path, text: str, message: str):
    """With what is wrong and where."""
    with pytest.raises((BarFileInvalid, DataQualityError), match=message):
        read_action_file(actions_file(tmp_path, text), now=EVENING)
