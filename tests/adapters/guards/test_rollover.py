"""What a session has cleared counts for that session alone."""

from dataclasses import replace
from datetime import date

from tests.adapters.guards.builders import EMPTY, LIMITS, SESSION, ask, book_of
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.risk.clearance import VerdictCode

NEXT = date(2024, 10, 18)


def test_next_session_counts_from_nothing_also_after_a_rebuild(guard: RiskGuard) -> None:
    """A full session stays full, the next one starts at zero, and a rebuild from the same counts changes neither."""
    one_order = replace(EMPTY, limits=replace(LIMITS, max_orders_per_session=1))
    guard.rebuild(one_order)
    assert guard.clear(ask("first", qty=10)).cleared
    assert VerdictCode.ORDERS_PER_SESSION == guard.clear(ask("second", qty=10)).code
    counted = book_of(guard)
    assert {SESSION: 1} == {day: one.orders for day, one in counted.sessions.items()}

    guard.rebuild(replace(one_order, epoch=2, sequence=counted.sequence, sessions=counted.sessions))

    assert VerdictCode.ORDERS_PER_SESSION == guard.clear(ask("second", qty=10, epoch=2)).code
    assert guard.clear(ask("third", qty=10, session=NEXT, epoch=2)).cleared
    assert VerdictCode.ORDERS_PER_SESSION == guard.clear(ask("fourth", qty=10, session=NEXT, epoch=2)).code
    assert {SESSION: counted.sessions[SESSION], NEXT: counted.sessions[SESSION]} == book_of(guard).sessions
