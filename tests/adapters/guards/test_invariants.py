"""Any course of events: the guard does what the reference does, and its promises hold after every step."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.adapters.guards.builders import ACCOUNT, ACTION, EMPTY, LIMITS, ask, book_of, end, fill, holding
from tests.adapters.guards.reference import START, Reference
from trading_pipeline.adapters.guards.book import BookSnapshot, SessionCount
from trading_pipeline.adapters.guards.encoding import milliseconds
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.telling import Lowering
from trading_pipeline.core.money import to_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import Clearance, ClearanceRequest, ReplacementRequest, VerdictCode
from trading_pipeline.core.risk.halts import Breaker, Gate, OperatorAction
from trading_pipeline.core.risk.limits import OVERRIDABLE, LimitChange, LimitSet
from trading_pipeline.errors import OperatorError, OrderConflict, TradingHalted
from trading_pipeline.services.contradictions import contradictions

TIGHT = replace(
    LIMITS,
    max_order_shares=18,
    max_order_notional=Decimal("0.25"),
    price_collar_bps=3_000,
    max_order_adv_bps=1_000,
    max_position_shares=20,
    max_position_notional=Decimal("0.30"),
    max_position_equity_bps=5_000,
    max_gross_notional=Decimal("0.50"),
    max_long_notional=Decimal("0.40"),
    max_short_notional=Decimal("0.35"),
    max_net_notional=Decimal("0.38"),
    max_orders_per_session=8,
    max_notional_per_session=Decimal("1.20"),
    max_orders_per_second=6,
    max_orders_per_minute=15,
    duplicate_window_seconds=5,
    max_self_match_shares=4,
    quiet_period_seconds=60,
)
CHANGES = st.sampled_from(
    [
        ("max_position_shares", 5),
        ("max_position_shares", 60),
        ("max_position_notional", Decimal("0.05")),
        ("max_order_shares", 30),
        ("max_order_notional", Decimal(1)),
        ("max_gross_notional", Decimal("0.10")),
        ("max_gross_notional", Decimal(5)),
        ("max_long_notional", Decimal("0.05")),
        ("max_short_notional", Decimal("0.05")),
        ("max_net_notional", Decimal("0.10")),
        ("max_order_adv_bps", None),
        ("max_position_equity_bps", None),
        ("max_orders_per_session", 3),
        ("max_orders_per_second", 0),
        ("max_orders_per_minute", 1_000),
        ("max_self_match_shares", 1_000),
        ("max_reference_age_seconds", 0),
        ("quiet_period_seconds", 0),
    ]
)
ORDERS = st.sampled_from([f"order-{number}" for number in range(12)])
NEW_ORDERS = st.sampled_from([f"new-{number}" for number in range(6)])
NAMES = ["AAPL", "MSFT", "TSLA"]
SYMBOLS = st.sampled_from(NAMES)
SIDES = st.sampled_from(Side)
SHARES = st.integers(1, 20)
FILLED = st.one_of(SHARES.map(Decimal), st.decimals("0.000000001", 20, places=9), st.just(Decimal("0.5")))
PRICES = st.sampled_from([50, 100, 130])
SESSIONS = st.sampled_from([date(2024, 10, 17), date(2024, 10, 18)])
COUNTED = st.none() | st.tuples(SESSIONS, PRICES)
EXECUTIONS = st.integers(0, 30).map(lambda number: f"execution-{number}")
SECONDS = st.sampled_from([Decimal("0.000001"), Decimal("0.4"), Decimal(1), Decimal(6), Decimal(61), Decimal(-3)])
REQUESTS = st.builds(
    ask,
    ORDERS,
    SIDES,
    SHARES,
    SYMBOLS,
    price=st.sampled_from([50, 100, 100, 130] * 4 + [None]),
    limit=st.sampled_from([None] * 6 + [50, 100, 105, 130]),
    age=st.sampled_from([0] * 12 + [1_800, 1_801, None]),
    adv=st.sampled_from([1_000] * 6 + [150, None]),
    equity=st.sampled_from([10_000] * 8 + [1_000, -1, None]),
    repeat=st.sampled_from([0, 1, 1]),
    session=SESSIONS,
    flatten=st.sampled_from([False] * 7 + [True]),
)
CLOCK = "local function now_us() return tonumber(redis.call('GET', 'clock')) end"


class Trading(RuleBasedStateMachine):
    """Drives a real guard and the reference side by side, on one clock."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self.client = client
        self.guard = RiskGuard(client, ACCOUNT, clock=CLOCK)
        self.model = Reference(limit_set=LimitSet(limits=TIGHT))
        self.cleared: dict[str, tuple[ClearanceRequest, Clearance]] = {}
        self.set_clock()
        self.guard.rebuild(replace(EMPTY, limits=TIGHT))

    def set_clock(self) -> None:
        """Show the reference's time to the scripts."""
        self.client.set("clock", milliseconds(START) * 1000 + self.model.now_us)

    @rule(seconds=SECONDS)
    def wait(self, seconds) -> None:
        """Let time pass; now and then a clock is set back, which brings nothing back that has expired."""
        self.model.now_us += int(seconds * 1_000_000)
        self.model.limit_set = self.model.limit_set.in_force(self.model.now)
        self.set_clock()

    @rule(requests=st.lists(REQUESTS, min_size=1, max_size=8))
    def trade(self, requests) -> None:
        """Ask for anything, a few times: both agree, and a yes keeps the limits and the halts."""
        for request in requests:
            self.clear(replace(request, epoch=self.model.epoch, min_sequence=self.model.sequence))

    @rule(request=REQUESTS, newer=st.sampled_from([(1, 0), (0, 1)]))
    def ask_a_stale_book(self, request, newer) -> None:
        """A book that is not the ledger's clears nothing."""
        sequence = self.model.sequence + newer[1]
        self.clear(replace(request, epoch=self.model.epoch + newer[0], min_sequence=sequence))

    def clear(self, request: ClearanceRequest) -> None:
        """Ask both."""
        order = request.client_order_id
        reducing = self.model.reduces(request.symbol, request.side, request.qty)
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
        assert reducing or to_ticks(book.limits.max_gross_notional) >= book.gross_ticks
        assert reducing or to_ticks(book.limits.max_long_notional) >= book.long_ticks
        assert reducing or to_ticks(book.limits.max_short_notional) >= book.short_ticks
        assert reducing or to_ticks(book.limits.max_net_notional) >= max(book.net_high_ticks, -book.net_low_ticks)
        one = book.symbols[request.symbol]
        ends = {Side.BUY: one.position + one.pending_buy, Side.SELL: one.pending_sell - one.position}
        own = book.limit_set.effective(self.model.now, request.symbol)
        assert reducing or own.max_position_shares >= ends[request.side]

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

    @precondition(lambda self: self.model.held)
    @rule(
        data=st.data(), request=REQUESTS, new=NEW_ORDERS, before=SHARES, foreign=st.sampled_from([False] * 7 + [True])
    )
    def amend(self, data, request, new, before, foreign) -> None:
        """Replace an order that is held by a larger or a smaller one, at another price; now and then by a misfit."""
        holder = data.draw(st.sampled_from(sorted(self.model.held)))
        held = self.model.held[holder]
        order = replace(
            request,
            client_order_id=new,
            payload_digest=f"{new}|{request.payload_digest}",
            symbol=request.symbol if foreign else held.symbol,
            side=request.side if foreign else held.side,
            epoch=self.model.epoch,
            min_sequence=self.model.sequence,
        )
        asked = ReplacementRequest(order=order, holder=holder, replaced_qty=before)
        for _ in range(data.draw(st.sampled_from([1, 1, 2]))):
            code, observed, limit = self.model.amend(asked)
            verdict = self.guard.amend(asked)
            assert code == verdict.code
            assert (code is VerdictCode.CLEARED) == verdict.cleared
            if observed is not None:
                assert (observed, limit) == (verdict.observed, verdict.limit)

    @rule(data=st.data(), order=NEW_ORDERS, remaining=st.one_of(FILLED, st.just(Decimal(0))))
    def lower(self, data, order, remaining) -> None:
        """Tell what is left of a chain, whether or not it holds something."""
        holder = data.draw(st.sampled_from(sorted(self.model.held) or ["order-0"]))
        self.model.lower(order, holder, remaining)
        lowering = Lowering(client_order_id=order, holder=holder, remaining=remaining)

        told = self.guard.lower_many([lowering], epoch=self.model.epoch, min_sequence=0)

        assert self.model.sequence == told.require()

    @rule(order=ORDERS, execution=EXECUTIONS, qty=FILLED, symbol=SYMBOLS, side=SIDES, price=PRICES, counted=COUNTED)
    def post_anything(self, order, execution, qty, symbol, side, price, counted) -> None:
        """Fill something: ours or not, for the first time or not."""
        self.post(order, execution, qty, symbol, side, price, counted)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), execution=EXECUTIONS, qty=FILLED, price=PRICES)
    def post_held(self, data, execution, qty, price) -> None:
        """Fill an order that is held, in part, wholly, or beyond."""
        held = self.model.held[data.draw(st.sampled_from(sorted(self.model.held)))]
        counted = held.trade_session, held.price_ticks
        self.post(held.client_order_id, execution, qty, held.symbol, held.side, price, counted)

    def post(
        self,
        order: str,
        execution: str,
        qty: Decimal,
        symbol: str,
        side: Side,
        price: int,
        counted: tuple[date, int] | None,
    ) -> None:
        """Post to both."""
        told = {"order": order, "symbol": symbol, "side": side, "price": price, "counted": counted}
        fits = self.model.post(execution=execution, qty=qty, **told)
        try:
            fill(self.guard, execution, qty, epoch=self.model.epoch, **told)
        except OrderConflict:
            assert not fits
        else:
            assert fits

    @rule(order=ORDERS)
    def void(self, order) -> None:
        """End any order, held or not."""
        self.model.void(order)

        assert self.model.sequence == end(self.guard, order, epoch=self.model.epoch)

    @rule(order=ORDERS, newer=st.sampled_from([(1, 0), (0, 1)]))
    def tell_a_stale_book(self, order, newer) -> None:
        """A book that is not the ledger's is told nothing."""
        stale = {"epoch": self.model.epoch + newer[0], "min_sequence": self.model.sequence + newer[1]}
        with pytest.raises(TradingHalted):
            end(self.guard, order, **stale)
        with pytest.raises(TradingHalted):
            fill(self.guard, "execution-of-another-book", 1, order=order, **stale)

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

    @rule(gate=st.sampled_from([Gate.OPEN, Gate.OPEN, Gate.CLOSED]))
    def move_gate(self, gate) -> None:
        """Open or close the gate."""
        self.model.move_gate(gate)
        move = self.guard.open_gate if gate is Gate.OPEN else self.guard.close_gate

        assert self.model.sequence == move("reconciled or not")

    @rule(symbol=SYMBOLS, wanted=st.booleans())
    def block(self, symbol, wanted) -> None:
        """Block or unblock."""
        self.model.block(symbol, wanted=wanted)

        assert self.model.sequence == (self.guard.block if wanted else self.guard.unblock)(symbol)

    @rule(symbol=SYMBOLS, seconds=st.sampled_from([None, 1, 60]))
    def quarantine(self, symbol, seconds) -> None:
        """Put a symbol into quarantine, with an end or without."""
        until = None if seconds is None else self.model.now_us // 1000 * 1000 + seconds * 1_000_000
        self.model.quarantine(symbol, until)
        instant = None if until is None else START + timedelta(microseconds=until)

        assert self.model.sequence == self.guard.quarantine(symbol, instant)

    @rule(symbol=SYMBOLS)
    def release(self, symbol) -> None:
        """Take a symbol out of quarantine."""
        self.model.release(symbol)

        assert self.model.sequence == self.guard.release(symbol)

    @rule(change=CHANGES, symbol=st.sampled_from([None, *NAMES]), seconds=st.sampled_from([None, None, 1, 60]))
    def set_limit(self, change, symbol, seconds) -> None:
        """Change one limit, of the account or of a symbol, for good or for a while."""
        name, value = change
        symbol = symbol if name in OVERRIDABLE else None
        until = None if seconds is None else self.model.now + timedelta(seconds=seconds)
        until = None if until is None else until.replace(microsecond=until.microsecond // 1000 * 1000)
        limits = self.model.changed([LimitChange(limit=name, value=value, symbol=symbol, until=until)])
        self.model.set_limits(limits)

        assert self.model.sequence == self.guard.set_limits(limits.limits, limits.changes)

    @rule(first=SYMBOLS)
    def all_clear(self, first) -> None:
        """Undo what keeps orders from clearing, so that there is something to judge."""
        if self.model.engaged:
            self.kill_switch(wanted=False)
        if self.model.breaker is Breaker.TRIPPED:
            self.reset()
        self.wait(seconds=Decimal(61))
        self.move_gate(Gate.OPEN)
        for symbol in (first, *NAMES):
            self.block(symbol, wanted=False)
            self.release(symbol)
        self.model.set_limits(LimitSet(limits=TIGHT))
        assert self.model.sequence == self.guard.set_limits(TIGHT)

    @rule()
    def rebuild(self) -> None:
        """Rebuild the book from what is known."""
        self.guard.rebuild(self.model.rebuilt())

    def snapshot(self) -> BookSnapshot:
        """Return the book, which is always there."""
        return book_of(self.guard)

    @invariant()
    def book_is_the_reference(self) -> None:
        """Every part of the book is what the reference says; the running totals are those made from scratch."""
        book, model = self.snapshot(), self.model
        assert (model.epoch, model.sequence, *model.state()) == (book.epoch, book.sequence, book.state, book.cause)
        assert (model.breaker_now(), model.gate, model.limits) == (book.breaker, book.gate, book.limits)
        assert {name: shares for name, shares in model.positions.items() if shares} == book.positions
        assert model.held == book.reservations
        assert model.blocked == book.blocked
        assert [] == list(contradictions(book))
        assert set(model.quarantined) == set(book.quarantined)
        counts = {day: SessionCount(count, model.traded[day]) for day, count in model.orders.items()}
        assert counts == book.sessions
        totals = (book.gross_ticks, book.long_ticks, book.short_ticks, book.net_high_ticks, book.net_low_ticks)
        assert tuple(model.exposures().values()) == totals
        assert len(model.over()) == book.symbols_over_limits

    @invariant()
    def pending_is_what_remains(self) -> None:
        """Pending shares are the remainders of live orders, to the billionth of a share."""
        book = self.snapshot()
        for symbol, one in book.symbols.items():
            mine = [held for held in book.reservations.values() if held.symbol == symbol]
            assert one.pending_buy == sum(held.remaining for held in mine if held.side is Side.BUY)
            assert one.pending_sell == sum(held.remaining for held in mine if held.side is Side.SELL)


def test_guard_does_what_the_reference_does(client: redis.Redis) -> None:
    """Whatever happens in whatever order, book and verdicts are those of the reference."""
    run_state_machine_as_test(lambda: Trading(client), settings=settings(max_examples=60, stateful_step_count=40))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
            epoch=1,
            min_sequence=0,
            client_order_id=order,
            execution_id=f"fill of {order}",
            qty=min(filled, qty),
            symbol=symbol,
            side=side,
            price_ticks=100,
        )
    end(guard, order)


def test_replaying_everything_changes_nothing(guard: RiskGuard, raw: redis.Redis) -> None:
    """The whole course of a day told twice leaves the keys as they were, byte for byte."""

    def day() -> None:
        for number, side in enumerate([Side.BUY, Side.SELL, Side.BUY]):
            order = f"order-{number}"
            guard.clear(ask(order, side, 10))
            guard.post(
                epoch=1,
                min_sequence=0,
                client_order_id=order,
                execution_id=f"e{number}",
                qty=4,
                symbol="AAPL",
                side=side,
                price_ticks=100,
            )
        end(guard, "order-0")
        guard.trip("drawdown")
        guard.block("TSLA")

    day()
    once = {key: raw.hgetall(key) for key in raw.keys("*")}
    day()

    assert once == {key: raw.hgetall(key) for key in raw.keys("*")}
