"""What an operator can do to an account.

Each action is written to the ledger first, with who and why; the book follows.
"""

from collections.abc import Sequence
from datetime import datetime

from trading_pipeline.adapters.store.ledger import BookRecord
from trading_pipeline.core.risk.halts import Gate, KillSwitch, OperatorAction
from trading_pipeline.core.risk.limits import LimitChange, RiskLimits
from trading_pipeline.errors import OperatorError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.following import follow
from trading_pipeline.services.rebuilding import initialise_book, rebuild_book
from trading_pipeline.services.settlement import settle_in_lane
from trading_pipeline.services.single_orders import Cancellation, Flattening, cancel_orders, close_all
from trading_pipeline.services.twap import cancel_parents, find_parent
from trading_pipeline.services.valuation import Quotes


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
        return follow(self._account, record, lambda guard: guard.reset(action, record.quiet_until))

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

    def cancel_parent(self, parent_id: str, action: OperatorAction) -> Cancellation:
        """Make no more orders of a large order's slices, and cancel those that are live at the broker.

        The first takes effect at once, whoever works on the account.

        Raises:
            OrderError: the account has no such parent.
        """
        parent = find_parent(self._account, parent_id)
        self._books.record_action(self._name, "cancel_parent", action, {"parent_id": parent.parent_id})
        self._account.ledger.slices.cancel(parent.parent_id, action)
        with self._account.ledger.lane(self._name):
            orders = self._account.ledger.orders
            wanted = [*orders.live(self._name), *orders.unsent(self._name)]
            children = [one for one in wanted if one.intent.parent_id == parent.parent_id]
            return cancel_orders(self._account, children, action)

    def flatten_positions(self, action: OperatorAction, quotes: Quotes) -> Flattening:
        """Cancel everything, then close every position with a reduce-only order; works under an engaged kill switch.

        Raises:
            OperatorError: the broker has not traded yet, so there is nothing to close.
        """
        with self._account.ledger.lane(self._name):
            session = self._account.broker.current_session
            if session is None:
                raise OperatorError("the broker has not traded yet: there is nothing to flatten")
            settle_in_lane(self._account, session, must_judge=False)
            cancellation = self._cancel_all(action)
            held = self._account.ledger.fills.positions(self._name)
            shares = {symbol: str(position.qty) for symbol, position in held.items()}
            self._books.record_action(self._name, "flatten_positions", action, shares)
            return close_all(self._account, held, quotes, action, cancellation)

    def _cancel_all(self, action: OperatorAction) -> Cancellation:
        orders = self._account.ledger.orders
        parents = cancel_parents(self._account, action)
        wanted = [*orders.live(self._name), *orders.unsent(self._name)]
        ids = [order.client_order_id for order in wanted]
        self._books.record_action(self._name, "cancel_all_orders", action, {"orders": ids, "parents": parents})
        return cancel_orders(self._account, wanted, action)
