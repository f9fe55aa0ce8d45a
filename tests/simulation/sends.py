"""What must hold at the instant an order leaves: it is ours, cleared, of now, and nothing stands against it.

The last check compares the epoch of the clearance with the ledger's, and every change of halts, gate, limits and
symbols begins an epoch. So all of them are judged as they stand now. Time is no change: an order that was cleared while
a quiet period or a quarantine had ended by the clock may leave after the clock was set back.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from simulation.clearances import History
from simulation.facts import Decided, Facts, Violation
from simulation.stage import SharedLedger
from simulation.venue import Venue

from trading_pipeline.core.orders.model import OrderIntent, Purpose, Side
from trading_pipeline.core.orders.pacing import ON_TIME
from trading_pipeline.core.risk.clearance import Clearance


def judge_send(
    facts: Facts, history: History, intent: OrderIntent, clearance: Clearance, venue: Venue, latest: datetime
) -> None:
    """Check an order that leaves now.

    Raises:
        Violation: something does not hold.
    """
    stored, book, order_id = facts.orders.get(intent.client_order_id), facts.book, intent.client_order_id
    if stored is None or stored["state"] != "cleared":
        raise Violation(f"(8) {order_id} is sent, the ledger has it as {stored and stored['state']}")
    if clearance.epoch != book["epoch"]:
        raise Violation(f"(8) sent with a clearance of epoch {clearance.epoch}, the book is of {book['epoch']}")
    if intent.session != venue.session:
        raise Violation(f"(8) sent for session {intent.session} in {venue.session}")
    decided, flatten = history.decided[book["epoch"]], intent.purpose is Purpose.FLATTEN
    shut = decided.why_shut(intent.symbol, latest)
    if shut and not flatten:
        raise Violation(f"(6) {order_id} is sent although {shut}")
    if intent.symbol in venue.irregular():
        return
    exposure = venue.exposure(without=order_id)
    why = "it flattens" if flatten else decided.why_reducing(latest) or _why_over(decided, venue, exposure)
    if why and not _reduces(facts, intent, exposure):
        raise Violation(f"(6) {intent.side} {intent.qty} {intent.symbol} sent, {exposure}, and {why}")
    if why:
        history.met["an order that must reduce leaves"] += 1
    _room_is_left(decided, intent, venue, exposure)


def _reduces(facts: Facts, intent: OrderIntent, exposure: dict[str, tuple[int, int, int]]) -> bool:
    _, buys, sells = exposure.get(intent.symbol, (0, 0, 0))
    booked = facts.positions.get(intent.symbol, 0)
    return booked - sells - intent.qty >= 0 if intent.side is Side.SELL else booked + buys + intent.qty <= 0


def _worst(exposure: dict[str, tuple[int, int, int]]) -> dict[str, int]:
    return {name: max(position + buys, sells - position) for name, (position, buys, sells) in exposure.items()}


def _why_over(decided: Decided, venue: Venue, exposure: dict[str, tuple[int, int, int]]) -> str:
    """Return which limit is exceeded already; what an order that came late or too large did is not the guard's."""
    shares, most = _worst(exposure), decided.limit("max_position_shares")
    worst = {name: qty for name, qty in shares.items() if name not in venue.irregular()}
    over = {name: qty for name, qty in worst.items() if qty > most}
    gross = sum(worst.values()) * venue.lowest
    if over:
        return f"{over} is over the {most} shares of a position"
    return f"{gross} dollars are over the gross limit" if gross > decided.limit("max_gross_notional") else ""


def _room_is_left(
    decided: Decided, intent: OrderIntent, venue: Venue, exposure: dict[str, tuple[int, int, int]]
) -> None:
    """Judge the side the order is of; at the lowest price there was, which no clearance was judged below."""
    position, buys, sells = exposure.get(intent.symbol, (0, 0, 0))
    after = Decimal(position + buys + intent.qty if intent.side is Side.BUY else sells - position + intent.qty)
    found = {"max_position_shares": after, "max_position_notional": after * venue.lowest}
    for name, value in found.items():
        if value > decided.limit(name):
            raise Violation(f"(1) {intent.client_order_id} is sent with {name} at {value} of {decided.limit(name)}")


def judge_slice(facts: Facts, intent: OrderIntent, ledger: SharedLedger, now: datetime, stepped: float) -> None:
    """Check a slice that leaves now: it is due, and when its sender took the lane its parent stood, and it had time.

    It is no further slice than the plan has by then: see `judge_pace`.

    Raises:
        Violation: something does not hold.
    """
    parent = facts.parents.get(intent.parent_id or "")
    if parent is None or ledger.since is None:
        raise Violation(f"(5) slice {intent.repeat} of {intent.parent_id} has no parent, or its sender no lane")
    if intent.parent_id in ledger.canceled:
        raise Violation(f"(5) slice {intent.repeat} of {intent.parent_id} is sent, its parent was cancelled")
    one = parent["slices"][intent.repeat - 1]
    interval = timedelta(microseconds=parent["interval_microseconds"])
    grace = timedelta(seconds=parent["grace_seconds"]) if parent["when_late"] == "run" else timedelta()
    began, offset = ledger.since
    due = datetime.fromisoformat(one["due_at"])
    if offset == stepped and (now < due or began >= due + max(grace, min(ON_TIME, interval))):
        raise Violation(f"(5) slice {intent.repeat}, due at {due}, was taken up at {began} and is sent at {now}")


def judge_pace(facts: Facts) -> None:
    """Check that slices were decided an interval apart, nine tenths at least: what is late never goes out at once.

    Raises:
        Violation: two were decided too near to each other.
    """
    for parent_id, parent in facts.parents.items():
        interval = timedelta(microseconds=parent["interval_microseconds"])
        ordered: list[dict[str, Any]] = [one for one in parent["slices"] if one["decided_at"]]
        times = [datetime.fromisoformat(one["decided_at"]) for one in ordered]
        for one, earlier, later in zip(ordered[1:], times, times[1:], strict=False):
            if later - earlier < interval * 9 // 10:
                raise Violation(f"(5) slice {one['number']} of {parent_id} was sent {later - earlier} after another")
