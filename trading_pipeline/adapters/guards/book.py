"""What the risk book holds, as plain values: what it is rebuilt from and what a snapshot shows. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from trading_pipeline.adapters.guards.checks import filled, whole, word
from trading_pipeline.core.money import from_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.halts import Breaker, KillSwitch, TradingState
from trading_pipeline.core.risk.limits import RiskLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Exposure held for one order that is not over. `sequence` is that of its clearance, shares are whole.

    Raises:
        ValueError: an empty id, a digest or symbol of not one word, or shares that are not 1 <= remaining <= qty.
    """

    client_order_id: str
    payload_digest: str
    symbol: str
    side: Side
    qty: int
    remaining: int
    sequence: int
    trade_session: date

    def __post_init__(self) -> None:
        filled("client_order_id", self.client_order_id)
        word("payload_digest", self.payload_digest)
        word("symbol", self.symbol)
        whole("sequence", self.sequence)
        whole("remaining", self.remaining, at_least=1)
        if whole("qty", self.qty) < self.remaining:
            msg = f"{self.client_order_id}: {self.remaining} shares remain of only {self.qty}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolState:
    """One symbol in the book: shares held and pending, and the price they are judged at (1/10,000 dollar a share)."""

    position: int = 0
    pending_buy: int = 0
    pending_sell: int = 0
    mark_ticks: int = 0
    blocked: bool = False

    @property
    def worst_case_shares(self) -> int:
        """The largest absolute position that fills of what is pending could lead to."""
        return max(abs(self.position + self.pending_buy), abs(self.position - self.pending_sell))

    @property
    def exposure_ticks(self) -> int:
        """The worst case in 1/10,000 dollar."""
        return self.worst_case_shares * self.mark_ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class BookState:
    """What a book is rebuilt from: the ledger's epoch, halts, limits and open orders, the broker's positions.

    Attributes:
        epoch: the ledger's; raised with every rebuild, so that nothing from before it is believed.
        sequence: at least the highest the ledger has seen.
        quiet_until: aware instant; given exactly when the breaker is in its quiet period.
        positions: whole shares a symbol, negative for short.
        marks: 1/10,000 dollar a share, for every symbol with a position or a reservation.
        orders_per_session: orders cleared so far for each trade session that is not over.
        executions: ids of the fills that the positions contain; posting one of them again changes nothing.

    Raises:
        ValueError: a number that is not whole, a missing mark, a naive or surplus instant, one order twice,
            or a total beyond 2**53.
    """

    epoch: int
    sequence: int
    limits: RiskLimits
    kill_switch: KillSwitch
    breaker: Breaker
    kill_switch_reason: str = ""
    breaker_reason: str = ""
    quiet_until: datetime | None = None
    positions: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)
    reservations: tuple[Reservation, ...] = ()
    blocked: frozenset[str] = frozenset()
    orders_per_session: Mapping[date, int] = field(default_factory=dict)
    executions: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        whole("epoch", self.epoch)
        whole("sequence", self.sequence)
        for session, count in self.orders_per_session.items():
            whole(f"orders of {session}", count)
        for name in (*self.blocked, *self.positions, *self.marks):
            word("symbol", name)
        self._check_quiet_period()
        if len({held.client_order_id for held in self.reservations}) != len(self.reservations):
            msg = "an order holds more than one reservation"
            raise ValueError(msg)
        whole("gross exposure in 1/10,000 dollar", sum(one.exposure_ticks for one in self.symbols().values()))

    def _check_quiet_period(self) -> None:
        if (self.breaker is Breaker.QUIET_PERIOD) != (self.quiet_until is not None):
            msg = f"a breaker that is {self.breaker} does not fit an end of the quiet period at {self.quiet_until}"
            raise ValueError(msg)
        if self.quiet_until is not None and self.quiet_until.tzinfo is None:
            msg = f"quiet_until must be an aware instant, not {self.quiet_until}"
            raise ValueError(msg)

    def symbols(self) -> dict[str, SymbolState]:
        """Return every symbol that the book must know of.

        Raises:
            ValueError: a position or a mark that is not whole, or a symbol at risk without a mark.
        """
        at_risk = {name for name, shares in self.positions.items() if shares} | {r.symbol for r in self.reservations}
        return {
            name: self._symbol(name, at_risk=name in at_risk)
            for name in sorted(at_risk | set(self.marks) | self.blocked)
        }

    def _symbol(self, name: str, *, at_risk: bool) -> SymbolState:
        position = self.positions.get(name, 0)
        whole(f"size of the position in {name}", abs(position) if type(position) is int else position)
        return SymbolState(
            position=position,
            pending_buy=self._pending(name, Side.BUY),
            pending_sell=self._pending(name, Side.SELL),
            mark_ticks=whole(f"mark of {name}", self.marks.get(name, 0), at_least=1 if at_risk else 0),
            blocked=name in self.blocked,
        )

    def _pending(self, symbol: str, side: Side) -> int:
        return sum(held.remaining for held in self.reservations if (held.symbol, held.side) == (symbol, side))


@dataclass(frozen=True, slots=True, kw_only=True)
class BookSnapshot:
    """The whole book at one instant, with what follows from it. Instants are UTC."""

    state: TradingState
    epoch: int
    sequence: int
    initialised_at: datetime
    limits: RiskLimits
    kill_switch: KillSwitch
    kill_switch_reason: str
    breaker: Breaker
    breaker_reason: str
    quiet_until: datetime | None
    gross_ticks: int
    symbols: Mapping[str, SymbolState]
    reservations: Mapping[str, Reservation]
    orders_per_session: Mapping[date, int]

    @property
    def gross_notional(self) -> Decimal:
        """The worst case over all symbols, in dollars."""
        return from_ticks(self.gross_ticks)

    @property
    def positions(self) -> dict[str, int]:
        """Shares of every symbol that is not flat, negative for short."""
        return {name: one.position for name, one in self.symbols.items() if one.position}

    @property
    def blocked(self) -> frozenset[str]:
        """Symbols for which only a flatten clears."""
        return frozenset(name for name, one in self.symbols.items() if one.blocked)
