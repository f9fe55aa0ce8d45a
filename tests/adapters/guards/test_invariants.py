"""Any course of events: the guard does what the reference does, and its promises hold after every step."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.adapters.guards.builders import ACTION, EMPTY, LIMITS, ask, holding
from tests.adapters.guards.reference import Reference
from trading_pipeline.adapters.guards.book import BookSnapshot
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.money import to_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import Clearance, ClearanceRequest, VerdictCode
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import OperatorError, OrderConflict

TIGHT = replace(
    LIMITS,
    max_position_shares=20,
    max_position_notional=Decimal("0.30"),
    max_gross_notional=Decimal("0.50"),
    max_order_shares=18,
    max_order_notional=Decimal("0.25"),
    max_orders_per_session=8,
    quiet_period_seconds=3_600,
)
CHOICES = [
    TIGHT,
    replace(TIGHT, max_position_shares=5, max_gross_notional=Decimal("0.10"), quiet_period_seconds=0),
    replace(TIGHT, max_order_shares=30, max_position_shares=60, max_orders_per_session=3),
]
ORDERS = st.sampled_from([f"order-{number}" for number in range(12)])
SYMBOLS = st.sampled_from(["AAPL", "MSFT", "TSLA"])
SIDES = st.sampled_from(Side)
SHARES = st.integers(1, 20)
PRICES = st.sampled_from([50, 100, 130])
SESSIONS = st.sampled_from([date(2024, 10, 17), date(2024, 10, 18)])
EXECUTIONS = st.integers(0, 30).map(lambda number: f"execution-{number}")


class Trading(RuleBasedStateMachine):
    """Drives a real guard and the reference side by side."""

    def __init__(self, guard: RiskGuard) -> None:
        super().__init__()
        self.guard = guard
        self.model = Reference(limits=TIGHT)
        self.cleared: dict[str, tuple[ClearanceRequest, Clearance]] = {}
        guard.rebuild(replace(EMPTY, limits=TIGHT))

    @rule(
        order=ORDERS,
        side=SIDES,
        qty=SHARES,
        symbol=SYMBOLS,
        price=PRICES,
        session=SESSIONS,
        flatten=st.sampled_from([False, False, False, True]),
        newer=st.sampled_from([(0, 0)] * 8 + [(1, 0), (0, 1)]),
    )
    def clear(self, order, side, qty, symbol, price, session, *, flatten, newer) -> None:
        """Ask for anything: both agree, and a yes keeps the limits and the halts."""
        request = ask(order, side, qty, symbol, price=price, session=session, flatten=flatten)
        request = replace(request, epoch=self.model.epoch + newer[0], min_sequence=self.model.sequence + newer[1])
        reducing = self.model.reduces(symbol, side, qty)
        fresh = order not in self.model.held
        code, observed, limit = self.model.clear(request)

        verdict = self.guard.clear(request)

        assert code == verdict.code
        assert (code is VerdictCode.CLEARED) == verdict.cleared
        if observed is not None:
            assert (observed, limit) == (verdict.observed, verdict.limit)
        if verdict.clearance is not None:
            self.cleared[order] = request, verdict.clearance
        if verdict.cleared and fresh:
            self.check_yes(request, reducing=reducing)

    def check_yes(self, request: ClearanceRequest, *, reducing: bool) -> None:
        """Check what must hold after every new clearance, in the words of the promise and not of the reference."""
        book = self.snapshot()
        assert reducing or "active" == book.state
        assert reducing or to_ticks(book.limits.max_gross_notional) >= book.gross_ticks
        one = book.symbols[request.symbol]
        ends = {Side.BUY: one.position + one.pending_buy, Side.SELL: one.pending_sell - one.position}
        assert reducing or book.limits.max_position_shares >= ends[request.side]

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def repeat(self, data) -> None:
        """Ask again for what is held: the same clearance, or a halt; nothing changes either way."""
        order = data.draw(st.sampled_from(sorted(self.model.held)))
        request, clearance = self.cleared[order]
        request = replace(request, epoch=self.model.epoch)
        code, _, _ = self.model.clear(request)

        verdict = self.guard.clear(request)

        assert code == verdict.code
        if verdict.clearance is not None:
            assert (clearance.sequence, self.model.epoch) == (verdict.clearance.sequence, verdict.clearance.epoch)

    @rule(order=ORDERS, execution=EXECUTIONS, qty=SHARES, symbol=SYMBOLS, side=SIDES, price=PRICES)
    def post_anything(self, order, execution, qty, symbol, side, price) -> None:
        """Fill something: ours or not, for the first time or not."""
        self.post(order, execution, qty, symbol, side, price)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), execution=EXECUTIONS, qty=SHARES, price=PRICES)
    def post_held(self, data, execution, qty, price) -> None:
        """Fill an order that is held, in part, wholly, or beyond."""
        held = self.model.held[data.draw(st.sampled_from(sorted(self.model.held)))]
        self.post(held.client_order_id, execution, qty, held.symbol, held.side, price)

    def post(self, order: str, execution: str, qty: int, symbol: str, side: Side, price: int) -> None:
        """Post to both."""
        fits = self.model.post(order, execution, qty, symbol, side, price)
        try:
            self.guard.post(
                client_order_id=order, execution_id=execution, qty=qty, symbol=symbol, side=side, price_ticks=price
            )
        except OrderConflict:
            assert not fits
        else:
            assert fits

    @rule(order=ORDERS)
    def void(self, order) -> None:
        """End any order, held or not."""
        self.model.void(order)

        assert self.model.sequence == self.guard.void(order)

    @rule(wanted=st.booleans())
    def kill_switch(self, wanted) -> None:
        """Engage or disengage."""
        move = self.guard.engage_kill_switch if wanted else self.guard.disengage_kill_switch
        self.move(move, moves=self.model.engage(wanted=wanted))

    @rule(reason=st.sampled_from(["drawdown", "error rate"]))
    def trip(self, reason) -> None:
        """Trip the breaker."""
        self.model.trip(reason)

        assert self.model.sequence == self.guard.trip(reason)

    @rule()
    def reset(self) -> None:
        """Reset the breaker."""
        self.move(self.guard.reset, moves=self.model.reset())

    def move(self, change: Callable[[OperatorAction], int], *, moves: bool) -> None:
        """Make an operator's change, which is refused exactly when it would change nothing."""
        if moves:
            assert self.model.sequence == change(ACTION)
        else:
            with pytest.raises(OperatorError):
                change(ACTION)

    @rule(symbol=SYMBOLS, wanted=st.booleans())
    def block(self, symbol, wanted) -> None:
        """Block or unblock."""
        self.model.block(symbol, wanted=wanted)

        assert self.model.sequence == (self.guard.block if wanted else self.guard.unblock)(symbol)

    @rule(limits=st.sampled_from(CHOICES))
    def set_limits(self, limits) -> None:
        """Raise or lower the limits."""
        self.model.set_limits(limits)

        assert self.model.sequence == self.guard.set_limits(limits)

    @rule()
    def rebuild(self) -> None:
        """Rebuild the book from what is known."""
        self.guard.rebuild(self.model.rebuilt())

    def snapshot(self) -> BookSnapshot:
        """Return the book, which is always there."""
        book = self.guard.snapshot()
        assert book is not None
        return book

    @invariant()
    def book_is_the_reference(self) -> None:
        """Every part of the book is what the reference says; the running totals are those made from scratch."""
        book, model = self.snapshot(), self.model
        assert (model.epoch, model.sequence, model.state()) == (book.epoch, book.sequence, book.state)
        assert (model.breaker, model.limits) == (book.breaker, book.limits)
        assert {name: shares for name, shares in model.positions.items() if shares} == book.positions
        assert model.held == book.reservations
        assert model.blocked == book.blocked
        assert model.counts == book.orders_per_session
        assert model.gross() == book.gross_ticks

    @invariant()
    def pending_is_what_remains(self) -> None:
        """Pending shares are the remainders of live orders, to the share."""
        book = self.snapshot()
        for symbol, one in book.symbols.items():
            mine = [held for held in book.reservations.values() if held.symbol == symbol]
            assert one.pending_buy == sum(held.remaining for held in mine if held.side is Side.BUY)
            assert one.pending_sell == sum(held.remaining for held in mine if held.side is Side.SELL)


def test_guard_does_what_the_reference_does(guard: RiskGuard) -> None:
    """Whatever happens in whatever order, book and verdicts are those of the reference."""
    run_state_machine_as_test(
        lambda: Trading(guard), settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.fixed_dictionaries({"AAPL": st.integers(-20, 20), "MSFT": st.integers(-10, 10)}),
    asks=st.lists(st.tuples(SIDES, SHARES, st.sampled_from(["AAPL", "MSFT"])), max_size=25),
    ends=st.lists(st.tuples(st.integers(0, 24), st.integers(0, 20)), max_size=25),
)
def test_no_order_of_fills_passes_a_limit(guard: RiskGuard, start, asks, ends) -> None:
    """As long as only cleared orders fill, no prefix of fills and ends takes a position or the total past its limit."""
    limits = replace(
        TIGHT, max_orders_per_session=100, max_order_notional=Decimal(10), max_gross_notional=Decimal("0.35")
    )
    state = holding(limits, **start)
    guard.rebuild(replace(state, marks=dict.fromkeys(start, 100)))
    held: dict[str, tuple[Side, int, str]] = {}
    for number, (side, qty, symbol) in enumerate(asks):
        if guard.clear(ask(f"order-{number}", side, qty, symbol, price=100)).cleared:
            held[f"order-{number}"] = side, qty, symbol
        for which, filled in ends[number : number + 1]:
            settle(guard, held, f"order-{which}", filled)
        book = guard.snapshot()
        assert book is not None
        assert 3_500 >= book.gross_ticks
        for one in book.symbols.values():
            assert 20 >= one.worst_case_shares


def settle(guard: RiskGuard, held: dict[str, tuple[Side, int, str]], order: str, filled: int) -> None:
    """Fill an order that is held by so much, or to its end, and void what is left."""
    if order not in held:
        return
    side, qty, symbol = held.pop(order)
    if filled:
        guard.post(
            client_order_id=order,
            execution_id=f"fill of {order}",
            qty=min(filled, qty),
            symbol=symbol,
            side=side,
            price_ticks=100,
        )
    guard.void(order)


def test_replaying_everything_changes_nothing(guard: RiskGuard, client: redis.Redis) -> None:
    """The whole course of a day told twice leaves the keys as they were, byte for byte."""

    def day() -> None:
        for number, side in enumerate([Side.BUY, Side.SELL, Side.BUY]):
            order = f"order-{number}"
            guard.clear(ask(order, side, 10))
            guard.post(
                client_order_id=order, execution_id=f"e{number}", qty=4, symbol="AAPL", side=side, price_ticks=100
            )
        guard.void("order-0")
        guard.trip("drawdown")
        guard.block("TSLA")

    day()
    once = {key: client.hgetall(key) for key in client.keys("*")}
    day()

    assert once == {key: client.hgetall(key) for key in client.keys("*")}
