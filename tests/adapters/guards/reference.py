"""What the guard should do, in plain Python: everything recomputed from scratch, nothing shared with the scripts."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache

from trading_pipeline.adapters.guards.book import BookState, RecentIntent, Reservation, SessionCount
from trading_pipeline.core.money import to_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ClearanceRequest, ReplacementRequest, VerdictCode
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch, TradingState
from trading_pipeline.core.risk.limits import LimitChange, LimitSet, RiskLimits

Answer = tuple[VerdictCode, int | None, int | None]

START = datetime(2024, 10, 17, 14, tzinfo=UTC)
"""When the reference's clock starts."""

NO = None, None


@dataclass
class Reference:
    """A book that forgets nothing, on a clock that the test moves."""

    limit_set: LimitSet
    now_us: int = 0
    epoch: int = 1
    sequence: int = 0
    engaged: bool = False
    breaker: Breaker = Breaker.OPEN
    breaker_reason: str = ""
    quiet_until_us: int = 0
    gate: Gate = Gate.OPEN
    positions: dict[str, Decimal] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    held: dict[str, Reservation] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)
    executions: set[str] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    quarantined: dict[str, int | None] = field(default_factory=dict)
    orders: dict[date, int] = field(default_factory=dict)
    traded: dict[date, int] = field(default_factory=dict)
    intents: dict[tuple[date, str, Side, int, str], int] = field(default_factory=dict)
    buckets: tuple[int, dict[str, Decimal]] | None = None
    draws: dict[int, int] = field(default_factory=dict)
    reach: dict[tuple[str, Side], int] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """The instant the clock shows."""
        return START + timedelta(microseconds=self.now_us)

    @property
    def limits(self) -> RiskLimits:
        """The account's limits as they bind now."""
        return _effective(self.limit_set, self.now, None)

    def own(self, symbol: str) -> RiskLimits:
        """Return a symbol's limits as they bind now."""
        return _effective(self.limit_set, self.now, symbol)

    def pending(self, symbol: str, side: Side) -> Decimal:
        """Return the live remainders of one symbol and side."""
        mine = (one.remaining for one in self.held.values() if (one.symbol, one.side) == (symbol, side))
        return sum(mine, start=Decimal(0))

    def extremes(self, symbol: str) -> tuple[int, int]:
        """Return the longest and the shortest that any subset of the pending orders could lead to, away from zero."""
        position = self.positions.get(symbol, Decimal(0))
        longest = math.ceil(position + self.pending(symbol, Side.BUY))
        return longest, math.floor(position - self.pending(symbol, Side.SELL))

    def at_risk(self) -> set[str]:
        """Return the symbols with shares or orders."""
        return set(self.positions) | {one.symbol for one in self.held.values()}

    def exposures(self) -> dict[str, int]:
        """Return the worst cases over all symbols, in 1/10,000 dollar."""
        totals = dict.fromkeys(("gross", "long", "short", "high", "low"), 0)
        for symbol in self.at_risk():
            longest, shortest = self.extremes(symbol)
            mark = self.marks[symbol]
            totals["gross"] += max(longest, -shortest) * mark
            totals["long"] += max(longest, 0) * mark
            totals["short"] += max(-shortest, 0) * mark
            totals["high"] += longest * mark
            totals["low"] += shortest * mark
        return totals

    def over(self) -> list[str]:
        """Return the symbols over a limit of their own."""
        return [symbol for symbol in self.at_risk() if self._over(symbol)]

    def _over(self, symbol: str) -> bool:
        limits, (longest, shortest) = self.own(symbol), self.extremes(symbol)
        worst = max(longest, -shortest)
        too_many = worst > limits.max_position_shares
        return too_many or worst * self.marks[symbol] > to_ticks(limits.max_position_notional)

    def breached(self) -> bool:
        """Tell whether the account is over any limit of exposure."""
        totals, limits = self.exposures(), self.limits
        return (
            bool(self.over())
            or any(
                totals[name] > to_ticks(limit)
                for name, limit in (
                    ("gross", limits.max_gross_notional),
                    ("long", limits.max_long_notional),
                    ("short", limits.max_short_notional),
                    ("high", limits.max_net_notional),
                )
            )
            or -totals["low"] > to_ticks(limits.max_net_notional)
        )

    def reduces(self, symbol: str, side: Side, qty: Decimal | int) -> bool:
        """Tell whether the order brings the position nearer to zero and cannot cross it."""
        position = self.positions.get(symbol, Decimal(0))
        after = position + side.sign * (self.pending(symbol, side) + qty)
        return position * side.sign < 0 and after * side.sign <= 0

    def breaker_now(self) -> Breaker:
        """Return the breaker's state, the end of a quiet period taken into account."""
        over = self.breaker is Breaker.QUIET_PERIOD and self.now_us >= self.quiet_until_us
        return Breaker.OPEN if over else self.breaker

    def state(self) -> tuple[TradingState, VerdictCode | None]:
        """Return what the account may do, and the first reason."""
        if self.engaged:
            return TradingState.HALTED, VerdictCode.KILL_SWITCH_ENGAGED
        causes = (
            (self.breaker_now() is Breaker.TRIPPED, VerdictCode.BREAKER_TRIPPED),
            (self.breaker_now() is Breaker.QUIET_PERIOD, VerdictCode.QUIET_PERIOD),
            (self.gate is Gate.CLOSED, VerdictCode.GATE_CLOSED),
            (self.breached(), VerdictCode.LIMIT_BREACHED),
        )
        for holds, cause in causes:
            if holds:
                return TradingState.REDUCING, cause
        return TradingState.ACTIVE, None

    def clear(self, ask: ClearanceRequest) -> Answer:
        """Judge an order and hold it on a yes."""
        if ask.epoch != self.epoch:
            return VerdictCode.BOOK_STALE, self.epoch, ask.epoch
        if self.sequence < ask.min_sequence:
            return VerdictCode.BOOK_STALE, self.sequence, ask.min_sequence
        held = self.held.get(ask.client_order_id)
        if held is not None and held.payload_digest != ask.payload_digest:
            return VerdictCode.CONFLICT, *NO
        if held is None and ask.client_order_id in self.ended:
            return VerdictCode.ENDED, *NO
        reducing = self.reduces(ask.symbol, ask.side, ask.qty if held is None else 0)
        for refusal in self._refusals(ask, held, reducing=reducing):
            return refusal
        if held is None:
            self._reserve(ask)
        return VerdictCode.CLEARED, *NO

    def amend(self, asked: ReplacementRequest) -> Answer:
        """Judge a replacement by what it could still fill, without the old order; hold the larger of the two."""
        ask, holder = asked.order, asked.holder
        held = self.held.get(holder)
        if ask.epoch != self.epoch or self.sequence < ask.min_sequence:
            return self.clear(ask)
        if ask.client_order_id in self.settled or held is None:
            return VerdictCode.ENDED, *NO
        if (held.symbol, held.side) != (ask.symbol, ask.side):
            return VerdictCode.CONFLICT, *NO
        if held.payload_digest == ask.payload_digest:
            halts = self._halts(ask, reducing=self.reduces(ask.symbol, ask.side, 0))
            return next(halts, (VerdictCode.CLEARED, *NO))
        could_fill = held.remaining + ask.qty - asked.replaced_qty
        if could_fill <= 0:
            return VerdictCode.ENDED, *NO
        judged = replace(ask, qty=math.ceil(could_fill), repeat=max(ask.repeat, 1), client_order_id=holder)
        return self._amend(judged, held, could_fill)

    def _amend(self, judged: ClearanceRequest, held: Reservation, could_fill: Decimal) -> Answer:
        before = {name: dict(getattr(self, name)) for name in _CHANGED_BY_A_YES}
        self._drop(held)
        answer = self.clear(judged)
        if answer[0] is not VerdictCode.CLEARED:
            for name, value in before.items():
                setattr(self, name, value)
            return answer
        new, key = self.held[held.client_order_id], (held.symbol, held.side)
        price, remaining = max(new.price_ticks, held.price_ticks), max(held.remaining, could_fill)
        self.traded[new.trade_session] += math.floor(remaining) * price - judged.qty * new.price_ticks
        if key in before["reach"]:
            self.reach[key] = (max if held.side is Side.BUY else min)(before["reach"][key], self.reach[key])
        self.held[held.client_order_id] = replace(new, remaining=remaining, price_ticks=price, qty=math.ceil(remaining))
        return answer

    def lower(self, order: str, holder: str, remaining: Decimal) -> None:
        """Lower what a chain holds to what its live orders can still fill, and never raise it."""
        held = self.held.get(holder)
        if held is not None and held.remaining > remaining:
            given_back = (math.floor(held.remaining) - math.floor(remaining)) * held.price_ticks
            self._give_back(held, given_back)
            if remaining:
                self.held[holder] = replace(held, remaining=remaining)
            else:
                self._end(holder)
        elif order in self.settled:
            return
        self.sequence += 1
        self.settled.add(order)

    def _refusals(self, ask: ClearanceRequest, held: Reservation | None, *, reducing: bool) -> Iterator[Answer]:
        yield from self._halts(ask, reducing=reducing)
        if held is None:
            if not ask.flatten:
                yield from self._traffic(ask)
            yield from self._sizes(ask)
            yield from self._exposures_after(ask, reducing=reducing)

    def _halts(self, ask: ClearanceRequest, *, reducing: bool) -> Iterator[Answer]:
        if ask.flatten and not reducing:
            position = self.positions.get(ask.symbol, Decimal(0))
            yield VerdictCode.NOT_REDUCING, math.floor(position), 0
        state, cause = self.state()
        if cause is not None and not (ask.flatten if state is TradingState.HALTED else reducing):
            yield cause, *NO
        if ask.symbol in self.blocked and not ask.flatten:
            yield VerdictCode.SYMBOL_BLOCKED, *NO
        until = self.quarantined.get(ask.symbol, self.now_us)
        if (until is None or until > self.now_us) and not ask.flatten:
            yield VerdictCode.SYMBOL_QUARANTINED, *NO

    def _traffic(self, ask: ClearanceRequest) -> Iterator[Answer]:
        window = self.limits.duplicate_window_seconds * 1_000_000
        before = self.intents.get(_intent(ask))
        if not ask.repeat and before is not None and self.now_us - before < window:
            yield VerdictCode.DUPLICATE_INTENT, (self.now_us - before) // 1000, window // 1000
        for code, period, limit, tokens in self._buckets():
            del period
            if tokens < 1:
                yield code, math.floor(limit - tokens) + 1, limit

    def _buckets(self) -> list[tuple[VerdictCode, int, int, Decimal]]:
        """Refill both buckets up to now: code, period, size, and tokens in each."""
        sizes = (
            (VerdictCode.ORDERS_PER_SECOND, 1_000_000, self.limits.max_orders_per_second),
            (VerdictCode.ORDERS_PER_MINUTE, 60_000_000, self.limits.max_orders_per_minute),
        )
        filled = []
        for code, period, size in sizes:
            tokens = Decimal(size)
            if self.buckets is not None:
                then, levels = self.buckets
                tokens = min(tokens, levels[code] + Decimal(max(self.now_us - then, 0) * size) / period)
            filled.append((code, period, size, tokens))
        return filled

    def _sizes(self, ask: ClearanceRequest) -> Iterator[Answer]:
        own, limits, market = self.own(ask.symbol), self.limits, ask.market
        if ask.qty > own.max_order_shares and not ask.flatten:
            yield VerdictCode.ORDER_SHARES, ask.qty, own.max_order_shares
        price = self._price(ask)
        if price is None:
            yield VerdictCode.REFERENCE_MISSING, *NO
            return
        notional = ask.qty * max(price, ask.limit_ticks or 0)
        if notional > to_ticks(own.max_order_notional) and not ask.flatten:
            yield VerdictCode.ORDER_NOTIONAL, notional, to_ticks(own.max_order_notional)
        age = market.reference_age_seconds
        if not ask.flatten and (age is None or age > limits.max_reference_age_seconds):
            yield VerdictCode.REFERENCE_STALE, age, None if age is None else limits.max_reference_age_seconds
        if ask.limit_ticks is not None:
            distance, allowed = abs(ask.limit_ticks - price), price * limits.price_collar_bps // 10_000
            if distance > allowed:
                yield VerdictCode.PRICE_COLLAR, distance, allowed
        if limits.max_order_adv_bps is not None and not ask.flatten:
            if market.adv_shares is None:
                yield VerdictCode.ADV_MISSING, *NO
            elif ask.qty > market.adv_shares * limits.max_order_adv_bps // 10_000:
                yield VerdictCode.ORDER_ADV, ask.qty, market.adv_shares * limits.max_order_adv_bps // 10_000

    def _price(self, ask: ClearanceRequest) -> int | None:
        if ask.market.reference_ticks is None and ask.flatten:
            return self.marks.get(ask.symbol)
        return ask.market.reference_ticks

    def _exposures_after(self, ask: ClearanceRequest, *, reducing: bool) -> Iterator[Answer]:
        limits, own, price = self.limits, self.own(ask.symbol), self._price(ask)
        assert price is not None
        would = replace(self, **{name: dict(getattr(self, name)) for name in _CHANGED_BY_A_YES})
        would._reserve(ask)
        longest, shortest = would.extremes(ask.symbol)
        after = longest if ask.side is Side.BUY else -shortest
        totals = would.exposures()
        yield from _above(
            [
                (VerdictCode.POSITION_SHARES, after, own.max_position_shares, True),
                (VerdictCode.POSITION_NOTIONAL, after * price, to_ticks(own.max_position_notional), True),
            ]
        )
        if limits.max_position_equity_bps is not None and not reducing:
            equity = ask.market.equity_ticks
            if equity is None:
                yield VerdictCode.EQUITY_MISSING, *NO
            else:
                allowed = equity * limits.max_position_equity_bps // 10_000
                yield from _above([(VerdictCode.POSITION_EQUITY, after * price, allowed, True)])
        net = max(totals["high"], -totals["low"])
        day = ask.trade_session
        yield from _above(
            [
                (VerdictCode.GROSS_NOTIONAL, totals["gross"], to_ticks(limits.max_gross_notional), not reducing),
                (VerdictCode.LONG_NOTIONAL, totals["long"], to_ticks(limits.max_long_notional), not reducing),
                (VerdictCode.SHORT_NOTIONAL, totals["short"], to_ticks(limits.max_short_notional), not reducing),
                (VerdictCode.NET_NOTIONAL, net, to_ticks(limits.max_net_notional), not reducing),
                (VerdictCode.ORDERS_PER_SESSION, would.orders[day], limits.max_orders_per_session, not ask.flatten),
                (
                    VerdictCode.NOTIONAL_PER_SESSION,
                    would.traded[day],
                    to_ticks(limits.max_notional_per_session),
                    not ask.flatten,
                ),
                (VerdictCode.SELF_MATCH, self._crossed(ask), limits.max_self_match_shares, not ask.flatten),
            ]
        )

    def _crossed(self, ask: ClearanceRequest) -> int:
        """Return own pending shares of the other side, if the order's price reaches the best of them ever pending."""
        other = Side.SELL if ask.side is Side.BUY else Side.BUY
        best, mine = self.reach.get((ask.symbol, other)), _reach(ask)
        if best is None:
            return 0
        meets = mine >= best if ask.side is Side.BUY else mine <= best
        return math.ceil(self.pending(ask.symbol, other)) if meets else 0

    def _reserve(self, ask: ClearanceRequest) -> None:
        price = self._price(ask)
        assert price is not None
        paid = max(price, ask.limit_ticks or 0)
        self.buckets = (
            self.now_us,
            {code: max(tokens - 1, Decimal(0)) for code, _, _, tokens in self._buckets()},
        )
        self.draws[self.now_us] = self.draws.get(self.now_us, 0) + 1
        self.sequence += 1
        self.marks[ask.symbol] = price
        self.orders[ask.trade_session] = self.orders.get(ask.trade_session, 0) + 1
        self.traded[ask.trade_session] = self.traded.get(ask.trade_session, 0) + ask.qty * paid
        self.intents[_intent(ask)] = self.now_us
        best = max if ask.side is Side.BUY else min
        key = ask.symbol, ask.side
        self.reach[key] = best(self.reach.get(key, _reach(ask)), _reach(ask))
        self.held[ask.client_order_id] = Reservation(
            client_order_id=ask.client_order_id,
            payload_digest=ask.payload_digest,
            symbol=ask.symbol,
            side=ask.side,
            qty=ask.qty,
            remaining=Decimal(ask.qty),
            sequence=self.sequence,
            trade_session=ask.trade_session,
            price_ticks=paid,
            limit_ticks=ask.limit_ticks,
        )

    def post(
        self,
        order: str,
        execution: str,
        qty: Decimal,
        symbol: str,
        side: Side,
        price: int,
        counted: tuple[date, int] | None = None,
    ) -> bool:
        """Count a fill once; False when it does not fit the order it names.

        `counted` is the session of its order and what that was judged at: shares beyond its reservation count there.
        """
        if execution in self.executions:
            return True
        held = self.held.get(order)
        if held is not None and (held.symbol, held.side) != (symbol, side):
            return False
        self.sequence += 1
        self.executions.add(execution)
        self.positions[symbol] = self.positions.get(symbol, Decimal(0)) + side.sign * qty
        self.marks.setdefault(symbol, price)
        beyond = math.ceil(max(qty - (held.remaining if held is not None else 0), 0))
        if counted is not None and counted[0] in self.traded:
            self.traded[counted[0]] += beyond * counted[1]
        if held is not None and held.remaining <= qty:
            self._end(order)
        elif held is not None:
            self.held[order] = replace(held, remaining=held.remaining - qty)
        return True

    def void(self, order: str) -> None:
        """End an order; what cannot fill any more was not traded, but for fractions of a share."""
        if order in self.ended:
            return
        self.sequence += 1
        held = self.held.get(order)
        if held is not None:
            self._give_back(held, math.floor(held.remaining) * held.price_ticks)
        self._end(order)

    def _give_back(self, held: Reservation, ticks: int) -> None:
        if held.trade_session in self.traded:
            self.traded[held.trade_session] = max(self.traded[held.trade_session] - ticks, 0)

    def _drop(self, held: Reservation) -> None:
        del self.held[held.client_order_id]
        self._give_back(held, math.floor(held.remaining) * held.price_ticks)
        if not self.pending(held.symbol, held.side):
            self.reach.pop((held.symbol, held.side), None)

    def _end(self, order: str) -> None:
        held = self.held.pop(order, None)
        self.ended.add(order)
        if held is not None and not self.pending(held.symbol, held.side):
            self.reach.pop((held.symbol, held.side), None)

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
        """Start the quiet period; False when not tripped."""
        if self.breaker is not Breaker.TRIPPED:
            return False
        self.sequence += 1
        self.breaker = Breaker.QUIET_PERIOD
        self.quiet_until_us = self.now_us // 1000 * 1000 + self.limits.quiet_period_seconds * 1_000_000
        return True

    def move_gate(self, gate: Gate) -> None:
        """Open or close the gate."""
        self.sequence += self.gate is not gate
        self.gate = gate

    def block(self, symbol: str, *, wanted: bool) -> None:
        """Block or unblock a symbol."""
        if (symbol in self.blocked) is not wanted:
            self.sequence += 1
            self.blocked ^= {symbol}

    def quarantine(self, symbol: str, until: int | None) -> None:
        """Put a symbol into quarantine until then, or without end."""
        if symbol not in self.quarantined or self.quarantined[symbol] != until:
            self.sequence += 1
            self.quarantined[symbol] = until

    def release(self, symbol: str) -> None:
        """Take a symbol out of quarantine."""
        if symbol in self.quarantined:
            self.sequence += 1
            del self.quarantined[symbol]

    def set_limits(self, limit_set: LimitSet) -> None:
        """Replace the limits."""
        self.sequence += 1
        self.limit_set = limit_set

    def rebuilt(self) -> BookState:
        """Return what the book would be rebuilt from after its loss, and forget what a book forgets then.

        Of what was cleared it is known how long ago. The buckets are left as empty as that allows.
        """
        self.epoch += 1
        self.ended, self.settled, self.reach = set(), set(), {}
        self.intents = {kind: min(at, self.now_us) for kind, at in self.intents.items()}
        drawn = {period: self._drawn(period) for _, period, _, _ in self._buckets()}
        if any(drawn.values()):
            levels = {code: Decimal(max(size - drawn[period], 0)) for code, period, size, _ in self._buckets()}
            self.buckets = self.now_us, levels
        else:
            self.buckets = None
        for one in self.held.values():
            best, key = (max if one.side is Side.BUY else min), (one.symbol, one.side)
            self.reach[key] = best(self.reach.get(key, one.reach_ticks), one.reach_ticks)
        quiet = self.breaker is Breaker.QUIET_PERIOD
        return BookState(
            epoch=self.epoch,
            sequence=self.sequence,
            limits=self.limit_set.limits,
            changes=self.limit_set.changes,
            kill_switch=KillSwitch.ENGAGED if self.engaged else KillSwitch.DISENGAGED,
            breaker=self.breaker,
            breaker_reason=self.breaker_reason,
            quiet_until=START + timedelta(microseconds=self.quiet_until_us) if quiet else None,
            gate=self.gate,
            positions=dict(self.positions),
            marks=dict(self.marks),
            reservations=tuple(self.held.values()),
            blocked=frozenset(self.blocked),
            quarantined={
                symbol: None if until is None else START + timedelta(microseconds=until)
                for symbol, until in self.quarantined.items()
            },
            sessions={day: SessionCount(count, self.traded[day]) for day, count in self.orders.items()},
            executions=frozenset(self.executions),
            intents=tuple(self._recent()),
            cleared_last_second=drawn[1_000_000],
            cleared_last_minute=drawn[60_000_000],
        )

    def _drawn(self, period: int) -> int:
        return sum(count for at, count in self.draws.items() if self.now_us - at < period)

    def _recent(self) -> Iterator[RecentIntent]:
        for (session, symbol, side, qty, strategy), at in self.intents.items():
            yield RecentIntent(
                client_order_id="cleared-before",
                strategy_id=strategy,
                symbol=symbol,
                side=side,
                qty=qty,
                trade_session=session,
                age_us=self.now_us - at,
            )

    def changed(self, changes: Iterable[LimitChange]) -> LimitSet:
        """Return the limits after changes, oldest first."""
        limits = self.limit_set
        for change in changes:
            limits = limits.changed(change)
        return limits


_CHANGED_BY_A_YES = ("held", "marks", "orders", "traded", "intents", "reach", "draws")


@cache
def _effective(limits: LimitSet, now: datetime, symbol: str | None) -> RiskLimits:
    return limits.effective(now, symbol)


def _above(checks: list[tuple[VerdictCode, int, int, bool]]) -> Iterator[Answer]:
    for code, observed, limit, counts in checks:
        if counts and observed > limit:
            yield code, observed, limit


def _intent(ask: ClearanceRequest) -> tuple[date, str, Side, int, str]:
    return ask.trade_session, ask.symbol, ask.side, ask.qty, ask.strategy_id


def _reach(ask: ClearanceRequest) -> int:
    if ask.limit_ticks is not None:
        return ask.limit_ticks
    return 2**53 - 1 if ask.side is Side.BUY else 1
