"""Invariant 7 in the middle of it all: what was done is done again, and nothing changes but the book's sequence.

Done again is what is defined to be done twice: a fill that the book was told of, the end of an order that it was told
of, the clearance of an order that it holds, and the intents and executions that the ledger has.
"""

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import psycopg
from simulation.facts import Facts, Violation
from simulation.stage import UNSEEN

from trading_pipeline.adapters.guards.book import BookSnapshot
from trading_pipeline.adapters.guards.telling import Posting
from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.money import to_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ClearanceRequest, MarketFacts
from trading_pipeline.errors import TransientError

_LAST_REBUILD = """
select max((detail ->> 'epoch')::bigint) as epoch from ledger.operator_actions
 where account = %s and action in ('initialize_risk_book', 'rebuild_risk_book')
"""
_ENDED = """
select client_order_id from ledger.orders where account = %s and released and guard_sequence is not null order by 1
"""


def replay(world: Any) -> None:
    """Do everything again that may be done again.

    Raises:
        Violation: something is different afterwards.
    """
    world.book_changed = True
    before = world.facts()
    _ledger_again(world, before)
    if before.snapshot is not None:
        _fills_again(world, before)
        _ends_again(world, before)
        _clearances_again(world, before)
    world.book_changed = True
    after = world.facts()
    changed = [(was, now) for was, now in zip(_state(before), _state(after), strict=True) if was != now]
    if changed:
        raise Violation(f"(7) doing it again changed something: {changed}")


def _state(facts: Facts) -> tuple[object, ...]:
    rows = (facts.orders, facts.fills, facts.positions, facts.book["epoch"])
    if facts.snapshot is None:
        return (*rows, *[None] * len(fields(BookSnapshot)))
    book = replace(facts.snapshot, sequence=0)
    return (*rows, *(getattr(book, one.name) for one in fields(book)))


def _ledger_again(world: Any, facts: Facts) -> None:
    ledger = world.stage.slots[UNSEEN].ledger
    booked = {row["execution_id"] for row in facts.fills if row["kind"] == "execution"}
    executed = [one.executed for one in world.venue.executed if one.fill.execution_id in booked]
    try:
        stored = ledger.orders.get_many(facts.orders)
        if executed and any(ledger.fills.book_many(world.account, executed)):
            raise Violation(f"(7) booked twice: some of {sorted(booked)}")
        plain = [one for one in stored.values() if one.intent.parent_id is None]
        known = ledger.orders.record_many([NewOrder(intent=one.intent, origin=one.origin) for one in plain])
        new = [one.client_order_id for one, is_new in known if is_new]
    except (TransientError, psycopg.Error):
        return  # somebody stands in the middle of a transaction that holds a row of them
    if new:
        raise Violation(f"(7) recorded twice: {new}")


def _fills_again(world: Any, facts: Facts) -> None:
    """Only what this book was told by its id: not what it was made of, nor what was inferred before it came."""
    rebuilt = world.stage.admin.execute(_LAST_REBUILD, (world.account,)).fetchone()["epoch"]
    since = world.history.decided[rebuilt].last_fill
    inferred = {row["client_order_id"] for row in facts.fills if row["kind"] != "execution"}
    postings = [
        Posting(
            client_order_id=row["client_order_id"],
            execution_id=row["execution_id"],
            qty=row["qty"],
            symbol=row["symbol"],
            side=Side(row["side"]),
            price_ticks=to_ticks(row["price"]),
        )
        for row in facts.fills
        if row["posted"] and row["seq"] > since and row["client_order_id"] not in inferred
    ]
    world.met["a fill is told again"] += len(postings)
    told = world.watcher.post_many(postings, epoch=facts.book["epoch"], min_sequence=facts.book["high_sequence"])
    told.require()


def _ends_again(world: Any, facts: Facts) -> None:
    ended = [row["client_order_id"] for row in world.stage.admin.execute(_ENDED, (world.account,)).fetchall()]
    world.met["an end is told again"] += len(ended)
    known = {"epoch": facts.book["epoch"], "min_sequence": facts.book["high_sequence"]}
    world.watcher.void_many(ended, **known).require()


def _clearances_again(world: Any, facts: Facts) -> None:
    """Ask again for what the book holds, at another price: it is the same clearance, or a halt that came since."""
    held = {name: one for name, one in facts.snapshot.reservations.items() if name in facts.orders}
    stored = world.stage.slots[UNSEEN].ledger.orders.get_many(held) if held else {}
    market = MarketFacts(reference_ticks=to_ticks(Decimal(101)), reference_age_seconds=0, adv_shares=1, equity_ticks=1)
    for name, order in stored.items():
        request = ClearanceRequest.of(
            order.intent, market=market, epoch=facts.book["epoch"], min_sequence=facts.book["high_sequence"]
        )
        verdict = world.watcher.clear(request)
        world.met["a clearance is asked for again"] += verdict.cleared
        if verdict.clearance is not None and verdict.clearance.sequence != held[name].sequence:
            raise Violation(f"(7) {held[name]} was cleared again, at {verdict.clearance.sequence}")
