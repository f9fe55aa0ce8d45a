"""What is under way is no mismatch: the monitor brings news home before it judges, and waits for whoever is at work."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from support.trading import ACCOUNT, RUN, SESSION, Kit, order, valuation

from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.monitor import Rule
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError
from trading_pipeline.services.differences import DifferenceKind
from trading_pipeline.services.monitor import Assessment, assess
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.watching import watch

NEXT = xnys().next(SESSION)


def _kinds(assessment: Assessment) -> set[DifferenceKind]:
    assert assessment.verification is not None
    return {one.kind for one in assessment.verification.differences}


@pytest.fixture
def filled(kit: Kit) -> Kit:
    """An account whose order the broker has filled, of which nobody has heard yet."""
    SubmissionService(kit.account, RUN).submit(order(qty=10))
    kit.exchange.advance(NEXT)
    return kit


def test_a_fill_that_nobody_has_booked_yet_is_brought_home(filled: Kit) -> None:
    """The broker is ahead of the ledger between two sweeps."""
    looked = assess(filled.account)
    assert DifferenceKind.EXECUTION_NOT_BOOKED in _kinds(looked)
    assert Rule.MISMATCH not in {one.rule for one in looked.breached}, "it only looked, and this is news"
    assert {} == filled.positions()
    watched = watch(filled.account)
    assert ("", set()) == (watched.tripped, _kinds(watched))
    assert {"AAPL": Decimal(10)} == filled.positions()


def test_a_fill_of_an_account_that_is_worked_on_is_no_mismatch(filled: Kit) -> None:
    """Whoever holds the lane settles by itself: what only says that somebody is ahead trips nothing meanwhile."""
    with filled.ledger.lane(ACCOUNT):
        watched = watch(filled.account)
    assert DifferenceKind.EXECUTION_NOT_BOOKED in _kinds(watched)
    assert "" == watched.tripped
    assert {} == filled.positions()


def test_an_execution_that_cannot_be_booked_is_a_mismatch(filled: Kit) -> None:
    """Settling does not end it: the ledger has another execution under its id."""
    order_id = order(qty=10).intent.client_order_id
    (execution,) = filled.exchange.executions([order_id])
    other = Fill(
        execution_id=execution.fill.execution_id,
        symbol="AAPL",
        side=Side.BUY,
        qty=Decimal(3),
        price=Decimal(100),
        fee=Decimal(0),
        session=NEXT,
    )
    filled.ledger.fills.book(ACCOUNT, order_id, other, datetime.now(UTC))
    assert "mismatch" in watch(filled.account).tripped


@pytest.mark.parametrize("verb", ["open_orders", "find_many"])
def test_an_answer_that_cannot_be_read_keeps_no_other_rule_from_being_judged(
    filled: Kit, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Nothing can be compared then, which is said; a loss trips the breaker all the same."""

    def unreadable(*_: object) -> None:
        raise DataQualityError("the broker's answer cannot be read")

    monkeypatch.setattr(filled.broker, verb, unreadable)
    poor = valuation(Decimal(100), capital=Decimal(1000))
    filled.ledger.fills.book(ACCOUNT, order(qty=10).intent.client_order_id, _bought_dear(), datetime.now(UTC))
    watched = watch(replace(filled.account, valuation=poor))
    assert "cannot be read" in watched.unreachable
    assert Rule.MISMATCH not in {one.rule for one in watched.readings}, "it is not known"
    assert "daily_loss" in watched.tripped


def test_what_is_known_is_judged_where_the_news_cannot_be_brought_home(
    filled: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is said, and what only is news trips nothing; what is none does."""

    def unreadable(*_: object) -> None:
        raise DataQualityError("the broker's answer cannot be read")

    monkeypatch.setattr(filled.broker, "advance", unreadable, raising=False)
    looked = watch(filled.account)
    assert ("the broker's answer cannot be read", "") == (looked.unreachable, looked.tripped)
    assert DifferenceKind.EXECUTION_NOT_BOOKED in _kinds(looked)
    filled.guard.block("MSFT")
    assert "mismatch" in watch(filled.account).tripped


def _bought_dear() -> Fill:
    return Fill(
        execution_id="dear",
        symbol="AAPL",
        side=Side.BUY,
        qty=Decimal(3),
        price=Decimal(300),
        fee=Decimal(0),
        session=NEXT,
    )
