"""The order path reads its gates itself."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from support.alpaca.bench import alpaca_account, alpaca_bench
from support.session_lake import arrive, judge, session_lake, target
from support.slices import Prices
from support.trading import ACCOUNT, SESSION, Kit

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.quality import GateConfig
from trading_pipeline.errors import GateNotPassed
from trading_pipeline.services.gate import judge_sessions
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebalance import rebalance


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with a target of four symbols: one is stale, one in quarantine, and one judged by nobody."""
    return session_lake(tmp_path)


def test_only_symbols_judged_fresh_are_traded(kit: Kit, lake: Lake) -> None:
    """Stale ones, those in quarantine and those nobody judged are left out, by name."""
    result = rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run"))
    assert ["AAPL"] == [one.order.intent.symbol for one in result.submissions]
    assert {
        "HELD": "its bar is in quarantine: high_too_low;low_too_high",
        "STALE": "its data are stale",
        "UNSEEN": "its data are not judged",
    } == {one.symbol: one.reason for one in result.skipped}


def test_a_session_that_was_not_fresh_enough_makes_no_order(kit: Kit, lake: Lake) -> None:
    """Whatever an earlier run of another asset said."""
    judge(lake, usable=False)
    with pytest.raises(GateNotPassed, match="freshness gate: it was not fresh enough, 2 of 3 symbols"):
        rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run"))
    assert [] == kit.broker.sent


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (Dataset.FRESHNESS, "no freshness was judged"),
        (Dataset.SESSION_VERDICTS, "no quality gate has judged it"),
        (Dataset.BARS, "no bars of"),
        (Dataset.QUARANTINED_BARS, "no quarantined_bars of"),
        (Dataset.RAW_BARS, "no raw_bars at all"),
    ],
)
def test_a_session_without_a_judgement_makes_no_order(kit: Kit, lake: Lake, dataset: Dataset, says: str) -> None:
    """Unknown is no, whichever part of the judgement is not there."""
    (lake.root / dataset / "manifest.json").unlink()
    with pytest.raises(GateNotPassed, match=says):
        rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run"))
    assert [] == kit.broker.sent


def test_bars_restated_since_they_were_judged_make_no_order(kit: Kit, lake: Lake) -> None:
    """What would be traded on is not what the gate has seen; once judged again it is."""
    arrive(lake, restated=0.5)
    with pytest.raises(GateNotPassed, match=r"restated since.*Materialise `bars`"):
        rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run"))
    assert [] == kit.broker.sent
    judge_sessions(lake, [SESSION], GateConfig())
    assert 1 == len(rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run")).submissions)


def test_a_gate_interrupted_while_it_filed_makes_no_order(kit: Kit, lake: Lake) -> None:
    """Bars without their quarantine are half an answer."""
    rows = lake.read_session(Dataset.QUARANTINED_BARS, SESSION)
    lake.write(Dataset.QUARANTINED_BARS, rows.clear(), sessions=[SESSION])
    with pytest.raises(GateNotPassed, match="3 raw bars are not the 2 that were judged"):
        rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run"))
    assert [] == kit.broker.sent


def test_a_hole_of_the_vendor_makes_no_order(kit: Kit, lake: Lake) -> None:
    """The refusal names the gate, the verdict and the counts."""
    rows = lake.read_session(Dataset.SESSION_VERDICTS, SESSION).with_columns(verdict=pl.lit("vendor_hole"))
    lake.write(Dataset.SESSION_VERDICTS, rows, sessions=[SESSION])
    with pytest.raises(
        GateNotPassed, match="quality gate calls it vendor_hole: of 3 expected symbols 2 good"
    ) as caught:
        rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run"))
    assert {"session": str(SESSION), "gate": "quality"} == caught.value.fields
    assert [] == kit.broker.sent


def test_a_session_that_has_lost_its_freshness_makes_no_order(kit: Kit, lake: Lake) -> None:
    """An empty partition is no judgement."""
    rows = lake.read_session(Dataset.FRESHNESS, SESSION)
    lake.write(Dataset.FRESHNESS, rows.clear(), sessions=[SESSION])
    with pytest.raises(GateNotPassed, match="no freshness was judged"):
        rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="run"))
    assert [] == kit.broker.sent


def test_rebalancing_twice_sends_each_order_once(kit: Kit, lake: Lake) -> None:
    """The second finds the target pending already."""
    rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="first"))
    again = rebalance(kit.account, lake, SESSION, provenance=Provenance(run_id="second"))
    assert 1 == len(kit.broker.sent)
    assert "1 of 1 order(s) at the broker, 0 refused" == again.summary


def test_a_position_is_turned_in_two_orders_where_none_may_cross_zero(
    lake: Lake, database_url: str, redis_url: str
) -> None:
    """From 10 long to 10 short at Alpaca: sell 10, and once that is filled sell 10 again, under an id of its own."""
    with alpaca_bench(redis_url) as bench, alpaca_account(database_url, redis_url, bench) as account:
        for wanted in (10, -10, -10, -10):
            target(lake, wanted)

            rebalance(account, lake, SESSION, provenance=Provenance(run_id="run"))
            bench.exchange.fill_all()
        sent = [(one.side, one.qty) for one in bench.exchange.accepted]
        assert [("buy", 10), ("sell", 10), ("sell", 10)] == sent
        assert {"AAPL": Decimal(-10)} == account.broker.positions()
        assert 3 == len({one.client_order_id for one in bench.exchange.accepted})


def test_in_session_a_symbol_without_a_price_gets_no_order_and_others_are_sized_at_theirs(
    lake: Lake, database_url: str, redis_url: str
) -> None:
    """Dearer than its target was sized at: fewer shares. Without a fresh price: none, and the reason says why."""
    with alpaca_bench(redis_url) as bench, alpaca_account(database_url, redis_url, bench) as opened:
        dear, stale = Prices(Decimal(125)), Prices(missing="its quote is 40 s old")
        refused = rebalance(replace(opened, prices=stale), lake, SESSION, provenance=Provenance(run_id="run"))
        assert [] == bench.exchange.accepted
        assert "its quote is 40 s old" in {one.symbol: one.reason for one in refused.skipped}["AAPL"]
        rebalance(replace(opened, prices=dear), lake, SESSION, provenance=Provenance(run_id="run"))
        (sent,) = bench.exchange.accepted
        assert ("AAPL", 8) == (sent.symbol, sent.qty)
        (order,) = opened.ledger.orders.of_session(ACCOUNT, SESSION)
        assert (Decimal(125), "test") == (order.intent.reference.price, order.intent.reference.source)
