"""Raw bars and bars as assets: a restatement, and that evening again."""

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets.bars import gated_bars
from assets.corporate_actions import corporate_actions
from assets.raw_bars import raw_bars
from resources import LakeResource, MarketDataResource
from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.market_data.importing import Defects, import_bars
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.sessions import xnys

SESSION = date(2023, 9, 20)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return an empty lake."""
    return Lake(tmp_path / "lake")


def materialize(lake: Lake, *assets: dg.AssetsDefinition, session: date = SESSION, **tags: str) -> bool:
    """Run assets for a session with some tags and tell whether they succeeded."""
    resource = LakeResource(root=str(lake.root))
    market_data = MarketDataResource(
        lake=resource,
        symbols="AAPL,META",
        outlier_threshold=0.5,
        max_age_minutes=390,
        min_fresh_pct=90,
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            list(assets),
            instance=instance,
            partition_key=session.isoformat(),
            resources={"lake": resource, "market_data": market_data},
            tags={f"trading/{name}": value for name, value in tags.items()},
            raise_on_error=False,
        )
    return result.success


def stored(lake: Lake) -> tuple[str, bytes]:
    """Return name and bytes of the file that holds the session's bars."""
    name = lake.catalog(Dataset.BARS).live[SESSION].part.name
    return name, (Path(lake.root) / Dataset.BARS / name).read_bytes()


def test_a_session_can_be_made_again_as_it_was_that_evening(lake: Lake):
    """A restated bar changes the bars of today, and not those of a run with the knowledge of before."""
    assert materialize(lake, raw_bars, gated_bars)
    then = datetime.now(UTC)
    bars, written = lake.read_session(Dataset.BARS, SESSION), stored(lake)
    row = BundledSample().bars([xnys().require(SESSION)], {"META"})
    lake.write(Dataset.IMPORTED_BARS, row.with_columns(volume=pl.lit(5.0)), sessions=[SESSION])

    assert materialize(lake, raw_bars, gated_bars)
    assert [5.0] == lake.read_session(Dataset.BARS, SESSION).filter(symbol="META")["volume"].to_list()
    assert materialize(lake, gated_bars, known_at=then.isoformat())
    assert_frame_equal(bars, lake.read_session(Dataset.BARS, SESSION))
    assert written == stored(lake)
    assert 3 == lake.read_session(Dataset.RAW_BARS, SESSION).height


def imported(lake: Lake, folder: Path, text: str, **options: object) -> None:
    """Import lines of a file, now."""
    file = folder / "bars.csv"
    file.write_text(f"symbol,session,open,high,low,close,volume\n{text}")
    import_bars(file, lake, calendar=xnys(), now=datetime.now(UTC), **options)


def test_an_import_with_other_values_is_a_second_version(lake: Lake, tmp_path: Path):
    """Whether the bars were made in between or not; each is known from its import on."""
    imported(lake, tmp_path, "META,2023-09-20,300,310,290,301,1000\n")
    between = datetime.now(UTC)
    imported(lake, tmp_path, "META,2023-09-20,300,310,290,302,1000\n")
    assert materialize(lake, raw_bars, gated_bars)
    assert [302.0] == lake.read_session(Dataset.BARS, SESSION).filter(symbol="META")["close"].to_list()
    imported(lake, tmp_path, "META,2023-09-20,300,310,290,303,1000\n")
    assert materialize(lake, raw_bars, gated_bars)

    raw = lake.read_session(Dataset.RAW_BARS, SESSION).filter(symbol="META").sort("known_at")
    assert [301.0, 302.0, 303.0] == raw["close"].to_list()
    assert materialize(lake, gated_bars, known_at=between.isoformat())
    assert [301.0] == lake.read_session(Dataset.BARS, SESSION).filter(symbol="META")["close"].to_list()


def test_defects_of_a_file_end_in_quarantine_and_no_row_is_lost(lake: Lake, tmp_path: Path):
    """Raw is bars and quarantined. A bar of the Labor Day weekend is filed with the session after it."""
    day = date(2023, 9, 5)
    text = "META,2023-09-05,300,310,,301,1000\nAAPL,2023-09-05,-1,190,187,189,1000\nMETA,2023-09-04,9,9,9,9,9\n"
    imported(lake, tmp_path, text, defects=Defects.QUARANTINE)
    assert materialize(lake, raw_bars, gated_bars, session=day)

    raw, bars, quarantined = (
        lake.read_session(dataset, day) for dataset in (Dataset.RAW_BARS, Dataset.BARS, Dataset.QUARANTINED_BARS)
    )
    assert [3, 0, 3] == [raw.height, bars.height, quarantined.height]
    assert {("META", "missing_price"), ("AAPL", "non_positive_price"), ("META", "not_a_session")} == {
        (symbol, reason.partition(";")[0]) for symbol, reason in quarantined.select("symbol", "reason").rows()
    }


def test_a_bar_of_a_closed_day_leaves_the_session_to_the_next_source(lake: Lake, tmp_path: Path):
    """The file has no bar of the session itself: the sample's is used."""
    day = date(2023, 9, 5)
    imported(lake, tmp_path, "META,2023-09-04,9,9,9,9,9\n", defects=Defects.QUARANTINE)
    assert materialize(lake, raw_bars, gated_bars, session=day)

    assert {"AAPL", "META"} == set(lake.read_session(Dataset.BARS, day)["symbol"])
    assert ["not_a_session"] == lake.read_session(Dataset.QUARANTINED_BARS, day)["reason"].to_list()


def test_knowledge_of_no_instant_is_refused(lake: Lake):
    """Yesterday evening is not a time of a zone."""
    assert materialize(lake, raw_bars)
    assert not materialize(lake, gated_bars, known_at="2024-07-03 21:00")


def test_actions_are_there_without_a_vendor(lake: Lake):
    """The bundled sample needs none, and an asset that finds none succeeds."""
    assert materialize(lake, corporate_actions)
    assert [] == lake.sessions(Dataset.CORPORATE_ACTIONS)
