"""What must hold after every step, whatever happened: the eight invariants of the design, against the venue's truth.

What is judged at the instant of a clearance is in `clearances`, at the instant an order leaves in `sends`.
"""

from collections import Counter
from itertools import chain, combinations
from typing import Any

from simulation.clearances import History
from simulation.facts import Facts, Violation
from simulation.venue import Venue

from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import HOLDING
from trading_pipeline.core.risk.halts import Breaker


def check(facts: Facts, venue: Venue, history: History) -> None:
    """Check everything that must hold at any instant.

    Raises:
        Violation: something does not.
    """
    _exposure_is_within_limits(venue, history.largest("max_position_shares"))
    _working_orders_are_held(facts, venue)
    _fills_are_executions(facts, venue)
    _book_knows_the_posted(facts)
    _book_holds_what_was_decided(facts)
    _children_are_within_their_parent(facts, venue)
    if venue.resent:
        raise Violation(f"(4) sent again although the venue had it: {venue.resent}")


def _exposure_is_within_limits(venue: Venue, limit: Any) -> None:
    for symbol, (position, buys, sells) in venue.exposure().items():
        if symbol not in venue.irregular() and (position + buys > limit or sells - position > limit):
            raise Violation(f"(1) {symbol}: {position} held, {buys} to buy, {sells} to sell, the limit is {limit}")


def _working_orders_are_held(facts: Facts, venue: Venue) -> None:
    for order in venue.orders.values():
        if not order.working or not order.ours or order.irregular:
            continue
        stored = facts.orders.get(order.client_order_id)
        if stored is None:
            raise Violation(f"(8) {order.client_order_id} works at the venue without a committed intent")
        if stored["state"] not in HOLDING:
            raise Violation(f"(2) {order.client_order_id} works at the venue, the ledger calls it {stored['state']}")
        if facts.snapshot is not None:
            held = facts.snapshot.reservations.get(order.client_order_id)
            if (held.remaining if held else 0) < order.qty - order.filled:
                raise Violation(f"(2) {order.client_order_id} works at the venue, the book holds {held}")


def _fills_are_executions(facts: Facts, venue: Venue) -> None:
    executed = {one.fill.execution_id: one.fill for one in venue.executed}
    sums: dict[str, Any] = {}
    orders: dict[str, Any] = {}
    for row in facts.fills:
        if row["kind"] == "execution":
            real = executed.get(row["execution_id"])
            if real is None or (real.symbol, real.side, real.qty) != (row["symbol"], row["side"], row["qty"]):
                raise Violation(f"(3) fill {row['execution_id']} is not what the venue executed: {real}")
        if row["counts"]:
            sums[row["symbol"]] = sums.get(row["symbol"], 0) + row["qty"] * Side(row["side"]).sign
            orders[row["client_order_id"]] = orders.get(row["client_order_id"], 0) + row["qty"]
    for order_id, qty in orders.items():
        if qty > venue.orders[order_id].filled:
            raise Violation(f"(3) {qty} shares of {order_id} count, the venue filled {venue.orders[order_id].filled}")
    booked = {symbol: qty for symbol, qty in facts.positions.items() if qty}
    if {symbol: qty for symbol, qty in sums.items() if qty} != booked:
        raise Violation(f"(3) positions {booked} are not the sum of the fills {sums}")


def _book_knows_the_posted(facts: Facts) -> None:
    if facts.snapshot is None:
        return
    for symbol in {row["symbol"] for row in facts.fills} | set(facts.snapshot.positions):
        rows = [row for row in facts.fills if row["symbol"] == symbol]
        counted = sum(row["qty"] * Side(row["side"]).sign for row in rows if row["counts"])
        waiting = [row["untold"] * Side(row["side"]).sign for row in rows if row["untold"]]
        posted = counted - sum(waiting)
        possible = {posted + sum(some) for some in _subsets(waiting)}
        held = facts.snapshot.positions.get(symbol, 0)
        if held not in possible:
            raise Violation(f"(3) the book holds {held} {symbol}, the ledger {sorted(possible)}")


def _book_holds_what_was_decided(facts: Facts) -> None:
    """A book that clears is halted, gated and blocked as the ledger says, whoever changed it in whatever order."""
    if facts.snapshot is None:
        return
    book, decided = facts.snapshot, facts.book
    halted = (book.kill_switch.value, book.breaker is Breaker.TRIPPED, book.gate.value, sorted(book.blocked))
    wanted = (decided["kill_switch"], decided["breaker"] == "tripped", decided["gate"], sorted(decided["blocked"]))
    if halted != wanted:
        raise Violation(f"(6) the book is current and holds {halted}, the ledger decided {wanted}")


def _subsets(items: list[Any]) -> Any:
    return chain.from_iterable(combinations(items, size) for size in range(len(items) + 1))


def _children_are_within_their_parent(facts: Facts, venue: Venue) -> None:
    """What was ordered of a large order never comes back, filled or not: all of it counts, here and at the venue."""
    for parent_id, parent in facts.parents.items():
        ordered = sum(order["qty"] for order in facts.orders.values() if order["parent_id"] == parent_id)
        children = [order for order in venue.orders.values() if order.parent_id == parent_id]
        arrived = sum(order.qty for order in children)
        if ordered > parent["qty"] or arrived > parent["qty"]:
            raise Violation(f"(5) {ordered} ordered, {arrived} at the venue, of the {parent['qty']} of {parent_id}")
        twice = [number for number, times in Counter(order.number for order in children).items() if times > 1]
        if twice:
            raise Violation(f"(5) more than one order of slices {twice} of {parent_id} at the venue")
