"""What a book may be wrong in besides shares: terms of reservations, ends, reasons, dollars of a session, ids."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import redis
from support.packing import change, change_order, unpacked
from support.trading import ACCOUNT, ACTION, RUN, SESSION, Kit, order

from trading_pipeline.adapters.guards import records
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.risk.limits import LimitChange
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.differences import Difference, DifferenceKind
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare, verify_book

NEXT = xnys().next(SESSION)
KEYS = book_keys(ACCOUNT)
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=123456)
AS_THE_BOOK_HAS_IT = TOMORROW.isoformat(timespec="milliseconds")


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """A hand in the server."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


def _submit(kit: Kit, symbol: str = "AAPL", **named: object) -> OrderRecord:
    return SubmissionService(kit.account, RUN).submit(order(symbol, **named)).order


def _only(kit: Kit) -> Difference:
    assert kit.ledger.seals.verify().sound
    (found,) = verify_book(kit.account).differences
    return found


TERMS: list[tuple[dict[str, int | str], str, str]] = [
    ({"qty": 11}, "qty 10", "qty 11"),
    ({"price": 900_000}, "price 101.0000", "price 90.0000"),
    ({"limit_price": 1_000_001}, "limit 101.0000", "limit 100.0001"),
    ({"limit_price": -1}, "limit 101.0000", "limit none"),
    ({"session": "2023-09-06"}, "session 2023-09-05", "session 2023-09-06"),
    ({"digest": "another"}, "digest ", "digest another"),
]


@pytest.mark.parametrize(("planted", "ledger", "book"), TERMS, ids=[f"{name}" for name, _, _ in TERMS])
def test_a_reservation_for_other_terms_is_named(
    kit: Kit, raw: redis.Redis, planted: dict[str, int | str], ledger: str, book: str
) -> None:
    """Shares left, symbol and side are right: a repeated order would meet a conflict, or give back other dollars."""
    sent = _submit(kit, limit_price=Decimal(101))
    assert [] == compare(kit.account)
    change_order(raw, ACCOUNT, sent.client_order_id, **planted)
    counted = unpacked(records.SESSION, raw.hget(KEYS.book, f"session:{NEXT}"))["traded"]
    assert 10 * 1_010_000 == counted
    found = _only(kit)
    assert (DifferenceKind.RESERVATION_TERMS, sent.client_order_id) == (found.kind, found.subject)
    assert (True, book) == (found.ledger.startswith(ledger), found.book)


def test_dollars_of_the_session_that_nobody_traded_are_named(kit: Kit, raw: redis.Redis) -> None:
    """Filled, cancelled in part and working orders make one number, and a tick beside it is a difference."""
    _submit(kit, qty=7)
    settle(kit.account, NEXT)
    session = xnys().next(NEXT)
    service = SubmissionService(kit.account, RUN)
    service.submit(order("MSFT", qty=5, session=NEXT))
    kit.operations.cancel_all_orders(ACTION)
    service.submit(order("NVDA", qty=3, session=NEXT))
    assert [] == compare(kit.account)
    counted = unpacked(records.SESSION, raw.hget(KEYS.book, f"session:{session}"))["traded"]
    assert 3 * 1_000_000 == counted
    for wrong, said in ((counted - 1, "-0.0001 filled"), (counted + 1, "0.0001 filled")):
        change(raw, ACCOUNT, f"session:{session}", records.SESSION, traded=wrong)
        found = _only(kit)
        assert (DifferenceKind.SESSION_NOTIONAL, f"dollars of {session}") == (found.kind, found.subject)
        assert ("0.0000 filled", said) == (found.ledger, found.book)


def _quiet(kit: Kit, raw: redis.Redis) -> tuple[str, str, str]:
    kit.operations.trip_circuit_breaker(ACTION)
    until = kit.operations.reset_circuit_breaker(ACTION).quiet_until
    assert until is not None
    assert [] == compare(kit.account)
    ends = unpacked(records.ACCOUNT, raw.hget(KEYS.book, "account"))["quiet_until_ms"]
    change(raw, ACCOUNT, "account", records.ACCOUNT, quiet_until_ms=ends + 1)
    later = until.astimezone(UTC) + timedelta(milliseconds=1)
    words = [one.astimezone(UTC).isoformat(timespec="milliseconds") for one in (until, later)]
    return "breaker", f"quiet until {words[0]}", f"quiet until {words[1]}"


def _quarantine(kit: Kit, raw: redis.Redis) -> tuple[str, str, str]:
    kit.operations.quarantine_symbol("AAPL", TOMORROW, ACTION)
    assert [] == compare(kit.account)
    change(raw, ACCOUNT, "symbol:AAPL", records.SYMBOL, quarantined_until_ms=0)
    return "AAPL", AS_THE_BOOK_HAS_IT, "no end"


def _limit(kit: Kit, raw: redis.Redis) -> tuple[str, str, str]:
    changes = [LimitChange(limit="max_order_shares", value=8, until=TOMORROW)]
    kit.operations.change_risk_limits(changes, ACTION)
    assert [] == compare(kit.account)
    text, ends = raw.hget(KEYS.book, "changes").decode(), int(TOMORROW.timestamp() * 1000)
    raw.hset(KEYS.book, "changes", text.replace(str(ends), str(ends + 1)))
    later = (TOMORROW + timedelta(milliseconds=1)).isoformat(timespec="milliseconds")
    return "max_order_shares", f"8 until {AS_THE_BOOK_HAS_IT}, then 5000", f"8 until {later}, then 5000"


def _limit_beneath(kit: Kit, raw: redis.Redis) -> tuple[str, str, str]:
    changes = [
        LimitChange(limit="max_position_shares", value=6, symbol="AAPL"),
        LimitChange(limit="max_position_shares", value=8, symbol="AAPL", until=TOMORROW),
    ]
    kit.operations.change_risk_limits(changes, ACTION)
    assert [] == compare(kit.account)
    text = raw.hget(KEYS.book, "changes").decode()
    assert " 6 0 AAPL" in text
    raw.hset(KEYS.book, "changes", text.replace(" 6 0 AAPL", " 9 0 AAPL"))
    said = [f"8 until {AS_THE_BOOK_HAS_IT}, then {then}" for then in (6, 9)]
    return "max_position_shares of AAPL", *said


def _kill_switch(kit: Kit, raw: redis.Redis) -> tuple[str, str, str]:
    kit.operations.engage_kill_switch(ACTION)
    assert [] == compare(kit.account)
    raw.hset(KEYS.book, "kill_switch_reason", "because")
    return "kill switch", f"{ACTION.operator}: {ACTION.reason}", "because"


def _breaker(kit: Kit, raw: redis.Redis) -> tuple[str, str, str]:
    kit.operations.trip_circuit_breaker(ACTION)
    assert [] == compare(kit.account)
    raw.hset(KEYS.book, "breaker_reason", "because")
    return "breaker", ACTION.reason, "because"


def _gate(kit: Kit, raw: redis.Redis) -> tuple[str, str, str]:
    raw.hset(KEYS.book, "gate_reason", "because")
    return "gate", "ledger and broker agree", "because"


ENDS = [
    (DifferenceKind.QUIET_PERIOD, _quiet),
    (DifferenceKind.QUARANTINE_END, _quarantine),
    (DifferenceKind.LIMIT_END, _limit),
    (DifferenceKind.LIMIT_END, _limit_beneath),
    (DifferenceKind.HALT_REASON, _kill_switch),
    (DifferenceKind.HALT_REASON, _breaker),
    (DifferenceKind.HALT_REASON, _gate),
]


@pytest.mark.parametrize(("kind", "provoke"), ENDS, ids=[f"{kind}-{provoke.__name__}" for kind, provoke in ENDS])
def test_an_end_and_a_reason_that_are_others_are_named(
    kit: Kit, raw: redis.Redis, kind: DifferenceKind, provoke: Callable[[Kit, redis.Redis], tuple[str, str, str]]
) -> None:
    """Both words are said; a rebuild writes the ledger's, to the millisecond."""
    said = provoke(kit, raw)
    found = _only(kit)
    assert (kind, *said) == (found.kind, found.subject, found.ledger, found.book)
    kit.operations.rebuild_risk_book(ACTION)
    assert [] == compare(kit.account)


def test_a_symbol_at_risk_without_a_price_is_damage(kit: Kit, raw: redis.Redis) -> None:
    """Which price it has is the guard's affair, the reference of the order it cleared last; that it has one is not."""
    _submit(kit)
    change(raw, ACCOUNT, "symbol:AAPL", records.SYMBOL, mark=0)
    found = _only(kit)
    assert (DifferenceKind.BOOK_UNREADABLE, True) == (found.kind, "symbol:AAPL holds what no symbol can" in found.book)


def test_a_fill_and_an_end_that_the_history_lost_are_named(kit: Kit, raw: redis.Redis) -> None:
    """Told again they would count twice, or clear again; what was told before a rebuild is not looked for."""
    sent = _submit(kit)
    settle(kit.account, NEXT)
    execution = f"sim-{sent.client_order_id}-1"
    fields = [f"execution:{execution}", f"order:{sent.client_order_id}"]
    assert ([], [True, True]) == (compare(kit.account), [raw.hexists(KEYS.history, one) for one in fields])
    raw.hdel(KEYS.history, *fields)
    assert {
        (DifferenceKind.EXECUTION_FORGOTTEN, execution, "told", "unknown"),
        (DifferenceKind.ORDER_FORGOTTEN, sent.client_order_id, "over", "unknown"),
    } == {(one.kind, one.subject, one.ledger, one.book) for one in verify_book(kit.account).differences}
    kit.operations.rebuild_risk_book(ACTION)
    assert ([], [False, False]) == (compare(kit.account), [raw.hexists(KEYS.history, one) for one in fields])
