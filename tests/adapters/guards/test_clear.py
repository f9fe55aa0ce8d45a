"""Every check of `clear`, in its order, each with the value it saw and the limit it broke."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
import redis

from tests.adapters.guards.builders import EMPTY, LIMITS, PRICE, ask, end, hold, holding
from trading_pipeline.adapters.guards.book import SessionCount
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import Verdict, VerdictCode


def told(verdict: Verdict) -> tuple[VerdictCode, int | None, int | None]:
    """Return what a refusal says."""
    assert verdict.clearance is None
    return verdict.code, verdict.observed, verdict.limit


def test_a_good_order_clears_and_reserves(guard: RiskGuard) -> None:
    """A yes carries the clearance, and the book holds the order from then on."""
    request = ask(qty=100)

    verdict = guard.clear(request)

    assert VerdictCode.CLEARED == verdict.code
    assert (1, 1) == (verdict.epoch, verdict.sequence)
    assert verdict.clearance is not None
    assert (request.client_order_id, request.payload_digest, 1, 1) == (
        verdict.clearance.client_order_id,
        verdict.clearance.payload_digest,
        verdict.clearance.epoch,
        verdict.clearance.sequence,
    )
    book = guard.snapshot()
    assert book is not None
    assert {"order-1": hold(request)} == book.reservations
    assert 100 == book.symbols["AAPL"].pending_buy
    assert Decimal(15_000) == book.gross_notional
    assert {request.trade_session: SessionCount(1, 100 * PRICE)} == book.sessions


def test_refusal_writes_nothing(guard: RiskGuard) -> None:
    """A no leaves the book exactly as it was."""
    before = guard.snapshot()

    guard.clear(ask(qty=2_001))

    assert before == guard.snapshot()


def test_missing_book_refuses_and_is_not_created(unborn: RiskGuard) -> None:
    """Asking does not make a book."""
    verdict = unborn.clear(ask())

    assert VerdictCode.BOOK_MISSING == verdict.code
    assert verdict.clearance is None
    assert unborn.snapshot() is None


def test_other_epoch_is_stale(guard: RiskGuard) -> None:
    """A book of another epoch is not the one the ledger knows."""
    assert (VerdictCode.BOOK_STALE, 1, 2) == told(guard.clear(ask(epoch=2)))


def test_lower_sequence_is_stale(guard: RiskGuard) -> None:
    """A book that has not seen what the ledger has seen lost writes; an equal one did not."""
    guard.block("TSLA")

    assert (VerdictCode.BOOK_STALE, 1, 2) == told(guard.clear(ask(min_sequence=2)))
    assert guard.clear(ask(min_sequence=1)).cleared


def test_order_shares(guard: RiskGuard) -> None:
    """The fat-finger limit in shares comes before all limits that follow."""
    guard.set_limits(replace(LIMITS, max_order_shares=99))

    assert (VerdictCode.ORDER_SHARES, 100, 99) == told(guard.clear(ask(qty=100)))
    assert guard.clear(ask(qty=99)).cleared


def test_order_notional(guard: RiskGuard) -> None:
    """The fat-finger limit in dollars is judged at the reference price, and equal passes."""
    guard.set_limits(replace(LIMITS, max_order_notional=Decimal(15_000)))

    assert (VerdictCode.ORDER_NOTIONAL, 150_001_500, 150_000_000) == told(guard.clear(ask(qty=100, price=PRICE + 15)))
    assert guard.clear(ask(qty=100)).cleared


@pytest.mark.parametrize(("side", "held"), [(Side.BUY, 950), (Side.SELL, -950)])
def test_position_shares_count_what_is_pending(guard: RiskGuard, side: Side, held: int) -> None:
    """Position and pending orders of the same side use up the limit; equal passes."""
    guard.rebuild(holding(AAPL=held))

    assert guard.clear(ask("first", side, 30)).cleared
    assert (VerdictCode.POSITION_SHARES, 1_001, 1_000) == told(guard.clear(ask("second", side, 21)))
    assert guard.clear(ask("third", side, 20)).cleared


def test_pending_sell_makes_no_room_for_a_buy(guard: RiskGuard) -> None:
    """Sell 1000, then buy 2000: if the sell never fills, the buy alone would break the limit of 1000."""
    assert guard.clear(ask("sell", Side.SELL, 1_000)).cleared

    assert (VerdictCode.POSITION_SHARES, 2_000, 1_000) == told(guard.clear(ask("buy", Side.BUY, 2_000)))


def test_position_notional(guard: RiskGuard) -> None:
    """The position is judged in dollars at the price of the order in hand."""
    guard.rebuild(holding(AAPL=900))

    verdict = guard.clear(ask(qty=50, price=2_200_000))

    assert (VerdictCode.POSITION_NOTIONAL, 950 * 2_200_000, 2_000_000_000) == told(verdict)


def test_gross_notional_adds_the_symbols_up(guard: RiskGuard) -> None:
    """Long and short exposure add up; equal to the limit passes."""
    limits = replace(LIMITS, max_gross_notional=Decimal(150_000))
    guard.rebuild(holding(limits, AAPL=500, MSFT=-400))

    assert (VerdictCode.GROSS_NOTIONAL, 1_001 * PRICE, 1_000 * PRICE) == told(guard.clear(ask(qty=101, symbol="TSLA")))
    assert guard.clear(ask(qty=100, symbol="TSLA")).cleared


def test_gross_notional_moves_with_the_mark(guard: RiskGuard) -> None:
    """A new price revalues the shares held already."""
    limits = replace(LIMITS, max_gross_notional=Decimal(150_000))
    guard.rebuild(holding(limits, AAPL=500))

    verdict = guard.clear(ask(qty=1, price=3_000_000))

    assert (VerdictCode.GROSS_NOTIONAL, 501 * 3_000_000, 1_500_000_000) == told(verdict)


def test_orders_per_session(guard: RiskGuard) -> None:
    """Orders are counted for the session they trade in, refused ones are not."""
    guard.set_limits(replace(LIMITS, max_orders_per_session=2))
    guard.clear(ask("refused", qty=2_001))
    guard.clear(ask("first", qty=1))
    guard.clear(ask("second", qty=1))

    assert (VerdictCode.ORDERS_PER_SESSION, 3, 2) == told(guard.clear(ask("third", qty=1)))
    assert guard.clear(ask("tomorrow", qty=1, session=date(2024, 10, 18))).cleared


def test_voided_orders_still_count(guard: RiskGuard) -> None:
    """Ending an order gives its exposure back, not its place in the day's count."""
    guard.set_limits(replace(LIMITS, max_orders_per_session=1))
    guard.clear(ask("first"))
    end(guard, "first")

    assert (VerdictCode.ORDERS_PER_SESSION, 2, 1) == told(guard.clear(ask("second")))


def test_no_order_limit_keeps_a_flatten_from_closing(guard: RiskGuard) -> None:
    """Size and number of orders bind what opens; getting out is bound by the position alone."""
    limits = replace(LIMITS, max_order_shares=1, max_order_notional=Decimal(1), max_orders_per_session=0)
    guard.rebuild(holding(limits, AAPL=500))

    assert VerdictCode.ORDER_SHARES == guard.clear(ask("plain", Side.SELL, 500)).code
    assert guard.clear(ask("out", Side.SELL, 500, flatten=True)).cleared


@pytest.mark.parametrize(("held", "side"), [(900, Side.SELL), (-900, Side.BUY)])
def test_lowered_limits_leave_reducing_orders_possible(guard: RiskGuard, held: int, side: Side) -> None:
    """Position and gross limits of nothing still let a position be brought nearer to zero, but not across."""
    limits = replace(LIMITS, max_position_shares=0, max_position_notional=Decimal(0), max_gross_notional=Decimal(0))
    guard.rebuild(holding(limits, AAPL=held))

    assert guard.clear(ask("most", side, 899)).cleared
    assert guard.clear(ask("rest", side, 1)).cleared
    assert not guard.clear(ask("across", side, 1)).cleared


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ("max_order_shares", VerdictCode.ORDER_SHARES),
        ("max_order_notional", VerdictCode.ORDER_NOTIONAL),
        ("max_position_shares", VerdictCode.POSITION_SHARES),
        ("max_position_notional", VerdictCode.POSITION_NOTIONAL),
        ("max_gross_notional", VerdictCode.GROSS_NOTIONAL),
        ("max_orders_per_session", VerdictCode.ORDERS_PER_SESSION),
    ],
)
def test_first_broken_limit_names_the_refusal(guard: RiskGuard, broken: str, code: VerdictCode) -> None:
    """With this limit and all later ones broken, this one is the reason given."""
    order = ["max_order_shares", "max_order_notional", "max_position_shares", "max_position_notional"]
    order += ["max_gross_notional", "max_orders_per_session"]
    later = {name: Decimal(0) if "notional" in name else 0 for name in order[order.index(broken) :]}
    guard.rebuild(replace(EMPTY, limits=replace(LIMITS, **later)))

    assert code == guard.clear(ask()).code


def test_accounts_do_not_share_a_book(guard: RiskGuard, client: redis.Redis) -> None:
    """Another account on the same server has its own book, or none."""
    assert VerdictCode.BOOK_MISSING == RiskGuard(client, "paper-2").clear(ask()).code
