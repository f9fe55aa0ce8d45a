"""A crash at every commit, every step of the guard and every request of a start, and the start after it.

A start closes the gate, books what others did, makes the book anew to hold their orders, shuts their symbols and opens
the gate. No person is needed after a crash anywhere in it: what Redis never heard of, the next start tells it.
"""

from contextlib import AbstractContextManager
from decimal import Decimal

import pytest
from support.alpaca.bench import Bench
from support.dying import Crash, Deadline, Onlooker, Wires
from support.trading import ACTION

from trading_pipeline.core.risk.halts import Gate
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.reconciliation import start
from trading_pipeline.services.verification import compare

BY_HAND = {"symbol": "NVDA", "qty": "5", "side": "buy", "type": "limit", "limit_price": "400", "time_in_force": "day"}


def play(name: str, opened: Wires, bench: Bench, deadline: Deadline) -> dict[str, object]:
    """Start into the deadline, if there is one, let another process start, and return what there is then."""
    bench.begin_anew()

    def process(until: Deadline) -> AbstractContextManager[TradingAccount]:
        return opened.process(name, bench.broker(), bench.waits, until)

    with process(Deadline()) as account:
        RiskOperations(account).initialize_risk_book(RiskLimits(), ACTION)
        bench.broker_client().post("/orders", BY_HAND)
        bench.exchange.buy_elsewhere("F", Decimal(3))
    with process(deadline) as first:
        if deadline.at is None:
            start(first, ACTION)
        else:
            with pytest.raises(Crash):
                start(first, ACTION)
    with process(Deadline()) as other:
        done = start(other, ACTION)
        assert done is not None
        book = other.guard.snapshot()
        assert book is not None
        return {
            "gate": done.record.gate,
            "unexplained": done.unexplained,
            "kept from trading": sorted(done.unresolved),
            "held": dict(book.positions),
            "reserved": [one.symbol for one in book.reservations.values()],
            "quarantined": sorted(book.quarantined),
            "differences": compare(other),
        }


def test_a_crash_anywhere_in_a_start_is_finished_by_the_next_one(
    opened: Wires, onlooker: Onlooker, bench: Bench
) -> None:
    """The boundaries are those an undisturbed start passes: every one that leaves something new is crashed at."""
    play("warm-up", opened, bench, Deadline())
    undisturbed = onlooker.recorder("calm", bench.there)
    expected = play("calm", opened, bench, undisturbed)
    assert (Gate.OPEN, (), ["F", "NVDA"]) == tuple(expected[name] for name in ("gate", "unexplained", "quarantined"))
    assert {"before redis", "after redis"} < set(undisturbed.seen)
    assert {"committed", "after redis"} <= {boundary for _, boundary in undisturbed.kept}
    for at, boundary in undisturbed.kept:
        found = play(f"crash-{at}", opened, bench, Deadline(at))
        assert expected == found, f"crashed at boundary {at} ({boundary})"
