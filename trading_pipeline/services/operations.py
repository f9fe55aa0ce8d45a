"""What an operator can do to an account.

Each action is written to the ledger first, with who and why; the book follows.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date

import structlog

from trading_pipeline.adapters.guards.book import BookState, Reservation
from trading_pipeline.adapters.store.ledger import BookRecord, NewOrder, OrderRecord
from trading_pipeline.core.money import to_ticks, whole_shares
from trading_pipeline.core.orders.model import OrderIntent, Purpose, ReferencePrice, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.portfolio import Quote
from trading_pipeline.core.risk.halts import KillSwitch, OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.errors import OperatorError, TradingHalted, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.settlement import release_ended, settle
from trading_pipeline.services.submission import GRACE, Submission, SubmissionService

Quotes = Callable[[date, Collection[str]], dict[str, Quote]]
"""Gives the closing prices of a session; a symbol without one is absent."""

OPERATOR_STRATEGY = "operator"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """What cancelling everything did: orders that ended, and orders that are still live with the reason."""

    canceled: tuple[OrderRecord, ...]
    still_live: tuple[tuple[OrderRecord, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flattening:
    """What flattening did.

    The cancellation before it, the closing orders, and symbols left open for want of a price.
    """

    cancellation: Cancellation
    submissions: tuple[Submission, ...]
    without_price: tuple[str, ...]


class RiskOperations:
    """Operator actions on one account."""

    def __init__(self, account: TradingAccount) -> None:
        self._account = account
        self._books = account.ledger.books
        self._name = account.account

    def initialize_risk_book(self, limits: RiskLimits, action: OperatorAction) -> BookRecord:
        """Create the risk book of an account that has none.

        Raises:
            OperatorError: it has one.
            ServerUnavailable: Redis did not answer; a rebuild finishes the work.
        """
        record = self._books.begin_epoch(
            self._name, limits=limits, action=action, verb="initialize_risk_book", only_first=True
        )
        self._write_book(record)
        return record

    def rebuild_risk_book(self, action: OperatorAction, limits: RiskLimits | None = None) -> BookRecord:
        """Write the book anew from the ledger, in a new epoch; limits and halts stay as the ledger has them.

        Raises:
            ServerUnavailable: Redis did not answer; the old book is stale already, rebuild again.
        """
        present = self._books.get(self._name)
        record = self._books.begin_epoch(
            self._name, limits=limits or present.limits, action=action, verb="rebuild_risk_book", only_first=False
        )
        self._write_book(record)
        return record

    def engage_kill_switch(self, action: OperatorAction) -> BookRecord:
        """Stop all trading. Works while Redis is down: the ledger alone keeps every later order from the broker."""
        record = self._books.set_kill_switch(self._name, KillSwitch.ENGAGED, action)
        self._project("engage_kill_switch", lambda: self._account.guard.engage_kill_switch(action))
        return record

    def disengage_kill_switch(self, action: OperatorAction) -> BookRecord:
        """Let trading go on."""
        record = self._books.set_kill_switch(self._name, KillSwitch.DISENGAGED, action)
        self._project("disengage_kill_switch", lambda: self._account.guard.disengage_kill_switch(action))
        return record

    def trip_circuit_breaker(self, action: OperatorAction) -> BookRecord:
        """Allow only reducing orders until the breaker is reset."""
        record = self._books.trip_breaker(self._name, action.reason, action)
        self._project("trip_circuit_breaker", lambda: self._account.guard.trip(action.reason))
        return record

    def reset_circuit_breaker(self, action: OperatorAction) -> BookRecord:
        """Start the quiet period, after which all orders clear again."""
        record = self._books.reset_breaker(self._name, action)
        self._project("reset_circuit_breaker", lambda: self._account.guard.reset(action))
        return record

    def set_risk_limits(self, limits: RiskLimits, action: OperatorAction) -> BookRecord:
        """Replace the limits."""
        record = self._books.set_limits(self._name, limits, action)
        self._project("set_risk_limits", lambda: self._account.guard.set_limits(limits))
        return record

    def cancel_all_orders(self, action: OperatorAction) -> Cancellation:
        """Cancel every live order at the broker.

        An order the broker has not shown yet stays live until it must have.
        """
        canceled: list[OrderRecord] = []
        still_live: list[tuple[OrderRecord, str]] = []
        for order in self._account.ledger.orders.live(self._name):
            ended, reason = self._cancel(order, action)
            if ended is None:
                still_live.append((order, reason))
            else:
                canceled.append(ended)
        release_ended(self._account)
        self._books.record_action(
            self._name, "cancel_all_orders", action, {"canceled": [order.client_order_id for order in canceled]}
        )
        return Cancellation(canceled=tuple(canceled), still_live=tuple(still_live))

    def flatten_positions(self, action: OperatorAction, quotes: Quotes) -> Flattening:
        """Cancel everything, then close every position with a reduce-only order; works under an engaged kill switch.

        Raises:
            OperatorError: the broker has not traded yet, so there is nothing to close.
        """
        session = self._account.broker.current_session
        if session is None:
            raise OperatorError("the broker has not traded yet: there is nothing to flatten")
        settle(self._account, session)
        cancellation = self.cancel_all_orders(action)
        positions = self._account.ledger.fills.positions(self._name)
        prices = quotes(session, positions)
        self._books.record_action(
            self._name,
            "flatten_positions",
            action,
            {symbol: str(position.qty) for symbol, position in positions.items()},
        )
        service = SubmissionService(self._account)
        origin = {"operator": action.operator, "reason": action.reason}
        submissions = [
            service.submit(
                NewOrder(intent=self._closing(session, symbol, int(position.qty), prices[symbol]), origin=origin)
            )
            for symbol, position in positions.items()
            if symbol in prices and int(position.qty)
        ]
        missing = tuple(sorted(set(positions) - set(prices)))
        return Flattening(cancellation=cancellation, submissions=tuple(submissions), without_price=missing)

    def _closing(self, session: date, symbol: str, qty: int, quote: Quote) -> OrderIntent:
        """Build the closing order, numbered past earlier ones of the same shape that ended without closing."""
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
                reference=ReferencePrice(price=quote.price, source=quote.source, as_of=quote.as_of),
                purpose=Purpose.FLATTEN,
                repeat=repeat,
            )
            stored = self._account.ledger.orders.get(intent.client_order_id)
            if stored is None or not stored.state.terminal:
                return intent
            repeat += 1

    def _cancel(self, order: OrderRecord, action: OperatorAction) -> tuple[OrderRecord | None, str]:
        reported = self._account.broker.cancel(order.client_order_id)
        if reported is None:
            if self._account.clock.now() - order.updated_at < GRACE:
                return None, "the broker has not shown it yet; try again in a minute"
            reason = f"never reached the broker; cancelled by {action.operator}"
            return self._account.ledger.orders.move(order.client_order_id, OrderState.CANCELED, reason=reason), ""
        if not reported.state.terminal:
            return None, f"the broker reports it {reported.state}"
        reason = f"{reported.reason}; by {action.operator}: {action.reason}"
        return self._account.ledger.orders.move(order.client_order_id, reported.state, reason=reason), ""

    def _project(self, verb: str, change: Callable[[], object]) -> None:
        """Tell the book what the ledger has decided.

        A book that cannot be told is made stale, so that it decides nothing.
        """
        try:
            change()
        except (TransientError, TradingHalted, OperatorError) as failure:
            log.warning(
                "the book could not follow the ledger: it is stale until it is rebuilt", verb=verb, reason=str(failure)
            )
            self._books.orphan(self._name)

    def _write_book(self, record: BookRecord) -> None:
        guard, fills = self._account.guard, self._account.ledger.fills
        guard.check_server()
        unposted = [row["execution_id"] for row in fills.unposted(self._name)]
        sequence = guard.rebuild(self._book_state(record, unposted))
        fills.mark_posted(unposted)
        self._books.saw_sequence(self._name, record.epoch, sequence)
        release_ended(self._account)

    def _book_state(self, record: BookRecord, unposted: Collection[str]) -> BookState:
        """Build the book from the ledger.

        Fills the old book was not told of are in the positions, so they count as seen.
        """
        ledger = self._account.ledger
        live = ledger.orders.live(self._name)
        positions = ledger.fills.positions(self._name)
        marks = {symbol: to_ticks(position.average_price) for symbol, position in positions.items()}
        marks |= {order.intent.symbol: to_ticks(order.intent.reference.price) for order in live}
        return BookState(
            epoch=record.epoch,
            sequence=record.high_sequence,
            limits=record.limits,
            kill_switch=record.kill_switch,
            kill_switch_reason=record.kill_switch_reason,
            breaker=record.breaker,
            breaker_reason=record.breaker_reason,
            quiet_until=record.quiet_until,
            positions={symbol: whole_shares(position.qty) for symbol, position in positions.items()},
            marks=marks,
            reservations=tuple(
                Reservation(
                    client_order_id=order.client_order_id,
                    payload_digest=order.payload_digest,
                    symbol=order.intent.symbol,
                    side=order.intent.side,
                    qty=order.intent.qty,
                    remaining=whole_shares(order.remaining),
                    sequence=order.guard_sequence or record.high_sequence,
                    trade_session=order.intent.trade_session,
                )
                for order in live
            ),
            executions=frozenset(unposted),
            blocked=frozenset(ledger.books.blocked(self._name)),
            orders_per_session=ledger.orders.cleared_by_session(self._name),
        )
