"""The order path reads its gates itself."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from support.trading import SESSION, Kit

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.manifest import MANIFEST_SCHEMA
from trading_pipeline.core.portfolio import TARGET_SCHEMA
from trading_pipeline.errors import DataQualityError
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebalance import rebalance

CLOSE = datetime(2023, 9, 1, 20, tzinfo=UTC)
PINS = {"model_name": "m", "model_version": "1", "model_digest": "d"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with a target of three symbols, one of them stale and one judged by nobody."""
    opened = Lake(tmp_path)
    rows = [
        {
            "session": SESSION,
            "symbol": symbol,
            "score": 0.1,
            "rank": 1,
            "weight": 0.1,
            "target_shares": 10,
            "price": Decimal(100),
            "price_source": "close:test",
            "price_as_of": CLOSE,
            "notional": Decimal(1000),
            "capped_by": None,
        }
        for symbol in ("AAPL", "STALE", "UNSEEN")
    ]
    target = pl.DataFrame(rows, schema=TARGET_SCHEMA).with_columns(
        **{name: pl.lit(text) for name, text in PINS.items()}
    )
    opened.write(Dataset.TARGET_PORTFOLIO, target, sessions=[SESSION])
    _judge(opened, usable=True)
    return opened


def _judge(lake: Lake, *, usable: bool) -> None:
    states = {"AAPL": "fresh", "STALE": "stale"}
    rows = [
        {
            "session": SESSION,
            "symbol": symbol,
            "ended_at": CLOSE,
            "age_minutes": 0,
            "state": state,
            "session_usable": usable,
        }
        for symbol, state in states.items()
    ]
    lake.write(Dataset.FRESHNESS, pl.DataFrame(rows, schema=MANIFEST_SCHEMA), sessions=[SESSION])


def test_only_symbols_judged_fresh_are_traded(kit: Kit, lake: Lake) -> None:
    """Stale ones and those nobody judged are left out, by name."""
    result = rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run"))
    assert ["AAPL"] == [one.order.intent.symbol for one in result.submissions]
    assert {"STALE": "its data are stale", "UNSEEN": "its data are not judged"} == {
        one.symbol: one.reason for one in result.skipped
    }


def test_a_session_that_was_not_fresh_enough_makes_no_order(kit: Kit, lake: Lake) -> None:
    """Whatever an earlier run of another asset said."""
    _judge(lake, usable=False)
    with pytest.raises(DataQualityError, match="not fresh enough"):
        rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run"))
    assert [] == kit.broker.sent


def test_a_session_without_a_judgement_makes_no_order(kit: Kit, lake: Lake) -> None:
    """Unknown is no."""
    (lake.root / Dataset.FRESHNESS / "manifest.json").unlink()
    with pytest.raises(DataQualityError, match="freshness"):
        rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run"))
    assert [] == kit.broker.sent


def test_rebalancing_twice_sends_each_order_once(kit: Kit, lake: Lake) -> None:
    """The second finds the target pending already."""
    rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="first"))
    again = rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="second"))
    assert 1 == len(kit.broker.sent)
    assert "1 of 1 order(s) at the broker, 0 refused" == again.summary
