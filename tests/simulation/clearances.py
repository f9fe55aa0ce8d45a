"""Each yes of the guard, judged by what the ledger had decided in its epoch: halts, symbols, and what one order may be.

The arithmetic is this file's own, on the ledger's rows. It counts only what the book must have counted as well, so
that whatever it finds beyond a limit is.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from simulation.facts import Decided, Facts, Violation
from simulation.venue import Venue

from trading_pipeline.core.orders.states import HOLDING

REPEATED = "reserved before"


@dataclass(frozen=True)
class Yes:
    """A clearance as the ledger wrote it down: the decision's number, the epoch and the sequence of the book."""

    decision: int
    epoch: int
    sequence: int


class History:
    """All that the ledger decided in a scenario, and all that the guard cleared."""

    def __init__(self, met: Counter[str]) -> None:
        self.met = met
        self.decided: dict[int, Decided] = {}
        self.cleared: dict[str, Yes] = {}
        self.decision = 0

    @property
    def epoch(self) -> int:
        """The newest epoch seen."""
        return max(self.decided, default=0)

    def largest(self, limit: str) -> Decimal:
        """Return the highest value that a limit has had."""
        return max(one.limit(limit) for one in self.decided.values())

    def take(self, facts: Facts, venue: Venue, latest: datetime) -> None:
        """Add what is new, and judge every new clearance.

        Raises:
            Violation: one should not have been given.
        """
        self.decided |= {one.epoch: one for one in facts.decided}
        for row in facts.clearances:
            self.decision = row["id"]
            order_id, repeated = row["client_order_id"], row["detail"] == REPEATED
            if not repeated or order_id not in self.cleared:
                self.cleared[order_id] = Yes(row["id"], row["epoch"], row["sequence"])
            decided = self.decided.get(row["epoch"])
            if decided is None:
                raise Violation(f"(8) {order_id} was cleared in epoch {row['epoch']}, which the ledger never began")
            self._judge(facts, order_id, decided, venue, latest, repeated=repeated)

    def _judge(
        self, facts: Facts, order_id: str, decided: Decided, venue: Venue, latest: datetime, *, repeated: bool
    ) -> None:
        order = facts.orders[order_id]
        if order["purpose"] == "flatten":
            return
        shut = decided.why_shut(order["symbol"], latest)
        if shut:
            raise Violation(f"(6) {order_id} was cleared although {shut}")
        if repeated:
            return
        if decided.limit("max_position_shares") < self.largest("max_position_shares"):
            self.met["an order is cleared under lowered limits"] += 1
        worth = order["qty"] * order["price"]
        counted = [one for one in self.cleared if self._counts(facts, one, order_id, decided)]
        regular = [facts.orders[one] for one in counted if not venue.is_irregular(one)]
        traded = worth + sum(_at_work(one) * one["price"] for one in regular)
        found = {
            "max_order_shares": order["qty"],
            "max_order_notional": worth,
            "max_orders_per_session": len(counted) + 1,
            "max_notional_per_session": traded,
        }
        for name, value in found.items():
            if value > decided.limit(name):
                raise Violation(f"(1) {order_id} was cleared with {name} at {value} of {decided.limit(name)}")

    def _counts(self, facts: Facts, one: str, judged: str, decided: Decided) -> bool:
        """Tell whether the book that gave a clearance certainly knew another one."""
        known, new = self.cleared[one], self.cleared[judged]
        if one == judged or facts.orders[one]["trade_session"] != facts.orders[judged]["trade_session"]:
            return False
        if known.epoch == new.epoch:
            return known.sequence < new.sequence
        return known.epoch < new.epoch and known.decision <= decided.last_decision


def _at_work(order: dict[str, Any]) -> Decimal:
    return order["qty"] if order["state"] in HOLDING else order["filled_qty"]
