"""What the risk book holds, as plain values: what it is rebuilt from and what a snapshot shows. No I/O."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from trading_pipeline.adapters.guards.checks import label, quantity, whole, word
from trading_pipeline.core.money import from_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch, TradingState
from trading_pipeline.core.risk.limits import LimitChange, LimitSet, RiskLimits

ANY_BUY_TICKS = 2**53 - 1
"""What an order to buy at any price may pay, as the book holds it; the like of a sell is 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStep:
    """A change as the ledger made it: the epochs before and after it, and the highest sequence the ledger had seen."""

    from_epoch: int
    to_epoch: int
    min_sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Exposure held for one order that is not over.

    Attributes:
        remaining: shares that may still fill, exact to a billionth.
        sequence: that of its clearance.
        price_ticks: what the order was judged at, 1/10,000 dollar a share.
        limit_ticks: its limit price in the same unit; None takes any price.

    Raises:
        ValueError: an id, digest or symbol that is not one word, prices that are not positive, or shares that are not
            0 < remaining <= qty.
    """

    client_order_id: str
    payload_digest: str
    symbol: str
    side: Side
    qty: int
    remaining: Decimal
    sequence: int
    trade_session: date
    price_ticks: int
    limit_ticks: int | None = None

    def __post_init__(self) -> None:
        word("client_order_id", self.client_order_id)
        word("payload_digest", self.payload_digest)
        word("symbol", self.symbol)
        whole("sequence", self.sequence)
        whole("price_ticks", self.price_ticks, at_least=1)
        if self.limit_ticks is not None:
            whole("limit_ticks", self.limit_ticks, at_least=1)
        quantity("remaining", self.remaining)
        if not 0 < self.remaining <= whole("qty", self.qty):
            msg = f"{self.client_order_id}: {self.remaining} shares remain of {self.qty}"
            raise ValueError(msg)

    @property
    def reach_ticks(self) -> int:
        """The worst price the order takes, for self-match prevention."""
        if self.limit_ticks is not None:
            return self.limit_ticks
        return ANY_BUY_TICKS if self.side is Side.BUY else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolState:
    """One symbol in the book: shares held and pending, and the price they are judged at (1/10,000 dollar a share).

    Shares are exact to a billionth. `quarantined` tells whether the symbol is, `quarantined_until` when it ends by
    itself.
    """

    position: Decimal = Decimal(0)
    pending_buy: Decimal = Decimal(0)
    pending_sell: Decimal = Decimal(0)
    mark_ticks: int = 0
    blocked: bool = False
    quarantined: bool = False
    quarantined_until: datetime | None = None

    @property
    def long_shares(self) -> int:
        """The position if every pending buy fills and no sell, rounded up."""
        return -int((-(self.position + self.pending_buy)).__floor__())

    @property
    def short_shares(self) -> int:
        """The short position if every pending sell fills and no buy, rounded up."""
        return -int((self.position - self.pending_sell).__floor__())

    @property
    def worst_case_shares(self) -> int:
        """The largest absolute position that fills of what is pending could lead to, rounded up."""
        return max(self.long_shares, self.short_shares)

    @property
    def exposure_ticks(self) -> int:
        """The worst case in 1/10,000 dollar."""
        return self.worst_case_shares * self.mark_ticks


@dataclass(frozen=True, slots=True)
class SessionCount:
    """What was cleared for one trade session: orders, and 1/10,000 dollars filled or still able to."""

    orders: int
    notional_ticks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentIntent:
    """An order that was cleared a while ago, for which the same order under another id counts as a duplicate.

    `age_us` says how long ago, in microseconds: an age, because the clock that the guard goes by is its own.

    Raises:
        ValueError: a word that is none, or a number that is not whole.
    """

    client_order_id: str
    strategy_id: str
    symbol: str
    side: Side
    qty: int
    trade_session: date
    age_us: int

    def __post_init__(self) -> None:
        word("client_order_id", self.client_order_id)
        label("strategy_id", self.strategy_id)
        word("symbol", self.symbol)
        whole("qty", self.qty, at_least=1)
        whole("age_us", self.age_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookState:
    """What a book is rebuilt from: the ledger's epoch, halts, limits and open orders, the broker's positions.

    Attributes:
        epoch: the ledger's; raised with every rebuild, so that nothing from before it is believed.
        sequence: at least the highest the ledger has seen.
        limits: those that stay.
        changes: symbols' own limits and those that expire, oldest first.
        quiet_until: aware instant; given exactly when the breaker is in its quiet period.
        positions: shares a symbol, exact to a billionth, negative for short.
        marks: 1/10,000 dollar a share, for every symbol with a position or a reservation.
        blocked: the operator's list of symbols that may not trade.
        quarantined: symbols that may not trade for now, with the aware instant at which that ends; None for no end.
        sessions: what was cleared so far for each trade session that is not over.
        executions: ids of the fills that the positions contain; posting one of them again changes nothing.
        intents: what was cleared lately, oldest first; of those that are duplicates of one another the last counts.
        cleared_last_second: how many orders were, which the token bucket of the second starts without.
        cleared_last_minute: the same of the minute.

    Raises:
        ValueError: a number that is not whole, a missing mark, a naive or surplus instant, one order twice,
            or a total beyond 2**53.
    """

    epoch: int
    sequence: int
    limits: RiskLimits
    kill_switch: KillSwitch
    breaker: Breaker
    gate: Gate = Gate.CLOSED
    changes: tuple[LimitChange, ...] = ()
    kill_switch_reason: str = ""
    breaker_reason: str = ""
    gate_reason: str = ""
    quiet_until: datetime | None = None
    positions: Mapping[str, Decimal | int] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)
    reservations: tuple[Reservation, ...] = ()
    blocked: frozenset[str] = frozenset()
    quarantined: Mapping[str, datetime | None] = field(default_factory=dict)
    sessions: Mapping[date, SessionCount] = field(default_factory=dict)
    executions: frozenset[str] = frozenset()
    intents: tuple[RecentIntent, ...] = ()
    cleared_last_second: int = 0
    cleared_last_minute: int = 0

    def __post_init__(self) -> None:
        whole("epoch", self.epoch)
        whole("sequence", self.sequence)
        whole("cleared_last_second", self.cleared_last_second)
        whole("cleared_last_minute", self.cleared_last_minute, at_least=self.cleared_last_second)
        for session, count in self.sessions.items():
            whole(f"orders of {session}", count.orders)
            whole(f"notional of {session}", count.notional_ticks)
        for name in (*self.blocked, *self.quarantined, *self.positions, *self.marks):
            word("symbol", name)
        for name, until in self.quarantined.items():
            _require_aware(f"the end of the quarantine of {name}", until)
        self._check_quiet_period()
        if len({held.client_order_id for held in self.reservations}) != len(self.reservations):
            msg = "an order holds more than one reservation"
            raise ValueError(msg)
        whole("gross exposure in 1/10,000 dollar", sum(one.exposure_ticks for one in self.symbols().values()))

    def _check_quiet_period(self) -> None:
        if (self.breaker is Breaker.QUIET_PERIOD) != (self.quiet_until is not None):
            msg = f"a breaker that is {self.breaker} does not fit an end of the quiet period at {self.quiet_until}"
            raise ValueError(msg)
        _require_aware("quiet_until", self.quiet_until)

    def symbols(self) -> dict[str, SymbolState]:
        """Return every symbol that holds, pends or has a price.

        Raises:
            ValueError: a position or a mark that is not exact, or a symbol at risk without a mark.
        """
        pending: defaultdict[tuple[str, Side], Decimal] = defaultdict(Decimal)
        for held in self.reservations:
            pending[held.symbol, held.side] += held.remaining
        at_risk = {name for name, shares in self.positions.items() if shares} | {symbol for symbol, _ in pending}
        return {
            name: SymbolState(
                position=quantity(f"position in {name}", self.positions.get(name, 0)).decimal,
                pending_buy=pending[name, Side.BUY],
                pending_sell=pending[name, Side.SELL],
                mark_ticks=whole(f"mark of {name}", self.marks.get(name, 0), at_least=1 if name in at_risk else 0),
            )
            for name in sorted(at_risk | set(self.marks))
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BookSnapshot:
    """The whole book at one instant, with what follows from it. Instants are UTC.

    `state` and its first `cause` (None while active) are derived by the guard's script and nowhere else. `limits` are
    the account's as they bind now, `limit_set` what they follow from.
    """

    state: TradingState
    cause: VerdictCode | None
    epoch: int
    sequence: int
    initialised_at: datetime
    limits: RiskLimits
    limit_set: LimitSet
    kill_switch: KillSwitch
    kill_switch_reason: str
    breaker: Breaker
    breaker_reason: str
    gate: Gate
    gate_reason: str
    quiet_until: datetime | None
    gross_ticks: int
    long_ticks: int
    short_ticks: int
    net_high_ticks: int
    net_low_ticks: int
    symbols_over_limits: int
    symbols: Mapping[str, SymbolState]
    reservations: Mapping[str, Reservation]
    sessions: Mapping[date, SessionCount]

    @property
    def gross_notional(self) -> Decimal:
        """The worst case over all symbols, in dollars."""
        return from_ticks(self.gross_ticks)

    @property
    def positions(self) -> dict[str, Decimal]:
        """Shares of every symbol that is not flat, negative for short."""
        return {name: one.position for name, one in self.symbols.items() if one.position}

    @property
    def blocked(self) -> frozenset[str]:
        """Symbols for which only a flatten clears."""
        return frozenset(name for name, one in self.symbols.items() if one.blocked)

    @property
    def quarantined(self) -> dict[str, datetime | None]:
        """Symbols in quarantine, with the end of it; None for no end. One that has ended is still listed."""
        return {name: one.quarantined_until for name, one in self.symbols.items() if one.quarantined}


def _require_aware(name: str, instant: datetime | None) -> None:
    if instant is not None and instant.tzinfo is None:
        msg = f"{name} must be an aware instant, not {instant}"
        raise ValueError(msg)
