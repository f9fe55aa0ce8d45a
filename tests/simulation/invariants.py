"""What must hold after every step, whatever happened: the eight invariants of the design, against the venue's truth."""

from decimal import Decimal
from itertools import chain, combinations
from typing import Any

from simulation.stage import Stage
from simulation.venue import Venue

from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import HOLDING
from trading_pipeline.core.risk.halts import Breaker, KillSwitch
from trading_pipeline.errors import TradingHalted

_FACTS = """
select (select coalesce(json_agg(o), '[]') from
         (select client_order_id, symbol, side, qty::text, filled_qty::text, state
            from ledger.orders where account = %(account)s) o) as orders,
       (select coalesce(json_agg(f), '[]') from
         (select f.execution_id, f.client_order_id, f.symbol, f.side, f.qty::text, (f.qty - f.told_qty)::text as untold,
                 f.kind, e.execution_id is not null as counts
            from ledger.fills f left join ledger.effective_fills e using (execution_id)
           where f.account = %(account)s) f) as fills,
       (select coalesce(json_agg(p), '[]') from
         (select symbol, qty::text from ledger.positions where account = %(account)s) p) as positions,
       (select row_to_json(b) from
         (select epoch, high_sequence, kill_switch, breaker, gate,
                 array(select symbol from ledger.blocked_symbols s where s.account = %(account)s) as blocked
            from ledger.books where account = %(account)s) b) as book
"""  # one statement: it is run after every step


class Violation(AssertionError):
    """An invariant does not hold."""


class Facts:
    """Ledger and book as committed at this instant."""

    def __init__(self, stage: Stage, account: str, watcher: RiskGuard) -> None:
        row = stage.admin.execute(_FACTS, {"account": account}).fetchone()
        self.orders = {one["client_order_id"]: _exact(one) for one in row["orders"]}
        self.fills = [_exact(one) for one in row["fills"]]
        self.positions = {one["symbol"]: Decimal(one["qty"]) for one in row["positions"]}
        self.book = row["book"]
        try:
            snapshot = watcher.snapshot()
        except TradingHalted:
            snapshot = None
        current = snapshot is not None and (
            snapshot.epoch == self.book["epoch"] and snapshot.sequence >= self.book["high_sequence"]
        )
        self.snapshot = snapshot if current else None
        """The book, when it is one that would clear anything."""


def check(facts: Facts, venue: Venue, largest_limit: int) -> None:
    """Check everything that must hold at any instant.

    Raises:
        Violation: something does not.
    """
    _exposure_is_within_limits(venue, largest_limit)
    _working_orders_are_held(facts, venue)
    _fills_are_executions(facts, venue)
    _book_knows_the_posted(facts)
    _book_holds_what_was_decided(facts)
    if venue.resent:
        raise Violation(f"(4) sent again although the venue had it: {venue.resent}")


def _exact(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: Decimal(row[name]) for name in ("qty", "filled_qty", "untold") if name in row}


def _irregular(venue: Venue) -> set[str]:
    return {order.symbol for order in venue.orders.values() if order.irregular}


def _exposure_is_within_limits(venue: Venue, limit: int) -> None:
    for symbol, (position, buys, sells) in venue.exposure().items():
        if symbol not in _irregular(venue) and (position + buys > limit or sells - position > limit):
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


def judge_send(facts: Facts, intent: Any, clearance: Any, venue: Venue) -> None:
    """Check what must hold at the instant an order leaves: it is ours, cleared, and nothing stands against it.

    Raises:
        Violation: something does not hold.
    """
    stored, book = facts.orders.get(intent.client_order_id), facts.book
    if stored is None or stored["state"] != "cleared":
        raise Violation(f"(8) {intent.client_order_id} is sent, the ledger has it as {stored and stored['state']}")
    if clearance.epoch != book["epoch"]:
        raise Violation(f"(8) sent with a clearance of epoch {clearance.epoch}, the book is of {book['epoch']}")
    if intent.session != venue.session:
        raise Violation(f"(8) sent for session {intent.session} in {venue.session}")
    if book["kill_switch"] == KillSwitch.ENGAGED and intent.purpose.value != "flatten":
        raise Violation("(6) sent although the kill switch is engaged")
    if book["breaker"] == "tripped" or intent.purpose.value == "flatten":
        position, buys, sells = venue.exposure().get(intent.symbol, (0, 0, 0))
        booked = facts.positions.get(intent.symbol, 0)
        reduces = booked - sells - intent.qty >= 0 if intent.side.value == "sell" else booked + buys + intent.qty <= 0
        if not reduces and intent.symbol not in _irregular(venue):
            raise Violation(f"(6) {intent.side} {intent.qty} sent while only reducing: {position}, {buys}, {sells}")
