"""The end of a scenario: everything comes to rest, all records are as the venue's, and again changes nothing."""

from collections import Counter
from decimal import Decimal
from typing import Any

from simulation.actors import ACTION, round_of
from simulation.facts import Facts, Violation
from simulation.replaying import replay
from simulation.venue import PRICE, Venue
from simulation.when import CLOSED, SESSION, TRADED
from support.slices import Prices

from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.slices import SliceService
from trading_pipeline.services.verification import compare_book, read_ledger

ENDS_OF_SLICES = frozenset({"carried", "expired", "canceled", "filled", "rejected", "replaced"})
"""Those a slice has without an order, and those of an order."""


def come_to_rest(world: Any) -> None:
    """Let what is under way arrive, close the session, and settle until nothing is left to do.

    Raises:
        Violation: it does not come to rest, or not as it must.
    """
    venue = world.venue
    for intent in list(venue.in_transit):
        venue.arrive(intent, late=True)
    _settle(world, SESSION, rounds=2)
    world.watch(world.restorer)
    world.set_clock(CLOSED)
    venue.close(TRADED)
    _settle(world, TRADED, rounds=2)
    first = _at_rest(world)
    _settle(world, TRADED, rounds=1)
    replay(world)
    if first != _at_rest(world):
        raise Violation(f"(7) settling again changed something: {first} became {_at_rest(world)}")


def _settle(world: Any, session: Any, *, rounds: int) -> None:
    account = world.restorer
    for _ in range(rounds):
        world.pass_time(61)
        if world.facts().snapshot is None:
            RiskOperations(account).rebuild_risk_book(ACTION)
        round_of(account, session)
        SliceService(account, Provenance(run_id="restorer"), Prices(PRICE)).send_due()
        world.check()


def _at_rest(world: Any) -> tuple[object, ...]:
    facts, venue = world.facts(), world.venue
    live = [one for one in facts.orders.values() if one["state"] in ("cleared", "submitted_unconfirmed", "accepted")]
    if live:
        raise Violation(f"(2) orders that never end: {live}")
    if facts.snapshot is None or facts.snapshot.reservations:
        raise Violation(f"(2) nothing is live, the book holds {facts.snapshot}")
    _nothing_is_inferred_for_long(facts, venue, world.met)
    positions = {symbol: qty for symbol, qty in facts.positions.items() if qty}
    held = {name: Decimal(qty) for name, qty in facts.snapshot.positions.items()}
    if not venue.positions() == positions == held:
        raise Violation(f"(3) venue {venue.positions()}, ledger {positions}, book {held}")
    if differing := compare_book(world.restorer, read_ledger(world.restorer)):
        raise Violation(f"(2) ledger and book at rest: {'; '.join(one.describe() for one in differing)}")
    slices = _slices(world)
    states = sorted((order_id, row["state"], row["filled_qty"]) for order_id, row in facts.orders.items())
    return (states, positions, len(facts.fills), slices)


def _nothing_is_inferred_for_long(facts: Facts, venue: Venue, met: Counter[str]) -> None:
    """Only executions that the venue never tells of are stood for by what was inferred, to the share."""
    inferred: Counter[str] = Counter()
    for row in facts.fills:
        if row["counts"] and row["kind"] == "synthetic":
            inferred[row["client_order_id"]] += int(row["qty"])
    lost: Counter[str] = Counter()
    for one in venue.executed:
        if one.fill.execution_id in venue.lost:
            lost[one.client_order_id] += int(one.fill.qty)
    met["shares stand on figures for ever"] += bool(inferred)
    if inferred - lost:
        raise Violation(f"(3) the venue has shown all executions but {lost}, these stand for some still: {inferred}")


def _slices(world: Any) -> list[tuple[str, int, str]]:
    rows = world.stage.admin.execute(
        """select parent_id, number, s.state, client_order_id is not null as ordered
             from ledger.slice_states s join ledger.parents p using (parent_id)
            where account = %s order by 1, 2""",
        (world.account,),
    ).fetchall()
    found = [(row["parent_id"], row["number"], row["state"]) for row in rows]
    unsent = {row["state"] for row in rows if not row["ordered"]}
    world.met["a slice is too late"] += "expired" in unsent
    world.met["a parent is cancelled before its last slice"] += "canceled" in unsent
    left = [one for one in found if one[2] not in ENDS_OF_SLICES]
    if left:
        raise Violation(f"(5) slices that never end: {left}")
    return found
