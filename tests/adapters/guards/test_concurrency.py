"""Many at once: what one clears, the others have already counted."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from multiprocessing import get_context

from tests.adapters.guards.builders import ACCOUNT, EMPTY, LIMITS, PRICE, ask
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard

WORKERS = 4
ORDERS_EACH = 60


def hammer(url: str, worker: int) -> int:
    """Ask for one share again and again; return how many were cleared."""
    with closing(connect(url)) as client:
        guard = RiskGuard(client, ACCOUNT)
        return sum(guard.clear(ask(f"{worker}-{number}", qty=1)).cleared for number in range(ORDERS_EACH))


def ask_alike(url: str, qty: int) -> int | None:
    """Ask for the one order that everybody asks for; return the sequence of its clearance."""
    with closing(connect(url)) as client:
        clearance = RiskGuard(client, ACCOUNT).clear(ask(qty=qty)).clearance
        return clearance.sequence if clearance else None


def test_processes_together_never_pass_a_limit(guard: RiskGuard, redis_url: str) -> None:
    """Exactly as many shares clear as the limit has room for, however the processes interleave."""
    guard.rebuild(replace(EMPTY, limits=replace(LIMITS, max_position_shares=100, max_orders_per_session=1_000)))

    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        cleared = list(pool.map(hammer, [redis_url] * WORKERS, range(WORKERS)))

    book = guard.snapshot()
    assert book is not None
    assert 100 == sum(cleared)
    assert (100, 100 * PRICE) == (book.symbols["AAPL"].pending_buy, book.gross_ticks)
    assert 100 == len(book.reservations) == book.sequence


def test_one_order_asked_by_many_is_reserved_once(guard: RiskGuard, redis_url: str) -> None:
    """Everybody gets the same clearance of an order that fills the limit by itself."""
    with ThreadPoolExecutor(WORKERS) as pool:
        sequences = list(pool.map(ask_alike, [redis_url] * 20, [1_000] * 20))

    book = guard.snapshot()
    assert book is not None
    assert {1} == set(sequences)
    assert 1_000 == book.symbols["AAPL"].pending_buy


def test_threads_may_share_a_guard(guard: RiskGuard) -> None:
    """One guard serves many threads, each order once."""
    with ThreadPoolExecutor(WORKERS) as pool:
        verdicts = list(pool.map(lambda number: guard.clear(ask(f"order-{number}", qty=1)), range(80)))

    assert 80 == len({verdict.clearance.sequence for verdict in verdicts if verdict.clearance})
