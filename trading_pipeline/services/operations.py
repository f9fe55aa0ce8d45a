"""What an operator can do to an account.

Each action is written to the ledger first, with who and why; the book follows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import structlog

from trading_pipeline.adapters.store.ledger import BookRecord, NewOrder, OrderRecord
from trading_pipeline.core.accounting import Position
from trading_pipeline.core.orders.model import OrderIntent, Purpose, ReferencePrice, Side
from trading_pipeline.core.orders.states import UNSENT, OrderState
from trading_pipeline.core.risk.halts import Gate, KillSwitch, OperatorAction
from trading_pipeline.core.risk.limits import LimitChange, RiskLimits
from trading_pipeline.errors import OperatorError, PipelineError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.following import follow
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebuilding import initialise_book, rebuild_book
from trading_pipeline.services.settlement import settle_in_lane, take_over, tell_guard
from trading_pipeline.services.submission import GRACE, Submission, SubmissionService
from trading_pipeline.services.valuation import Quotes

OPERATOR_STRATEGY = "operator"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """What cancelling everything did: orders that ended, and orders that are still live, each with the reason."""

    canceled: tuple[OrderRecord, ...]
    still_live: tuple[tuple[OrderRecord, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flattening:
    """What flattening did.

    The cancellation before it, the closing orders, and symbols left open for want of a price.
    """

    cancellation: Cancellation
    submissions: tuple[Submission, ...]
    still_open: tuple[tuple[str, str], ...]


class RiskOperations:
    """Operator actions on one account."""

    def __init__(self, account: TradingAccount) -> None:
        self._account = account
        self._books = account.ledger.books
        self._name = account.account

    def initialize_risk_book(self, limits: RiskLimits, action: OperatorAction) -> BookRecord:
        """Create the risk book of an account that has none. The gate opens when ledger and broker agree.

        Raises:
            OperatorError: the ledger or Redis has one; a rebuild replaces it.
            ServerUnavailable: Redis did not answer; a rebuild finishes the work.
        """
        with self._account.ledger.lane(self._name):
            return initialise_book(self._account, limits, action)

    def rebuild_risk_book(self, action: OperatorAction) -> BookRecord:
        """Write the book anew from ledger and broker, in a new epoch; limits and halts stay as the ledger has them.

        The gate opens when ledger and broker agree. What they differ in and nothing explains closes it, by name, and
        keeps its symbol in quarantine.

        Raises:
            OperatorError: the account never had a book.
            ServerUnavailable: Redis did not answer; the old book is stale already, rebuild again.
        """
        with self._account.ledger.lane(self._name):
            return rebuild_book(self._account, action)

    def engage_kill_switch(self, action: OperatorAction) -> BookRecord:
        """Stop all trading. Works while Redis is down: the ledger alone keeps every later order from the broker."""
        record = self._books.set_kill_switch(self._name, KillSwitch.ENGAGED, action)
        return follow(self._account, record, lambda guard: guard.engage_kill_switch(action))

    def disengage_kill_switch(self, action: OperatorAction) -> BookRecord:
        """Let trading go on."""
        record = self._books.set_kill_switch(self._name, KillSwitch.DISENGAGED, action)
        return follow(self._account, record, lambda guard: guard.disengage_kill_switch(action))

    def trip_circuit_breaker(self, action: OperatorAction) -> BookRecord:
        """Allow only reducing orders until the breaker is reset."""
        record = self._books.trip_breaker(self._name, action.reason, action)
        return follow(self._account, record, lambda guard: guard.trip(action.reason))

    def reset_circuit_breaker(self, action: OperatorAction) -> BookRecord:
        """Start the quiet period, after which all orders clear again."""
        record = self._books.reset_breaker(self._name, action)
        return follow(self._account, record, lambda guard: guard.reset(action))

    def close_gate(self, action: OperatorAction) -> BookRecord:
        """Allow only reducing orders until the account was reconciled.

        Raises:
            OperatorError: the gate is closed already.
        """
        record = self._books.set_gate(self._name, Gate.CLOSED, action)
        return follow(self._account, record, lambda guard: guard.close_gate(record.gate_reason))

    def open_gate(self, action: OperatorAction) -> BookRecord:
        """Let orders clear again after a reconciliation.

        Raises:
            OperatorError: the gate is open already.
        """
        record = self._books.set_gate(self._name, Gate.OPEN, action)
        return follow(self._account, record, lambda guard: guard.open_gate(record.gate_reason))

    def set_risk_limits(self, limits: RiskLimits, action: OperatorAction) -> BookRecord:
        """Replace the account's limits by another set; symbols' own limits stay.

        Raises:
            OperatorError: the limits are these already.
        """
        present = self._books.get(self._name).limits.as_text()
        wanted = limits.as_text()
        differing = [name for name in wanted if present[name] != wanted[name]]
        return self.change_risk_limits(
            [LimitChange(limit=name, value=limits.value(name)) for name in differing], action
        )

    def change_risk_limits(self, changes: Sequence[LimitChange], action: OperatorAction) -> BookRecord:
        """Change single limits, of the account or of one symbol, for good or until an instant.

        Raises:
            OperatorError: no change, or one that has expired already.
        """
        record = self._books.set_limits(self._name, changes, action)
        limits = record.limit_set
        return follow(self._account, record, lambda guard: guard.set_limits(limits.limits, limits.changes))

    def block_symbol(self, symbol: str, action: OperatorAction) -> BookRecord:
        """Keep a symbol from trading; only a flatten still clears for it."""
        record = self._books.block(self._name, symbol, action)
        return follow(self._account, record, lambda guard: guard.block(symbol))

    def unblock_symbol(self, symbol: str, action: OperatorAction) -> BookRecord:
        """Let a symbol trade again."""
        record = self._books.unblock(self._name, symbol, action)
        return follow(self._account, record, lambda guard: guard.unblock(symbol))

    def quarantine_symbol(self, symbol: str, until: datetime | None, action: OperatorAction) -> BookRecord:
        """Keep a symbol from trading until an instant, or with None until it is released; a flatten still clears."""
        record = self._books.quarantine(self._name, symbol, until, action)
        return follow(self._account, record, lambda guard: guard.quarantine(symbol, until))

    def release_symbol(self, symbol: str, action: OperatorAction) -> BookRecord:
        """End the quarantine of a symbol.

        Raises:
            OperatorError: it is not in quarantine.
        """
        record = self._books.release(self._name, symbol, action)
        return follow(self._account, record, lambda guard: guard.release(symbol))

    def cancel_all_orders(self, action: OperatorAction) -> Cancellation:
        """Cancel every live order at the broker, and every intent that was never sent.

        One order's failure does not keep the others: it is reported. An order the broker has not shown yet stays live
        until the broker must have shown it.
        """
        with self._account.ledger.lane(self._name):
            return self._cancel_all(action)

    def flatten_positions(self, action: OperatorAction, quotes: Quotes) -> Flattening:
        """Cancel everything, then close every position with a reduce-only order; works under an engaged kill switch.

        Raises:
            OperatorError: the broker has not traded yet, so there is nothing to close.
        """
        with self._account.ledger.lane(self._name):
            session = self._account.broker.current_session
            if session is None:
                raise OperatorError("the broker has not traded yet: there is nothing to flatten")
            settle_in_lane(self._account, session)
            cancellation = self._cancel_all(action)
            held = self._account.ledger.fills.positions(self._name)
            shares = {symbol: str(position.qty) for symbol, position in held.items()}
            self._books.record_action(self._name, "flatten_positions", action, shares)
            return self._close_all(session, held, quotes(session, held), action, cancellation)

    def _close_all(
        self,
        session: date,
        held: Mapping[str, Position],
        prices: Mapping[str, ReferencePrice],
        action: OperatorAction,
        cancellation: Cancellation,
    ) -> Flattening:
        service = SubmissionService(self._account, Provenance.by_operator(action))
        origin = {"operator": action.operator, "reason": action.reason}
        submissions: list[Submission] = []
        still_open: list[tuple[str, str]] = []
        live = self._account.ledger.orders.live(self._name)
        for symbol, position in held.items():
            under_way = _closing_shares(live, symbol, position)
            qty = _shares_left(position, under_way)
            if symbol not in prices or not qty:
                still_open.append((symbol, _why_open(symbol in prices, under_way)))
                continue
            intent = self._closing(session, symbol, qty, prices[symbol])
            try:
                submissions.append(service.submit(NewOrder(intent=intent, origin=origin)))
            except PipelineError as failure:
                still_open.append((symbol, failure.message))
        return Flattening(cancellation=cancellation, submissions=tuple(submissions), still_open=tuple(still_open))

    def _closing(self, session: date, symbol: str, qty: int, reference: ReferencePrice) -> OrderIntent:
        """Build the closing order, numbered past earlier ones of the same shape: ended, or under way already."""
        repeat = 0
        while True:
            intent = OrderIntent(
                account=self._name,
                strategy_id=OPERATOR_STRATEGY,
                session=session,
                trade_session=self._account.calendar.next(session),
                symbol=symbol,
                side=Side.SELL if qty > 0 else Side.BUY,
                qty=abs(qty),
                reference=reference,
                purpose=Purpose.FLATTEN,
                repeat=repeat,
            )
            stored = self._account.ledger.orders.get(intent.client_order_id)
            if stored is None or stored.state in UNSENT:
                return intent
            repeat += 1

    def _cancel_all(self, action: OperatorAction) -> Cancellation:
        live = self._account.ledger.orders.live(self._name)
        unsent = self._account.ledger.orders.unsent(self._name)
        ids = [order.client_order_id for order in (*live, *unsent)]
        self._books.record_action(self._name, "cancel_all_orders", action, {"orders": ids})
        withdrawn = [self._withdraw(order, action) for order in unsent]
        canceled = [order for order in withdrawn if order.state.terminal]
        # What was cleared while we withdrew the rest is cancelled like any other.
        live += [order for order in withdrawn if not order.state.terminal]
        still_live: list[tuple[OrderRecord, str]] = []
        for order in live:
            try:
                ended, reason = self._cancel(order, action)
            except PipelineError as failure:
                ended, reason = order, failure.message
            if ended.state.terminal:
                canceled.append(ended)
            else:
                still_live.append((ended, reason))
        tell_guard(self._account)
        return Cancellation(canceled=tuple(canceled), still_live=tuple(still_live))

    def _withdraw(self, order: OrderRecord, action: OperatorAction) -> OrderRecord:
        reason = f"cancelled by {action.operator} before it was sent: {action.reason}"
        return self._account.ledger.sending.withdraw(order.client_order_id, reason) or order

    def _cancel(self, order: OrderRecord, action: OperatorAction) -> tuple[OrderRecord, str]:
        order = self._account.ledger.sending.request_cancel(order.client_order_id) or order
        reported = self._account.broker.cancel(order.client_order_id)
        if reported is None:
            reason = f"never reached the broker; cancelled by {action.operator}"
            seen = self._account.ledger.sending.absent(order, grace=GRACE, reason=reason, end=OrderState.CANCELED)
            return seen, "the broker has not shown it yet; it is not sent any more, and ends when it stays absent"
        reason = f"{reported.reason}; by {action.operator}: {action.reason}"
        return take_over(self._account, order, reported, reason), f"the broker reports it {reported.state}"


def _closing_shares(live: Sequence[OrderRecord], symbol: str, position: Position) -> Decimal:
    """Count the shares of live orders that bring a position nearer to zero: they may still fill."""
    side = Side.SELL if position.qty > 0 else Side.BUY
    ours = [order for order in live if (order.intent.symbol, order.intent.side) == (symbol, side)]
    return sum((order.remaining for order in ours), Decimal(0))


def _shares_left(position: Position, under_way: Decimal) -> int:
    """Return the whole shares still to be closed, signed like the position."""
    left = int(max(abs(position.qty) - under_way, Decimal(0)))
    return left if position.qty > 0 else -left


def _why_open(priced: bool, under_way: Decimal) -> str:  # noqa: FBT001 - a fact, not a switch
    if not priced:
        return "no price"
    return f"orders over {under_way} shares are closing it already" if under_way else "less than one share"
