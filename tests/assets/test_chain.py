"""The whole chain on real bars, session after session, in the order an operator would meet it.

The tests of this file share one account and run in file order: each continues where the one before it stopped.
"""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import polars as pl
import psycopg
import pytest
import redis
from support.pipeline import ACTION, HISTORY, LAST, Pipeline, errors_of, last_sessions

from trading_pipeline.adapters.broker.simulated import SimulatedExchange
from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.monitor import Rule
from trading_pipeline.core.sessions import xnys
from trading_pipeline.definitions import build_definitions
from trading_pipeline.errors import TransientError
from trading_pipeline.services import busy_broker
from trading_pipeline.services.explain import explain

FIRST, SECOND, THIRD, FOURTH, FIFTH = last_sessions(5)
PRICES = ("open", "high", "low", "close")
OPERATOR = {"operator": ACTION.operator, "reason": ACTION.reason}


def _orders(pipeline: Pipeline, session: date) -> dict[str, OrderState]:
    with pipeline.account() as account:
        return {
            order.intent.symbol: order.state
            for order in account.ledger.orders.of_session(account.account, session)
            if order.intent.strategy_id == account.strategy_id
        }


def test_history_fills_every_partition_and_loses_no_row(trained: Pipeline) -> None:
    """Raw rows are bars or quarantined, features exist for every session."""
    sessions = xnys().between(*HISTORY)
    for asset in ("raw_bars", "bars", "quarantined_bars", "features"):
        done = trained.instance.get_materialized_partitions(dg.AssetKey(asset))
        assert {day.isoformat() for day in sessions} == done
    raw, bars, quarantined = (
        trained.lake.read(dataset, start=HISTORY[0], end=LAST)
        for dataset in (Dataset.RAW_BARS, Dataset.BARS, Dataset.QUARANTINED_BARS)
    )
    assert raw.height == bars.height + quarantined.height
    assert 6 * len(sessions) == trained.lake.read(Dataset.FEATURES, start=HISTORY[0], end=LAST).height


def test_a_rerun_of_one_session_changes_no_byte(trained: Pipeline) -> None:
    """Neither the bars nor the features, whether computed in a range or alone."""
    session = xnys().shift(LAST, -30)
    folders = [Path(trained.lake.root) / dataset for dataset in (Dataset.RAW_BARS, Dataset.BARS, Dataset.FEATURES)]
    files = [path for folder in folders for path in (*folder.glob("*.parquet"), folder / "manifest.json")]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    assert "" == errors_of(trained.run("history", session=session))
    assert before == [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]


def test_a_key_that_is_no_session_is_refused_by_name(trained: Pipeline) -> None:
    """Independence Day is no partition."""
    with pytest.raises(dg.DagsterError, match="2023-07-04"):
        trained.run("history", session=date(2023, 7, 4))


def test_predictions_inside_the_training_window_are_refused(trained: Pipeline) -> None:
    """A score for a session the model has learnt from would look ahead."""
    result = trained.run("daily_session", session=xnys().shift(LAST, -60))
    assert not result.success
    assert "look ahead" in errors_of(result)


def test_a_session_is_traded_from_bars_to_orders(trained: Pipeline) -> None:
    """Three names, as configured, each accepted for the next open; nothing filled yet."""
    assert "" == errors_of(trained.run("daily_session", session=FIRST))
    assert {OrderState.ACCEPTED} == set(_orders(trained, FIRST).values())
    shown = trained.metadata("submitted_orders", FIRST)["last_sessions"].records
    assert [(FIRST.isoformat(), "traded")] == [(one.data["session"], one.data["outcome"]) for one in shown]
    assert 3 == len(_orders(trained, FIRST))
    metadata = trained.metadata("submitted_orders", FIRST)
    assert "3 of 3 order(s) at the broker, 0 refused" == metadata["summary"]
    assert SECOND.isoformat() == metadata["trade_session"]
    assert ("active", "every rule is within its limit") == (metadata["trading_state"], metadata["monitor"])
    verdicts = [record.data for record in metadata["verdicts"].records]
    assert {"cleared"} == {row["code"] for row in verdicts}
    assert [rule.value for rule in Rule] == [record.data["rule"] for record in metadata["distance_to_limits"].records]


def test_the_next_session_fills_them_at_its_open(trained: Pipeline) -> None:
    """With costs, into positions and P&L of that session."""
    assert "" == errors_of(trained.run("daily_session", session=SECOND))
    assert {OrderState.FILLED} == set(_orders(trained, FIRST).values())
    opens = dict(trained.lake.read_session(Dataset.BARS, SECOND).select("symbol", "open").iter_rows())
    fills = trained.lake.read_session(Dataset.FILLS, SECOND)
    assert 3 == fills.height
    for row in fills.iter_rows(named=True):
        slip = float(row["price"]) / opens[row["symbol"]] - 1
        assert (1 if row["side"] == "buy" else -1) * slip == pytest.approx(0.0002, abs=0.0001)
    pnl = trained.lake.read_session(Dataset.PNL, SECOND).row(0, named=True)
    fees = sum(fills["fee"].to_list(), Decimal(0))
    assert fees.quantize(Decimal("0.01")) == pnl["fees"]
    assert Decimal(100_000) + pnl["change"] == pnl["equity"]


def test_a_second_run_of_the_same_session_submits_nothing_new(trained: Pipeline) -> None:
    """Target minus position minus pending is nothing."""
    before = _orders(trained, SECOND)
    assert "" == errors_of(trained.run("submit_orders", session=SECOND))
    assert "" == errors_of(trained.run("daily_session", session=SECOND))
    assert before == _orders(trained, SECOND)


def test_a_rerun_of_a_traded_session_returns_its_orders_as_they_stand(trained: Pipeline) -> None:
    """The past cannot be traded again."""
    assert "" == errors_of(trained.run("submit_orders", session=FIRST))
    assert "traded already" in str(trained.metadata("submitted_orders", FIRST)["summary"])
    assert 3 == len(_orders(trained, FIRST))


def test_backfills_and_ranges_never_make_orders(trained: Pipeline) -> None:
    """Refused by name before anything is asked of the broker."""
    for tags in (
        {"dagster/backfill": "abc", "dagster/partition": THIRD.isoformat()},
        {
            "dagster/asset_partition_range_start": THIRD.isoformat(),
            "dagster/asset_partition_range_end": FOURTH.isoformat(),
        },
    ):
        result = trained.run("submit_orders", tags=tags)
        assert not result.success
        assert "never made by a range or a backfill" in errors_of(result)
    assert {} == _orders(trained, THIRD)


def test_an_engaged_kill_switch_submits_nothing_and_says_why(trained: Pipeline) -> None:
    """The run succeeds: a refusal is a verdict, and its metadata explains it."""
    assert "" == errors_of(trained.run("engage_kill_switch", engage_kill_switch=OPERATOR))
    assert "" == errors_of(trained.run("daily_session", session=THIRD))
    metadata = trained.metadata("submitted_orders", THIRD)
    assert 0 == metadata["submitted"]
    assert "kill_switch_engaged" in str(metadata["why_refused"])
    assert {OrderState.REFUSED} == set(_orders(trained, THIRD).values())


def test_a_run_whose_orders_a_busy_broker_did_not_take_fails_and_names_them(
    trained: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent, and nobody who looks at runs alone thinks it was; the next test's run sends the same orders."""

    def busy(*_: object) -> None:
        raise TransientError("429: too many requests")

    monkeypatch.setattr(SimulatedExchange, "submit", busy)
    monkeypatch.setattr(busy_broker, "PATIENCE", timedelta())
    assert "" == errors_of(trained.run("disengage_kill_switch", disengage_kill_switch=OPERATOR))
    failed = trained.run("submit_orders", session=THIRD)
    assert not failed.success
    said = errors_of(failed)
    assert f"order(s) of session {THIRD} were not sent: " in said
    assert "429: too many requests" in said
    assert all(symbol in said for symbol in _orders(trained, THIRD))
    assert {OrderState.CLEARED} == set(_orders(trained, THIRD).values())


def test_once_disengaged_the_same_session_trades(trained: Pipeline) -> None:
    """The refused orders go through on a second materialisation, which is the third here."""
    assert "" == errors_of(trained.run("submit_orders", session=THIRD))
    assert {OrderState.ACCEPTED} == set(_orders(trained, THIRD).values())


def test_after_a_flush_nothing_is_sent_until_the_book_is_rebuilt_and_the_session_tied_out(trained: Pipeline) -> None:
    """By an operator, and by nobody else: the session does not tie out, which stops its own run and every other."""
    with redis.Redis.from_url(trained.environment["REDIS_URL"]) as client:
        client.flushall()
    stopped = trained.run("daily_session", session=FOURTH)
    assert "tie_out: ledger_book_and_broker_agree" in errors_of(stopped)
    assert "submitted_orders" not in {event.step_key for event in stopped.filter_events(lambda one: one.is_step_start)}
    metadata = trained.metadata("tie_out", FOURTH)
    assert "book_missing" in str(metadata["summary"])
    assert "book_missing" in str(metadata["differences"].records)
    assert "did not tie out" in errors_of(trained.run("submit_orders", session=FOURTH))

    assert "" == errors_of(trained.run("rebuild_risk_book", rebuild_risk_book=OPERATOR))
    assert "did not tie out" in errors_of(trained.run("submit_orders", session=FOURTH))
    assert {} == _orders(trained, FOURTH)
    assert "" == errors_of(trained.run("tie_out", tie_out=OPERATOR))
    shown = trained.metadata("tie_out", FOURTH)
    assert (f"session {FOURTH} tied out", ACTION.operator) == (shown["summary"], shown["signed_by"])
    assert "" == errors_of(trained.run("daily_session", session=FOURTH))
    assert {OrderState.ACCEPTED} == set(_orders(trained, FOURTH).values())


def test_the_job_shows_its_answer_as_a_check_of_the_asset_too(trained: Pipeline) -> None:
    """One that failed as well: the run fails and the asset's page says why."""
    with redis.Redis.from_url(trained.environment["REDIS_URL"]) as client:
        book = {key: client.dump(key) for key in client.scan_iter("*")}
        client.flushall()
        failed = trained.run("tie_out", tie_out=OPERATOR)
        for key, value in book.items():
            client.restore(key, 0, value)
    told = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    (check,) = (event.event_specific_data for event in failed.filter_events(lambda one: one.event_type is told))
    assert (False, FOURTH.isoformat()) == (check.passed, check.partition)
    assert "did not tie out" in errors_of(failed)
    assert "" == errors_of(trained.run("tie_out", tie_out=OPERATOR))


def test_operator_jobs_refuse_an_empty_reason_by_name(trained: Pipeline) -> None:
    """Who and why are required in the UI as well."""
    result = trained.run("trip_circuit_breaker", trip_circuit_breaker={"operator": "ada", "reason": "no"})
    assert not result.success
    assert "10 to 512" in errors_of(result)


def test_an_order_explains_itself_back_to_the_bars(trained: Pipeline) -> None:
    """Order, verdict, prediction with its model, features and bars."""
    with trained.account() as account:
        order = account.ledger.orders.of_session(account.account, FIRST)[0]
        chain = explain(order.client_order_id, ledger=account.ledger, lake=trained.lake)
    assert ["cleared"] == [row["code"] for row in chain.verdicts]
    assert 1 == chain.prediction.height == chain.target.height == chain.features.height
    assert order.origin["model_digest"] == chain.prediction["model_digest"][0]
    assert FIRST == chain.bars["session"].max()
    assert 158 + 2 == chain.features.width
    assert {"order", "verdicts of the guard", "prediction", "features", "bars used"} <= set(chain.as_dict())


def test_flatten_and_cancel_close_everything(trained: Pipeline) -> None:
    """Also under the kill switch; afterwards ledger, book and broker are flat."""
    assert "" == errors_of(trained.run("engage_kill_switch", engage_kill_switch=OPERATOR))
    assert "" == errors_of(trained.run("flatten_positions", flatten_positions=OPERATOR))
    assert "" == errors_of(trained.run("daily_session", session=FIFTH))
    with trained.account() as account:
        assert {} == account.ledger.fills.positions(account.account) == account.broker.positions()
        snapshot = account.guard.snapshot()
    assert snapshot is not None
    assert {} == snapshot.positions
    assert "" == errors_of(trained.run("disengage_kill_switch", disengage_kill_switch=OPERATOR))


def test_positions_of_an_old_session_can_be_asked_for_again(trained: Pipeline) -> None:
    """They are those of then, not of now."""
    before = trained.lake.read_session(Dataset.POSITIONS, SECOND)
    assert not before.is_empty()
    assert "" == errors_of(trained.run_range("reports", FIRST, FIFTH))
    after = trained.lake.read_session(Dataset.POSITIONS, SECOND)
    assert before.equals(after)
    assert trained.lake.read_session(Dataset.POSITIONS, FIFTH).is_empty()


def test_too_few_fresh_symbols_stop_the_session(trained: Pipeline) -> None:
    """A universe of which most have no bars is not traded."""
    starved = replace(
        trained,
        defs=build_definitions(trained.settings.model_copy(update={"universe": ("AAPL", "ZZZ1", "ZZZ2")})),
    )
    result = starved.run("history", session=xnys().shift(LAST, -40))
    assert not result.success
    assert "not fresh enough" in errors_of(result)
    assert starved.lake.has(Dataset.FEATURES, xnys().shift(LAST, -40))
    trained.run("history", session=xnys().shift(LAST, -40))


def test_the_ledger_has_no_order_without_a_clearance(trained: Pipeline) -> None:
    """Whatever reached the exchange passed the guard first."""
    with trained.account() as account:
        unguarded = account.ledger.query(
            """select e.client_order_id from exchange.orders e
                where not exists (select 1 from ledger.risk_decisions d
                                   where d.client_order_id = e.client_order_id and d.code = 'cleared')"""
        )
    assert [] == unguarded


def test_data_that_nobody_restated_would_have_traded_the_same(trained: Pipeline) -> None:
    """The report of a traded session makes everything anew, with the model of then, and finds no difference."""
    assert "" == errors_of(trained.run("compare_restated", session=FIRST))
    rows = trained.lake.read_session(Dataset.RESTATEMENT_REPORT, FIRST)
    assert (6, {"same"}) == (rows.height, set(rows["why"]))
    assert rows["order_shares"].equals(rows["order_shares_now"], null_equal=False)
    orders = dict(rows.filter(pl.col("order_shares") != 0).select("symbol", "order_shares").iter_rows())
    filled = dict(rows.filter(pl.col("filled_shares") != 0).select("symbol", "filled_shares").iter_rows())
    with trained.account() as account:
        stored = account.ledger.orders.of_session(account.account, FIRST)
    assert {one.intent.symbol: one.intent.side.sign * one.intent.qty for one in stored} == orders == filled
    metadata = trained.metadata("restatement_report", FIRST)
    assert [0, 0] == [metadata["targets_that_differ"], metadata["orders_that_differ"]]
    assert metadata["order_dollars"] > 0


def test_a_cent_that_the_broker_is_short_of_stops_the_next_session_until_it_is_accepted(trained: Pipeline) -> None:
    """The page of the asset shows both figures; the job accepts what it named, and the next tie-out succeeds."""
    with trained.account() as account:
        session = account.session()
    assert session is not None
    with psycopg.connect(trained.environment["DATABASE_URL"]) as connection:
        connection.execute("update exchange.clocks set opening_cash = opening_cash - 0.01")
    assert "-0.01 dollars are not explained" in errors_of(trained.run("tie_out", tie_out=OPERATOR))
    assert "-0.01" in str(trained.metadata("tie_out", session)["cash"].records)
    stopped = trained.run("trade_session", session=session)
    assert "tie_out: ledger_book_and_broker_agree" in errors_of(stopped)
    assert "submitted_orders" not in {event.step_key for event in stopped.filter_events(lambda one: one.is_step_start)}

    assert "" == errors_of(trained.run("accept_cash", accept_cash=OPERATOR))
    assert "" == errors_of(trained.run("tie_out", tie_out=OPERATOR))
    assert "" == errors_of(trained.run("trade_session", session=session))
    (row,) = (one.data for one in trained.metadata("pnl", session)["sessions"].records)
    assert "-0.01" == str(row["other"])
    assert 0 == trained.metadata("fills", session)["cash_activities_recorded_now"]
