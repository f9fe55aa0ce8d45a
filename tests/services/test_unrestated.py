"""Shares that the broker has not restated yet keep back their symbol's orders; what nothing explains, all orders."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from dagster import AssetCheckEvaluation, AssetCheckSeverity
from support.actions import HELD_OVER, SPLIT, act, hold, restate, shares
from support.alpaca.bench import Bench
from support.session_lake import session_lake
from support.trading import ACCOUNT, ACTION, RUN, order

from assets.tie_out import tie_out_events
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Gate
from trading_pipeline.errors import TieOutFailed
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.monitor import assess
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.reconciliation import accept_external, reconcile
from trading_pipeline.services.status import read_status
from trading_pipeline.services.submission import Submission, SubmissionService
from trading_pipeline.services.tie_out import tie_out

IN_THE_SESSION = datetime(2023, 9, 6, 14, 0, tzinfo=UTC)
AFTER_THE_CLOSE = datetime(2023, 9, 6, 20, 30, tzinfo=UTC)
CENT = Decimal("0.01")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Ten shares of AAPL are wanted for the open of September 5."""
    return session_lake(tmp_path)


@pytest.fixture
def split(account: TradingAccount, bench: Bench, lake: Lake) -> TradingAccount:
    """Forty shares of AAPL in the ledger after a split, ten at the broker, and the session is over."""
    hold(account, bench, lake)
    act(lake, **SPLIT, ex_date=HELD_OVER)
    restate(account, lake)
    bench.waits.instant = AFTER_THE_CLOSE
    return account


def _submit(account: TradingAccount, *symbols: str) -> list[Submission]:
    wanted = [order(symbol, session=HELD_OVER) for symbol in symbols]
    return SubmissionService(account, RUN).submit_all(wanted)


def test_after_the_tie_out_only_the_orders_of_the_symbol_are_kept_back_each_by_its_name(
    split: TradingAccount, bench: Bench
) -> None:
    """Signed with both numbers, and the cash, which a split does not move, is compared all the same."""
    found = tie_out(split, ACTION)
    assert (True, True, ()) == (found.agrees, found.final, found.differences)
    assert {"AAPL": "position AAPL: ledger 40, broker 10"} == found.awaited
    assert "tied out but for AAPL" in found.describe()
    assert found.cash is not None
    kept, sent = _submit(split, "AAPL", "MSFT")
    assert kept.verdict is not None
    assert VerdictCode.SYMBOL_QUARANTINED is kept.verdict.code
    assert "AAPL: split 4:1 of AAPL, effective 2023-09-06" in kept.verdict.detail
    assert ["MSFT"] == [one.symbol for one in bench.exchange.accepted if one.symbol != "AAPL"]
    assert not sent.refused
    assert "tied out but for AAPL" in {row["what"]: row["value"] for row in read_status(split).trading}["tie_out"]
    assert split.ledger.seals.verify().sound
    _, check = tie_out_events(found)
    assert isinstance(check, AssetCheckEvaluation)
    assert (False, AssetCheckSeverity.WARN) == (check.passed, check.severity), "it is shown, and blocks no run"


def test_a_release_does_not_let_the_symbol_trade_before_the_broker_has_followed(
    split: TradingAccount, bench: Bench
) -> None:
    """The lock is gone in ledger and book; what the ledger waits for is not."""
    tie_out(split, ACTION)
    RiskOperations(split).release_symbol("AAPL", ACTION)
    (kept,) = _submit(split, "AAPL")
    assert kept.refused
    bench.exchange.restate("AAPL", "40")
    reconcile(split, ACTION)
    assert {} == tie_out(split, ACTION).awaited
    (sent,) = _submit(split, "AAPL")
    assert not sent.refused


def test_the_breaker_stays_closed_over_shares_that_are_waited_for(split: TradingAccount, bench: Bench) -> None:
    """It would keep back what has nothing to do with them; it trips when the broker has what nothing explains."""
    assert () == assess(split).breached
    bench.exchange.restate("AAPL", "13")
    assert ["mismatch"] == [one.rule for one in assess(split).breached]


@pytest.mark.parametrize(
    ("ratio", "at_the_broker", "explained"),
    [
        (4.0, "10", True),
        (4.0, "13", False),
        (4.0, "39", False),
        (4.0, "0", False),
        (0.75, "10", True),
        (0.75, "7", True),
        (0.75, "8", True),
        (0.75, "6", False),
        (0.75, "7.25", False),
    ],
)
def test_only_what_the_action_explains_lets_others_trade(
    account: TradingAccount, bench: Bench, lake: Lake, ratio: float, at_the_broker: str, *, explained: bool
) -> None:
    """The shares of before it, or the whole shares where it leaves a fraction. A person's word opens the rest."""
    hold(account, bench, lake)
    act(lake, kind="split", ratio=ratio, ex_date=HELD_OVER)
    restate(account, lake)
    bench.exchange.restate("AAPL", at_the_broker)
    bench.waits.instant = AFTER_THE_CLOSE
    found = tie_out(account, ACTION)
    assert explained is found.agrees
    if explained:
        assert Gate.OPEN is reconcile(account, ACTION).record.gate
        assert [False] == [one.refused for one in _submit(account, "MSFT")]
        return
    assert Gate.CLOSED is reconcile(account, ACTION).record.gate
    with pytest.raises(TieOutFailed, match=f"position AAPL: .*broker {at_the_broker}"):
        _submit(account, "MSFT")
    accept_external(account, "AAPL", ACTION)
    assert Decimal(at_the_broker) == shares(account).get("AAPL", Decimal(0))
    assert tie_out(account, ACTION).agrees
    assert [False] == [one.refused for one in _submit(account, "MSFT")]


def test_shares_that_left_one_name_and_arrived_under_no_other_are_not_explained(
    account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """Each name alone would be what the ledger had before or has after."""
    hold(account, bench, lake)
    act(lake, kind="symbol_change", other_symbol="UNSEEN", ex_date=HELD_OVER)
    restate(account, lake)
    bench.waits.instant = AFTER_THE_CLOSE
    assert {"AAPL", "UNSEEN"} == tie_out(account, ACTION).awaited.keys()
    bench.exchange.restate("AAPL", "0")
    assert not tie_out(account, ACTION).agrees


def test_a_broker_that_has_done_the_first_of_two_actions_is_explained(
    account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """And one that has done neither; nothing in between."""
    hold(account, bench, lake)
    act(lake, **SPLIT, ex_date=HELD_OVER)
    act(lake, "b", kind="symbol_change", other_symbol="UNSEEN", ex_date=HELD_OVER)
    restate(account, lake)
    assert {"UNSEEN": Decimal(40)} == shares(account)
    bench.waits.instant = AFTER_THE_CLOSE
    assert {"AAPL", "UNSEEN"} == tie_out(account, ACTION).awaited.keys()
    bench.exchange.restate("AAPL", "40")
    assert {"AAPL", "UNSEEN"} == tie_out(account, ACTION).awaited.keys()
    bench.exchange.prices["UNSEEN"] = Decimal(100)
    bench.exchange.restate("AAPL", "10", new_symbol="UNSEEN")
    assert not tie_out(account, ACTION).agrees


def test_cash_or_another_symbol_beside_it_still_keeps_everything_back(split: TradingAccount, bench: Bench) -> None:
    """A cent that nothing explains, and a share."""
    assert tie_out(split, ACTION).agrees
    bench.exchange.cash -= CENT
    with_cash = tie_out(split, ACTION)
    assert (False, {"AAPL"}) == (with_cash.agrees, with_cash.awaited.keys())
    with pytest.raises(TieOutFailed, match=r"-0\.01 dollars are not explained"):
        _submit(split, "MSFT")
    bench.exchange.cash += CENT
    bench.exchange.buy_elsewhere("NVDA", Decimal(1))
    found = tie_out(split, ACTION)
    assert ("position NVDA: ledger 0, broker 1",) == found.differences
    with pytest.raises(TieOutFailed, match="NVDA"):
        _submit(split, "MSFT")
    assert split.ledger.restatements.awaiting(ACCOUNT)
