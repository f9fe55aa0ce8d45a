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
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.sessions import xnys

SESSION = date(2023, 9, 20)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return an empty lake."""
    return Lake(tmp_path / "lake")


def materialize(lake: Lake, *assets: dg.AssetsDefinition, **tags: str) -> bool:
    """Run assets for the session with some tags and tell whether they succeeded."""
    resource = LakeResource(root=str(lake.root))
    market_data = MarketDataResource(
        lake=resource,
        universe=["AAPL", "META"],
        outlier_threshold=0.5,
        max_age_minutes=390,
        min_fresh_pct=90,
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            list(assets),
            instance=instance,
            partition_key=SESSION.isoformat(),
            resources={"lake": resource, "market_data": market_data},
            tags={f"trading/{name}": value for name, value in tags.items()},
            raise_on_error=False,
        )
    return result.success


def test_a_session_can_be_made_again_as_it_was_that_evening(lake: Lake):
    """A restated bar changes the bars of today, and not those of a run with the knowledge of before."""
    assert materialize(lake, raw_bars, gated_bars)
    then = datetime.now(UTC)
    bars = lake.read_session(Dataset.BARS, SESSION)
    row = BundledSample().bars([xnys().require(SESSION)], {"META"})
    lake.write(Dataset.IMPORTED_BARS, row.with_columns(volume=pl.lit(5.0)), sessions=[SESSION])

    assert materialize(lake, raw_bars, gated_bars)
    assert [5.0] == lake.read_session(Dataset.BARS, SESSION).filter(symbol="META")["volume"].to_list()
    assert materialize(lake, gated_bars, known_at=then.isoformat())
    assert_frame_equal(bars, lake.read_session(Dataset.BARS, SESSION))
    assert 3 == lake.read_session(Dataset.RAW_BARS, SESSION).height


def test_knowledge_of_no_instant_is_refused(lake: Lake):
    """Yesterday evening is not a time of a zone."""
    assert materialize(lake, raw_bars)
    assert not materialize(lake, gated_bars, known_at="2024-07-03 21:00")


def test_actions_are_there_without_a_vendor(lake: Lake):
    """The bundled sample needs none, and an asset that finds none succeeds."""
    assert materialize(lake, corporate_actions)
    assert [] == lake.sessions(Dataset.CORPORATE_ACTIONS)
