"""Asking twice: the same order gets the same clearance, another one under its id never does."""

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.adapters.guards.builders import ACTION, EMPTY, LIMITS, ask, end, hold, holding
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode


def test_repeat_at_a_full_limit_gets_its_clearance_back(guard: RiskGuard) -> None:
    """The order's own reservation, which fills the limit, does not stand in its way; nothing is reserved twice."""
    first = guard.clear(ask(qty=1_000))
    guard.clear(ask("other", qty=1, symbol="MSFT"))
    before = guard.snapshot()

    again = guard.clear(ask(qty=1_000))

    assert first.clearance is not None
    assert first.clearance == again.clearance
    assert 2 == again.sequence
    assert before == guard.snapshot()


def test_repeat_at_another_price_gets_its_clearance_back(guard: RiskGuard) -> None:
    """The reference price is no part of the payload: a later retry sees another one."""
    first = guard.clear(ask())

    assert first.clearance == guard.clear(ask(price=1_600_000)).clearance


def test_repeat_outlives_lowered_limits(guard: RiskGuard) -> None:
    """Limits of size are for new orders; but an account over a limit of exposure lets nothing grow any more."""
    first = guard.clear(ask())
    guard.set_limits(replace(LIMITS, max_order_shares=1, max_orders_per_session=0))

    assert first.clearance is not None
    assert first.clearance == guard.clear(ask()).clearance

    guard.set_limits(replace(LIMITS, max_gross_notional=Decimal(0)))
    assert VerdictCode.LIMIT_BREACHED == guard.clear(ask()).code


@pytest.mark.parametrize(
    "other",
    [ask(qty=101), ask(side=Side.SELL), ask(symbol="MSFT"), replace(ask(), payload_digest="forged")],
    ids=["qty", "side", "symbol", "digest"],
)
def test_other_payload_under_a_held_id_is_a_conflict(guard: RiskGuard, other) -> None:
    """One id, two payloads: never a silent yes."""
    guard.clear(ask())

    assert VerdictCode.CONFLICT == guard.clear(other).code


def test_digest_alone_does_not_make_it_the_same_order(guard: RiskGuard) -> None:
    """A digest that was copied onto another quantity is a conflict too."""
    guard.clear(ask())

    assert VerdictCode.CONFLICT == guard.clear(replace(ask(), qty=500)).code


def test_voided_order_has_ended(guard: RiskGuard) -> None:
    """An order whose end is known never clears again, whatever its payload."""
    guard.clear(ask())
    end(guard, "order-1")

    assert VerdictCode.ENDED == guard.clear(ask()).code
    assert VerdictCode.ENDED == guard.clear(ask(qty=5)).code


def test_order_voided_before_it_was_cleared_has_ended(guard: RiskGuard) -> None:
    """A void that overtakes the clear wins."""
    end(guard, "order-1")

    assert VerdictCode.ENDED == guard.clear(ask()).code


def test_filled_order_has_ended(guard: RiskGuard) -> None:
    """Nothing remains of a filled order that could be sent again."""
    guard.clear(ask(qty=100))
    guard.post(
        epoch=1,
        min_sequence=0,
        client_order_id="order-1",
        execution_id="e1",
        qty=100,
        symbol="AAPL",
        side=Side.BUY,
        price_ticks=1_500_000,
    )

    assert VerdictCode.ENDED == guard.clear(ask(qty=100)).code


def test_halt_holds_for_repeats_too(guard: RiskGuard) -> None:
    """A crash between clearance and sending, then a halt: the retry is not sent, and its exposure stays held."""
    guard.clear(ask())
    guard.engage_kill_switch(ACTION)

    verdict = guard.clear(ask())

    assert VerdictCode.KILL_SWITCH_ENGAGED == verdict.code
    assert verdict.clearance is None
    book = guard.snapshot()
    assert book is not None
    assert {"order-1"} == set(book.reservations)


def test_repeat_of_a_reducing_order_passes_the_breaker(guard: RiskGuard) -> None:
    """Whether a repeat reduces is judged without counting its own reservation twice."""
    guard.rebuild(holding(AAPL=100))
    first = guard.clear(ask(side=Side.SELL, qty=100))
    guard.trip("drawdown")

    assert first.clearance is not None
    assert first.clearance == guard.clear(ask(side=Side.SELL, qty=100)).clearance


def test_rebuilt_reservation_gives_its_clearance_back(guard: RiskGuard) -> None:
    """After a rebuild the order keeps its place: same sequence, the new epoch."""
    request = ask(epoch=2, min_sequence=40)
    guard.rebuild(
        replace(EMPTY, epoch=2, sequence=40, reservations=(hold(request, sequence=17),), marks={"AAPL": 1_500_000})
    )

    verdict = guard.clear(request)

    assert verdict.clearance is not None
    assert (2, 17) == (verdict.clearance.epoch, verdict.clearance.sequence)
