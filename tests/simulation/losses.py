"""Whether the risk monitor trips the breaker for a loss, by arithmetic of our own on the ledger's fills."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from simulation.facts import Facts, Violation
from simulation.when import OPENED

from trading_pipeline.core.orders.model import Side


def loss_of(facts: Facts, price: Decimal) -> Decimal:
    """Return what the account has lost since it began, in dollars: what it paid less what it got and holds."""
    signed = [(row["qty"] * Side(row["side"]).sign, row["price"]) for row in facts.fills if row["counts"]]
    paid = sum((qty * at for qty, at in signed), Decimal(0))
    return paid - sum((qty for qty, _ in signed), Decimal(0)) * price


@dataclass(frozen=True)
class Watched:
    """What there was when the monitor began to look."""

    price: Decimal
    fills: int
    loss: Decimal
    epoch: int
    in_session: bool

    @classmethod
    def of(cls, world: Any) -> "Watched":
        """Take it down."""
        facts, price = world.facts(), world.venue.price
        counted = sum(row["counts"] for row in facts.fills)
        return cls(price, counted, loss_of(facts, price), facts.book["epoch"], world.now() >= OPENED)

    def judge(self, world: Any) -> None:
        """Check after the look that a loss beyond its limit has tripped the breaker, if nothing changed meanwhile.

        Raises:
            Violation: it has not.
        """
        now = Watched.of(world)
        same = (self.price, self.fills, self.loss) == (now.price, now.fills, now.loss)
        limit = world.history.decided[self.epoch].limit("max_daily_loss_dollars")
        if not same or not (self.in_session and now.in_session) or self.loss <= limit:
            return
        since = [one.breaker for epoch, one in world.history.decided.items() if epoch >= self.epoch]
        if "tripped" not in since:
            raise Violation(f"(6) a loss of {self.loss} dollars, the limit is {limit}, and the breaker is {since[-1]}")
        world.met["a loss is beyond its limit"] += 1
