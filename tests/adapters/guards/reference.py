"""What the guard should do, in plain Python: everything recomputed from scratch, nothing shared with the scripts."""

from dataclasses import dataclass, field, replace
from datetime import date

from trading_pipeline.adapters.guards.book import BookState, Reservation
from trading_pipeline.core.money import to_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ClearanceRequest, VerdictCode
from trading_pipeline.core.risk.halts import Breaker, KillSwitch, TradingState
from trading_pipeline.core.risk.limits import RiskLimits

Answer = tuple[VerdictCode, int | None, int | None]


@dataclass
class Reference:
    """A book that forgets nothing, whose quiet periods last for ever or not at all."""

    limits: RiskLimits
    epoch: int = 1
    sequence: int = 0
    engaged: bool = False
    breaker: Breaker = Breaker.OPEN
    breaker_reason: str = ""
    positions: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    held: dict[str, Reservation] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    executions: set[str] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    counts: dict[date, int] = field(default_factory=dict)

    def pending(self, symbol: str, side: Side, *, without: str = "") -> int:
        """Return the live remainders of one symbol and side."""
        return sum(
            one.remaining
            for one in self.held.values()
            if (one.symbol, one.side) == (symbol, side) and one.client_order_id != without
        )

    def worst(self, symbol: str) -> int:
        """Return the largest absolute position that any subset of the pending orders could lead to."""
        position = self.positions.get(symbol, 0)
        extremes = (position + self.pending(symbol, Side.BUY), position - self.pending(symbol, Side.SELL))
        return max(abs(extreme) for extreme in extremes)

    def gross(self) -> int:
        """Return the worst case over all symbols, in 1/10,000 dollar."""
        symbols = set(self.positions) | {one.symbol for one in self.held.values()}
        return sum(self.worst(symbol) * self.marks[symbol] for symbol in symbols)

    def reduces(self, symbol: str, side: Side, qty: int, *, without: str = "") -> bool:
        """Tell whether the order brings the position nearer to zero and cannot cross it."""
        position = self.positions.get(symbol, 0)
        after = position + side.sign * (self.pending(symbol, side, without=without) + qty)
        return position * side.sign < 0 and after * side.sign <= 0

    def state(self) -> TradingState:
        """Return what the account may do."""
        if self.engaged:
            return TradingState.HALTED
        return TradingState.ACTIVE if self.breaker is Breaker.OPEN else TradingState.REDUCING

    def clear(self, ask: ClearanceRequest) -> Answer:
        """Judge an order and hold it on a yes."""
        if ask.epoch != self.epoch:
            return VerdictCode.BOOK_STALE, self.epoch, ask.epoch
        if self.sequence < ask.min_sequence:
            return VerdictCode.BOOK_STALE, self.sequence, ask.min_sequence
        held = self.held.get(ask.client_order_id)
        if held is not None and held.payload_digest != ask.payload_digest:
            return VerdictCode.CONFLICT, None, None
        if held is None and ask.client_order_id in self.ended:
            return VerdictCode.ENDED, None, None
        qty = ask.qty if held is None else held.remaining
        reducing = self.reduces(ask.symbol, ask.side, qty, without=ask.client_order_id)
        refusal = self._halt(ask, reducing=reducing)
        if refusal is None and held is None:
            refusal = self._limit(ask, reducing=reducing)
        if refusal is not None:
            return refusal
        if held is None:
            self._reserve(ask)
        return VerdictCode.CLEARED, None, None

    def _halt(self, ask: ClearanceRequest, *, reducing: bool) -> Answer | None:
        if ask.flatten and not reducing:
            return VerdictCode.NOT_REDUCING, self.positions.get(ask.symbol, 0), 0
        if self.engaged and not ask.flatten:
            return VerdictCode.KILL_SWITCH_ENGAGED, None, None
        if self.breaker is Breaker.TRIPPED and not reducing:
            return VerdictCode.BREAKER_TRIPPED, None, None
        if self.breaker is Breaker.QUIET_PERIOD and not reducing:
            return VerdictCode.QUIET_PERIOD, None, None
        if ask.symbol in self.blocked and not ask.flatten:
            return VerdictCode.SYMBOL_BLOCKED, None, None
        return None

    def _limit(self, ask: ClearanceRequest, *, reducing: bool) -> Answer | None:
        limits, price = self.limits, ask.reference_ticks
        after = ask.side.sign * self.positions.get(ask.symbol, 0) + self.pending(ask.symbol, ask.side) + ask.qty
        would = replace(self, held=dict(self.held), marks=dict(self.marks), counts=dict(self.counts))
        would._reserve(ask)
        checks = [
            (VerdictCode.ORDER_SHARES, ask.qty, limits.max_order_shares, not ask.flatten),
            (VerdictCode.ORDER_NOTIONAL, ask.qty * price, to_ticks(limits.max_order_notional), not ask.flatten),
            (VerdictCode.POSITION_SHARES, after, limits.max_position_shares, not reducing),
            (VerdictCode.POSITION_NOTIONAL, after * price, to_ticks(limits.max_position_notional), not reducing),
            (VerdictCode.GROSS_NOTIONAL, would.gross(), to_ticks(limits.max_gross_notional), not reducing),
            (
                VerdictCode.ORDERS_PER_SESSION,
                would.counts[ask.trade_session],
                limits.max_orders_per_session,
                not ask.flatten,
            ),
        ]
        for code, observed, limit, counts in checks:
            if counts and observed > limit:
                return code, observed, limit
        return None

    def _reserve(self, ask: ClearanceRequest) -> None:
        self.sequence += 1
        self.marks[ask.symbol] = ask.reference_ticks
        self.counts[ask.trade_session] = self.counts.get(ask.trade_session, 0) + 1
        self.held[ask.client_order_id] = Reservation(
            client_order_id=ask.client_order_id,
            payload_digest=ask.payload_digest,
            symbol=ask.symbol,
            side=ask.side,
            qty=ask.qty,
            remaining=ask.qty,
            sequence=self.sequence,
            trade_session=ask.trade_session,
        )

    def post(self, order: str, execution: str, qty: int, symbol: str, side: Side, price: int) -> bool:
        """Count a fill once; False when it does not fit the order it names."""
        if execution in self.executions:
            return True
        held = self.held.get(order)
        if held is not None and (held.symbol, held.side) != (symbol, side):
            return False
        self.sequence += 1
        self.executions.add(execution)
        self.positions[symbol] = self.positions.get(symbol, 0) + side.sign * qty
        self.marks.setdefault(symbol, price)
        if held is not None and held.remaining <= qty:
            self._end(order)
        elif held is not None:
            self.held[order] = replace(held, remaining=held.remaining - qty)
        return True

    def void(self, order: str) -> None:
        """End an order."""
        if order not in self.ended:
            self.sequence += 1
            self._end(order)

    def _end(self, order: str) -> None:
        self.held.pop(order, None)
        self.ended.add(order)

    def engage(self, *, wanted: bool) -> bool:
        """Move the kill switch; False when it stands there already."""
        if self.engaged is wanted:
            return False
        self.sequence += 1
        self.engaged = wanted
        return True

    def trip(self, reason: str) -> None:
        """Trip the breaker."""
        if self.breaker is not Breaker.TRIPPED:
            self.sequence += 1
            self.breaker, self.breaker_reason = Breaker.TRIPPED, reason

    def reset(self) -> bool:
        """Start the quiet period, which is over at once if it has no length; False when not tripped."""
        if self.breaker is not Breaker.TRIPPED:
            return False
        self.sequence += 1
        self.breaker = Breaker.QUIET_PERIOD if self.limits.quiet_period_seconds else Breaker.OPEN
        return True

    def block(self, symbol: str, *, wanted: bool) -> None:
        """Block or unblock a symbol."""
        if (symbol in self.blocked) is not wanted:
            self.sequence += 1
            self.blocked ^= {symbol}

    def set_limits(self, limits: RiskLimits) -> None:
        """Replace the limits."""
        self.sequence += 1
        self.limits = limits

    def rebuilt(self) -> BookState:
        """Return what the book would be rebuilt from after its loss, and forget the ended orders as the book does."""
        self.epoch += 1
        self.ended = set()
        if self.breaker is Breaker.QUIET_PERIOD:
            self.breaker, self.breaker_reason = Breaker.TRIPPED, "was quiet"
        return BookState(
            epoch=self.epoch,
            sequence=self.sequence,
            limits=self.limits,
            kill_switch=KillSwitch.ENGAGED if self.engaged else KillSwitch.DISENGAGED,
            breaker=self.breaker,
            breaker_reason=self.breaker_reason,
            positions=dict(self.positions),
            marks=dict(self.marks),
            reservations=tuple(self.held.values()),
            blocked=frozenset(self.blocked),
            orders_per_session=dict(self.counts),
            executions=frozenset(self.executions),
        )
