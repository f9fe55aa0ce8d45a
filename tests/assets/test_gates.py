"""The gates in the running pipeline: what a bad session stops, what it leaves alone, and how it is released."""

import re
from base64 import b64decode
from collections.abc import Iterator

import dagster as dg
import polars as pl
import pytest
from support.pipeline import ACTION, LAST, Pipeline, errors_of

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.core.bars import PRICE_COLUMNS
from trading_pipeline.core.sessions import xnys

BEFORE, BAD, AFTER = (xnys().shift(LAST, back) for back in (-13, -12, -11))
WHO = {"operator": ACTION.operator, "reason": ACTION.reason}
CENTS = ("AAPL", "META")


def _import(pipeline: Pipeline, factor: float) -> None:
    rows = BundledSample().bars([BAD], CENTS).with_columns(pl.col(*PRICE_COLUMNS) * factor)
    pipeline.lake.write(Dataset.IMPORTED_BARS, rows, sessions=[BAD])


def _states(pipeline: Pipeline) -> dict[str, str]:
    rows = pipeline.lake.read_session(Dataset.FRESHNESS, BAD)
    return dict(rows.select("symbol", "state").iter_rows())


@pytest.fixture(scope="module")
def in_cents(trained: Pipeline) -> Iterator[Pipeline]:
    """Two of six symbols come in cents on one session of a range; afterwards all is as it was."""
    _import(trained, 100.0)
    yield trained
    trained.lake.write(
        Dataset.IMPORTED_BARS, trained.lake.read_session(Dataset.IMPORTED_BARS, BAD).clear(), sessions=[BAD]
    )
    assert "" == errors_of(trained.run_range("history", BEFORE, AFTER))


def test_one_bad_session_fails_by_name_and_the_others_of_the_range_are_done(in_cents: Pipeline) -> None:
    """Four of six symbols are too few: no features of that session are left, those beside it are reported."""
    before = in_cents.lake.read_session(Dataset.FEATURES, AFTER)
    result = in_cents.run_range("history", BEFORE, AFTER)
    message = errors_of(result)
    assert f"1 of 3 session(s) are not fresh enough: {BAD}. Of {BAD} 4 of 6 symbols are fresh" in message
    assert "stale: AAPL, META" in message
    assert {"AAPL": "stale", "META": "stale"} == {
        s: state for s, state in _states(in_cents).items() if state != "fresh"
    }
    assert 0 == in_cents.lake.read_session(Dataset.FEATURES, BAD).height
    assert before.select("symbol").equals(in_cents.lake.read_session(Dataset.FEATURES, AFTER).select("symbol"))
    done = {
        event.partition for event in result.get_asset_materialization_events() if event.asset_key.path == ["features"]
    }
    assert {BEFORE.isoformat(), AFTER.isoformat()} == done


def test_the_checks_say_what_was_found_in_numbers(in_cents: Pipeline) -> None:
    """Two scale errors wait, and nothing was dropped."""
    result = in_cents.run_range("history", BEFORE, AFTER)
    checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert checks["nothing_dropped"].passed
    assert not checks["fresh_enough"].passed
    assert {"sessions_not_fresh_enough": 1, "fresh": 16, "stale": 2, "missing": 0} == {
        name: checks["fresh_enough"].metadata[name].value
        for name in ("sessions_not_fresh_enough", "fresh", "stale", "missing")
    }
    assert {"raw": 18, "bars": 16, "quarantined": 2} == {
        name: checks["nothing_dropped"].metadata[name].value for name in ("raw", "bars", "quarantined")
    }
    assert not checks["jumps_explained"].passed
    assert 2 == checks["jumps_explained"].metadata["scale_error"].value


def test_the_bars_are_drawn_with_what_was_quarantined(in_cents: Pipeline) -> None:
    """On the asset's page; the symbols with most in quarantine are the first of them."""
    in_cents.run_range("history", BEFORE, AFTER)
    markdown = str(in_cents.metadata("bars", AFTER)["prices"])
    svg = b64decode(markdown.partition("base64,")[2].removesuffix(")")).decode()
    drawn = re.findall(r">(\w+), dollars<", svg)
    assert [4, set(CENTS), 2] == [len(drawn), set(drawn[:2]), svg.count(">quarantined<")]


def test_a_session_that_failed_its_gates_gets_no_prediction_target_or_order(in_cents: Pipeline) -> None:
    """The first of them stops, by name, and so do those that follow from it."""
    assert "freshness gate: it was not fresh enough, 4 of 6" in errors_of(in_cents.run("trade_session", session=BAD))
    assert not in_cents.run("submit_orders", session=BAD).success


def test_a_range_of_predictions_is_made_but_for_the_session_that_was_refused(in_cents: Pipeline) -> None:
    """It is named, and the others are reported as done."""
    job = in_cents.defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        asset_selection=[dg.AssetKey("predictions")],
        instance=in_cents.instance,
        tags={
            "dagster/asset_partition_range_start": BEFORE.isoformat(),
            "dagster/asset_partition_range_end": AFTER.isoformat(),
        },
        raise_on_error=False,
    )
    assert f"session {BAD} did not pass the freshness gate" in errors_of(result)
    done = [event.partition for event in result.get_asset_materialization_events()]
    assert [BEFORE.isoformat(), AFTER.isoformat()] == done
    assert [BEFORE, AFTER] == in_cents.lake.sessions(Dataset.PREDICTIONS, start=BEFORE, end=AFTER)


def test_an_accepted_bar_is_used_once_its_session_is_judged_again(in_cents: Pipeline) -> None:
    """By name and reason, kept in the audit trail; taken back it waits again."""
    for symbol in CENTS:
        said = {**WHO, "symbol": symbol, "session": BAD.isoformat()}
        assert "" == errors_of(in_cents.run("accept_bars", accept_bars=said))
    assert "" == errors_of(in_cents.run_range("history", BEFORE, AFTER))
    assert {"fresh"} == set(_states(in_cents).values())
    with in_cents.account() as account:
        actions = account.ledger.books.history(account.account, limit=2)
    assert ["accept_bars", "accept_bars"] == [one["action"] for one in actions]
    for symbol in CENTS:
        said = {**WHO, "symbol": symbol, "session": BAD.isoformat()}
        assert "" == errors_of(in_cents.run("revoke_acceptance", revoke_acceptance=said))
    assert "1 of 3 session(s)" in errors_of(in_cents.run_range("history", BEFORE, AFTER))
    again = in_cents.run("revoke_acceptance", revoke_acceptance={**WHO, "symbol": "AAPL", "session": BAD.isoformat()})
    assert "no bar of AAPL" in errors_of(again)


def test_a_restatement_releases_what_it_corrects(in_cents: Pipeline) -> None:
    """The corrected bar is a second version, judged by the next run."""
    _import(in_cents, 1.0)
    assert "" == errors_of(in_cents.run_range("history", BEFORE, AFTER))
    assert {"fresh"} == set(_states(in_cents).values())
    assert 0 == in_cents.lake.read_session(Dataset.QUARANTINED_BARS, BAD).height
