"""Many orders, fills or ends in one message: each stands for itself, and what was lost in between is told again."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest
import redis
from support.stepped_redis import InterruptedRedis, interrupted

from tests.adapters.guards.builders import ACCOUNT, ACTION, EMPTY, LIMITS, PRICE, ask, book_of
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.guards.scripts import source
from trading_pipeline.adapters.guards.telling import Posting
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ClearanceRequest, Verdict, VerdictCode
from trading_pipeline.errors import OrderConflict, ServerUnavailable, TradingHalted

SYMBOLS = ("AAPL", "MSFT", "TSLA")
KNOWN = {"epoch": 1, "min_sequence": 0}


@pytest.fixture
def line(redis_url: str) -> Iterator[InterruptedRedis]:
    """A client on an empty Redis, between whose commands a test may come."""
    with closing(interrupted(redis_url)) as opened:
        yield opened


@pytest.fixture
def three(line: InterruptedRedis) -> RiskGuard:
    """A guard that holds ten shares of each of three orders."""
    guard = RiskGuard(line, ACCOUNT)
    guard.rebuild(EMPTY)
    for verb in ("clear", "post", "void"):
        line.script_load(source(verb))
    for symbol in SYMBOLS:
        assert guard.clear(ask(f"order-{symbol}", symbol=symbol, qty=10)).cleared
    return guard


def posting(symbol: str, *, qty: int = 10, side: Side = Side.BUY) -> Posting:
    """One fill of the order of a symbol."""
    return Posting(
        client_order_id=f"order-{symbol}",
        execution_id=f"fill of {symbol}".replace(" ", "-"),
        qty=qty,
        symbol=symbol,
        side=side,
        price_ticks=PRICE,
    )


POSTINGS = [posting(symbol) for symbol in SYMBOLS]
EXECUTIONS = tuple(one.execution_id for one in POSTINGS)
ORDERS = [f"order-{symbol}" for symbol in SYMBOLS]


def test_fills_and_ends_are_told_together(three: RiskGuard) -> None:
    """Each takes a step of the book's sequence, which comes back for the ledger; told again, nothing changes."""
    told = three.post_many([posting(symbol, qty=4) for symbol in SYMBOLS], **KNOWN)
    assert (EXECUTIONS, {}, None, 6) == (told.done, told.conflicts, told.failure, told.sequence)
    ended = three.void_many(ORDERS, epoch=1, min_sequence=told.sequence)
    assert (tuple(ORDERS), None, 9) == (ended.done, ended.failure, ended.sequence)

    after = book_of(three)
    assert (dict.fromkeys(SYMBOLS, 4), {}) == (after.positions, after.reservations)
    assert 9 == three.post_many([posting(symbol, qty=4) for symbol in SYMBOLS], **KNOWN).require()
    assert 9 == three.void_many(ORDERS, **KNOWN).require()
    assert after == book_of(three)


def test_nothing_to_tell_is_no_message(three: RiskGuard, line: InterruptedRedis) -> None:
    """Not even a question whether there is a book."""
    line.interrupt(0, pytest.fail)
    assert 7 == three.post_many([], epoch=1, min_sequence=7).require()


def test_a_fill_that_does_not_fit_keeps_no_other_back(three: RiskGuard) -> None:
    """It is named, and the others are done, those behind it too."""
    told = three.post_many([POSTINGS[0], posting("MSFT", side=Side.SELL), POSTINGS[2]], **KNOWN)
    assert ((EXECUTIONS[0], EXECUTIONS[2]), None) == (told.done, told.failure)
    assert [EXECUTIONS[1]] == list(told.conflicts)
    assert {"AAPL": 10, "TSLA": 10} == book_of(three).positions
    with pytest.raises(OrderConflict, match="order-MSFT"):
        told.require()


def test_a_fill_on_a_damaged_record_keeps_no_other_back(three: RiskGuard, raw: redis.Redis) -> None:
    """What can be done is done; what failed is told again once the record is mended."""
    key = book_keys(ACCOUNT).book
    sound = raw.hget(key, "symbol:MSFT")
    assert sound is not None
    raw.hset(key, "symbol:MSFT", sound[:-1])

    told = three.post_many(POSTINGS, **KNOWN)
    assert (EXECUTIONS[0], EXECUTIONS[2]) == told.done
    with pytest.raises(TradingHalted, match="damaged"):
        told.require()

    raw.hset(key, "symbol:MSFT", sound)
    assert EXECUTIONS == three.post_many(POSTINGS, epoch=1, min_sequence=told.sequence).done
    assert dict.fromkeys(SYMBOLS, 10) == book_of(three).positions


@pytest.mark.parametrize("at", range(3))
def test_redis_that_forgot_the_scripts_is_taught_again(
    three: RiskGuard, line: InterruptedRedis, raw: redis.Redis, at: int
) -> None:
    """Before the first of them, or between two."""
    line.interrupt(at, raw.script_flush)
    assert EXECUTIONS == three.post_many(POSTINGS, **KNOWN).done
    assert dict.fromkeys(SYMBOLS, 10) == book_of(three).positions


@pytest.mark.parametrize("at", [1, 2])
def test_redis_that_somebody_else_teaches_in_between_answers_in_order(
    three: RiskGuard, line: InterruptedRedis, raw: redis.Redis, at: int
) -> None:
    """The first found no script, those behind it did: all are asked again, and none overtakes another."""
    raw.script_flush()
    line.interrupt(at, lambda: raw.script_load(source("clear")))
    verdicts = three.clear_many(asking("AAPL", "MSFT", "TSLA"))
    assert [CLEARED] * 3 == codes(verdicts)
    assert 6 == len(book_of(three).reservations)


@pytest.mark.parametrize("at", range(3))
def test_a_line_that_breaks_in_between_leaves_what_was_done(three: RiskGuard, line: InterruptedRedis, at: int) -> None:
    """Nobody knows how far it came; told again, all of it counts once."""

    def breaks() -> None:
        raise redis.ConnectionError("the line broke")

    line.interrupt(at, breaks)
    with pytest.raises(ServerUnavailable, match="the line broke"):
        three.post_many(POSTINGS, **KNOWN)
    assert SYMBOLS[:at] == tuple(book_of(three).positions)

    assert EXECUTIONS == three.post_many(POSTINGS, **KNOWN).done
    assert dict.fromkeys(SYMBOLS, 10) == book_of(three).positions


def test_a_book_that_is_lost_in_between_was_told_nothing(
    three: RiskGuard, line: InterruptedRedis, raw: redis.Redis
) -> None:
    """The fill before the loss is lost with the book: it must be told again, or be part of a rebuild."""
    line.interrupt(1, raw.flushall)
    told = three.post_many(POSTINGS, **KNOWN)
    assert ((), 0) == (told.done, told.sequence)
    with pytest.raises(TradingHalted) as caught:
        told.require()
    assert VerdictCode.BOOK_MISSING.value == caught.value.fields["code"]


def _way_back(raw: redis.Redis) -> Callable[[], None]:
    """Return what puts the book of this moment in the place of a later one."""
    keys = book_keys(ACCOUNT)
    older = {key: raw.dump(key) for key in (keys.book, keys.history)}

    def goes_back() -> None:
        for key, value in older.items():
            assert value is not None
            raw.restore(key, 0, value, replace=True)

    return goes_back


@pytest.mark.parametrize("at", [1, 2])
def test_a_book_that_becomes_an_older_one_in_between_was_told_nothing(
    three: RiskGuard, line: InterruptedRedis, raw: redis.Redis, at: int
) -> None:
    """As when the server turns into a replica of one that lags, be it by one step. Told again, all counts once."""
    line.interrupt(at, _way_back(raw))
    told = three.post_many(POSTINGS, **KNOWN)
    assert ((), 0) == (told.done, told.sequence)
    with pytest.raises(TradingHalted) as caught:
        told.require()
    assert VerdictCode.BOOK_STALE.value == caught.value.fields["code"]

    assert EXECUTIONS == three.post_many(POSTINGS, **KNOWN).done
    assert dict.fromkeys(SYMBOLS, 10) == book_of(three).positions


def test_a_book_that_is_not_the_ledgers_is_told_nothing(three: RiskGuard) -> None:
    """Neither fills nor ends."""
    before = book_of(three)
    for known in ({"epoch": 2, "min_sequence": 0}, {"epoch": 1, "min_sequence": before.sequence + 1}):
        for told in (three.post_many(POSTINGS, **known), three.void_many(ORDERS, **known)):
            assert ((), known["min_sequence"]) == (told.done, told.sequence)
            with pytest.raises(TradingHalted, match="rebuild_risk_book"):
                told.require()
    assert before == book_of(three)


def asking(*symbols: str, min_sequence: int = 3) -> list[ClearanceRequest]:
    """Requests for ten more shares of each of these symbols."""
    return [ask(f"more-{at}-{one}", symbol=one, qty=10, min_sequence=min_sequence) for at, one in enumerate(symbols)]


def codes(verdicts: list[Verdict]) -> list[VerdictCode]:
    """What was said."""
    return [one.code for one in verdicts]


CLEARED, STALE, UNAVAILABLE = VerdictCode.CLEARED, VerdictCode.BOOK_STALE, VerdictCode.GUARD_UNAVAILABLE


def test_orders_asked_for_together_are_judged_one_after_the_other(three: RiskGuard) -> None:
    """Each sees what those before it reserved: the second is one too many, the third is not."""
    three.rebuild(replace(EMPTY, limits=replace(LIMITS, max_position_shares=15)))
    verdicts = three.clear_many(asking("AAPL", "AAPL", "MSFT", min_sequence=0))
    assert [CLEARED, VerdictCode.POSITION_SHARES, CLEARED] == codes(verdicts)
    assert [1, 1, 2] == [one.sequence for one in verdicts]


def test_no_orders_are_no_question(three: RiskGuard, line: InterruptedRedis) -> None:
    """Nothing is sent."""
    line.interrupt(0, pytest.fail)
    assert [] == three.clear_many([])


def test_a_switch_engaged_in_between_keeps_the_orders_behind_it(
    three: RiskGuard, line: InterruptedRedis, client: redis.Redis
) -> None:
    """Being asked in one message gives nobody a head start."""
    line.interrupt(1, lambda: RiskGuard(client, ACCOUNT).engage_kill_switch(ACTION))
    verdicts = three.clear_many(asking(*SYMBOLS))
    assert [CLEARED, VerdictCode.KILL_SWITCH_ENGAGED, VerdictCode.KILL_SWITCH_ENGAGED] == codes(verdicts)


def test_a_line_that_breaks_in_between_clears_nothing_until_it_is_asked_again(
    three: RiskGuard, line: InterruptedRedis
) -> None:
    """What it had cleared stays reserved once, and the same clearance comes back."""

    def breaks() -> None:
        raise redis.ConnectionError("the line broke")

    line.interrupt(2, breaks)
    assert [UNAVAILABLE] * 3 == codes(three.clear_many(asking(*SYMBOLS)))
    assert 5 == book_of(three).sequence

    verdicts = three.clear_many(asking(*SYMBOLS))
    assert [CLEARED] * 3 == codes(verdicts)
    assert [4, 5, 6] == [one.clearance.sequence for one in verdicts if one.clearance]
    assert 20 == book_of(three).symbols["AAPL"].pending_buy


def test_an_order_on_a_damaged_record_keeps_no_other_back(three: RiskGuard, raw: redis.Redis) -> None:
    """It is a no for itself."""
    raw.hset(book_keys(ACCOUNT).book, "symbol:MSFT", b"nonsense")
    assert [CLEARED, UNAVAILABLE, CLEARED] == codes(three.clear_many(asking(*SYMBOLS)))


@pytest.mark.parametrize("at", [1, 2])
def test_a_book_that_forgets_in_between_says_yes_to_nothing_behind(
    three: RiskGuard, line: InterruptedRedis, raw: redis.Redis, at: int
) -> None:
    """However far the older book counts on, it is believed no more."""
    line.interrupt(at, _way_back(raw))
    verdicts = three.clear_many(asking("AAPL", "MSFT", "AAPL", "MSFT", "TSLA"))
    behind = len(verdicts) - at
    assert [CLEARED] * at + [STALE] * behind == codes(verdicts)
    assert [*range(4, 4 + at), *range(4, 4 + behind)] == [one.sequence for one in verdicts]
    assert [True] * at + [False] * behind == [one.cleared for one in verdicts]


def test_a_book_lost_in_between_is_missing_for_the_orders_behind(
    three: RiskGuard, line: InterruptedRedis, raw: redis.Redis
) -> None:
    """As when they are asked for one by one."""
    line.interrupt(1, raw.flushall)
    verdicts = three.clear_many(asking(*SYMBOLS))
    assert [CLEARED, VerdictCode.BOOK_MISSING, VerdictCode.BOOK_MISSING] == codes(verdicts)
