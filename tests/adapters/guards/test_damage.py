"""Records that no guard would write: nothing clears, and no other verb takes them for numbers either."""

import struct
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import redis
from support.packing import change as change_record
from support.packing import packed

from tests.adapters.guards.builders import ACCOUNT, LIMITS, PRICE, SESSION, ask, end, fill, holding
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.guards.layouts import ABSENT
from trading_pipeline.adapters.guards.records import ACCOUNT as ACCOUNT_RECORD
from trading_pipeline.adapters.guards.records import LIMITS as LIMITS_RECORD
from trading_pipeline.adapters.guards.records import ORDER, PAYLOAD
from trading_pipeline.adapters.guards.records import SESSION as SESSION_RECORD
from trading_pipeline.adapters.guards.records import SYMBOL as SYMBOL_RECORD
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.limits import LIMIT_NAMES
from trading_pipeline.errors import TradingHalted

NAN, INF = float("nan"), float("inf")
SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut": lambda record: record[:-1],
    "longer": lambda record: record + b"\0",
    "tag alone": lambda record: record[:1],
    "another kind": lambda record: bytes([record[0] ^ 7]) + record[1:],
    "another format": lambda record: bytes([record[0] + 16]) + record[1:],
    "text": lambda record: b"[" + b"0" * (len(record) - 2) + b"]",
    "digits": lambda record: b"1" * len(record),
}
OPTIONAL = ("max_order_adv_bps", "max_position_equity_bps")
DAY = f"session:{SESSION.isoformat()}"
RECORDS = {"account": ACCOUNT_RECORD, "limits": LIMITS_RECORD, "symbol:AAPL": SYMBOL_RECORD, DAY: SESSION_RECORD}
NO_NUMBERS = [struct.unpack("<q", struct.pack("<d", one))[0] for one in (NAN, -NAN, INF, -INF, 1e300, 12.5, 1.0)]
"""Doubles where a record has integers: what a nan or a fraction would be in it."""


@pytest.mark.parametrize("field", RECORDS)
@pytest.mark.parametrize("spoil", SPOILED, ids=list(SPOILED))
def test_damaged_record_clears_nothing(guard: RiskGuard, raw: redis.Redis, field: str, spoil: str) -> None:
    """A record that is cut, longer, of another kind, empty or a text of the format before is an error, not a number."""
    assert guard.clear(ask("before")).cleared
    key = book_keys(ACCOUNT).book
    raw.hset(key, field, SPOILED[spoil](raw.hget(key, field)))

    verdict = guard.clear(ask())

    assert verdict.code in {VerdictCode.GUARD_UNAVAILABLE, VerdictCode.BOOK_MISSING}
    assert verdict.clearance is None


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63 - 1, -(2**63), *NO_NUMBERS])
@pytest.mark.parametrize("field", RECORDS)
def test_no_number_of_a_record_is_out_of_range(guard: RiskGuard, raw: redis.Redis, field: str, value: int) -> None:
    """Every number of every record is looked at: beyond 2**53, or the bits of a nan, an infinity or a fraction."""
    assert guard.clear(ask("before")).cleared
    layout, key = RECORDS[field], book_keys(ACCOUNT).book
    sound = raw.hget(key, field)
    for name, width in layout.fields:
        if width.python.lower() == "q":
            change_record(raw, ACCOUNT, field, layout, **{name: value})

            assert VerdictCode.GUARD_UNAVAILABLE == guard.clear(ask()).code, name
            raw.hset(key, field, sound)


@pytest.mark.parametrize(
    "values",
    [
        {"pending_buy": -1},
        {"pending_sell": -1},
        {"mark": -1},
        {"highest_buy": -1},
        {"lowest_sell": -1},
        {"position_nanos": 10**9},
        {"pending_buy_nanos": 10**9},
        {"pending_sell_nanos": 2**32 - 1},
    ],
)
def test_symbol_that_cannot_be_clears_nothing(guard: RiskGuard, raw: redis.Redis, values: dict[str, int]) -> None:
    """Less than nothing is not pending, and a whole share is no part of a share."""
    assert guard.clear(ask("before")).cleared
    change_record(raw, ACCOUNT, "symbol:AAPL", SYMBOL_RECORD, **values)

    assert VerdictCode.GUARD_UNAVAILABLE == guard.clear(ask()).code


@pytest.mark.parametrize(
    "values", [{"kill_switch": 2}, {"kill_switch": 255}, {"breaker": 3}, {"breaker": 255}, {"gate": 2}, {"gate": 255}]
)
def test_state_nobody_knows_is_not_fine(guard: RiskGuard, raw: redis.Redis, values: dict[str, int]) -> None:
    """Only what is known to let orders through does, and a snapshot of anything else says that the book is damaged."""
    change_record(raw, ACCOUNT, "account", ACCOUNT_RECORD, **values)

    assert not guard.clear(ask()).cleared
    with pytest.raises(TradingHalted, match="damaged"):
        guard.snapshot()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in LIMIT_NAMES
        for value in (-1, -2, -(2**52))
        if not (value == ABSENT and name in OPTIONAL)
    ],
)
def test_no_damaged_limit_lets_an_order_through(guard: RiskGuard, raw: redis.Redis, name: str, value: int) -> None:
    """A limit that is off where it must bind, or less than nothing, is not an unlimited one."""
    change_record(raw, ACCOUNT, "limits", LIMITS_RECORD, **{name: value})

    assert VerdictCode.GUARD_UNAVAILABLE == guard.clear(ask(repeat=0)).code


def test_book_without_limits_clears_nothing(guard: RiskGuard, client: redis.Redis) -> None:
    """Limits that are not there are not unlimited ones."""
    client.hdel(book_keys(ACCOUNT).book, "limits")

    assert VerdictCode.GUARD_UNAVAILABLE == guard.clear(ask()).code


def test_damaged_book_names_the_way_out(guard: RiskGuard, raw: redis.Redis) -> None:
    """A change of a damaged book says that it must be rebuilt."""
    change_record(raw, ACCOUNT, "account", ACCOUNT_RECORD, sequence=2**53)

    with pytest.raises(TradingHalted, match="rebuild"):
        guard.block("AAPL")


WRITERS: dict[str, Callable[[RiskGuard], object]] = {
    "post": lambda guard: fill(guard, "e1", 1),
    "void": lambda guard: end(guard, "before"),
    "block": lambda guard: guard.block("AAPL"),
    "quarantine": lambda guard: guard.quarantine("AAPL", None),
    "set_limits": lambda guard: guard.set_limits(replace(LIMITS, max_gross_notional=Decimal(300_000))),
}
"""Every verb besides `clear` that changes a symbol, save those that write one anew."""

IMPOSSIBLE: dict[str, dict[str, int]] = {
    "position with the bits of -nan": {"position": NO_NUMBERS[1]},
    "position with the bits of -inf": {"position": NO_NUMBERS[3]},
    "position beyond the gross": {"position": 10**7},
    "less than nothing pending": {"pending_buy": -1},
    "price below zero": {"mark": -1},
    "a whole share as a part of one": {"position_nanos": 10**9},
    "own limit below none": {"own_max_position_shares": ABSENT - 1},
}


@pytest.mark.parametrize("impossible", IMPOSSIBLE)
@pytest.mark.parametrize("verb", WRITERS)
def test_no_verb_believes_a_symbol_that_cannot_be(
    guard: RiskGuard, raw: redis.Redis, verb: str, impossible: str
) -> None:
    """What stops `clear` stops every reader: the totals of the account would follow the damage."""
    assert guard.clear(ask("before")).cleared
    change_record(raw, ACCOUNT, "symbol:AAPL", SYMBOL_RECORD, **IMPOSSIBLE[impossible])
    damaged = raw.hgetall(book_keys(ACCOUNT).book)

    with pytest.raises(TradingHalted, match="damaged"):
        WRITERS[verb](guard)

    assert damaged == raw.hgetall(book_keys(ACCOUNT).book)


@pytest.mark.parametrize(
    "values",
    [
        {"position": NO_NUMBERS[1]},
        {"position": NO_NUMBERS[3]},
        {"position": 1},
        {"position": -1, "position_nanos": 1},
        {"position_nanos": 1},
        {"pending_buy": 1},
        {"pending_buy_nanos": 1},
        {"pending_sell": 1},
        {"pending_sell_nanos": 1},
    ],
)
def test_what_is_at_risk_has_a_price(guard: RiskGuard, raw: redis.Redis, values: dict[str, int]) -> None:
    """Shares without a price are worth nothing in every total, so no total would show that they are damage."""
    nothing = dict.fromkeys((name for name, _ in SYMBOL_RECORD.fields), 0) | SYMBOL_RECORD.usual
    guard.rebuild(holding(MSFT=1))
    raw.hset(book_keys(ACCOUNT).book, "symbol:AAPL", packed(SYMBOL_RECORD, nothing | values))

    assert VerdictCode.GUARD_UNAVAILABLE == guard.clear(ask()).code
    for verb in (*(WRITERS[name] for name in WRITERS if name != "void"), RiskGuard.snapshot):
        with pytest.raises(TradingHalted, match="damaged"):
            verb(guard)


ORDERS: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "nothing left": ({"remaining": 0}, {}),
    "less than nothing left": ({"remaining": -1}, {}),
    "a whole share as a part of one": ({"remaining_nanos": 10**9}, {}),
    "sequence beyond 2**53": ({"sequence": 2**53}, {}),
    "judged at no price": ({"price": 0}, {}),
    "no shares": ({}, {"qty": 0}),
    "limit price of nothing": ({}, {"limit_price": 0}),
    "neither buy nor sell": ({}, {"side": 2}),
}


@pytest.mark.parametrize("damaged", ORDERS)
def test_order_that_cannot_be_is_neither_repeated_nor_ended_nor_shown(
    guard: RiskGuard, raw: redis.Redis, damaged: str
) -> None:
    """What an order holds is released as its record says, so the record must be one of an order."""
    order, payload = ORDERS[damaged]
    assert guard.clear(ask("held")).cleared
    numbers = {"remaining": 100, "remaining_nanos": 0, "sequence": 1, "price": PRICE} | order
    asked = {"limit_price": ABSENT, "side": 0, "qty": 100} | payload
    words = {"session": SESSION.isoformat(), "symbol": "AAPL", "digest": ask().payload_digest}
    record = packed(ORDER, numbers) + packed(PAYLOAD, asked | words)
    raw.hset(book_keys(ACCOUNT).book, "order:held", record)
    before = raw.hgetall(book_keys(ACCOUNT).book)

    assert VerdictCode.GUARD_UNAVAILABLE == guard.clear(ask("held")).code
    for verb in (lambda: end(guard, "held"), lambda: fill(guard, "e1", 1, order="held"), guard.snapshot):
        with pytest.raises(TradingHalted, match="damaged"):
            verb()
    assert before == raw.hgetall(book_keys(ACCOUNT).book)


@pytest.mark.parametrize(
    ("field", "values"), [("account", {"long": 1}), ("symbol:AAPL", {"over_limit": 1})], ids=["dollars", "symbols"]
)
def test_no_verb_writes_a_total_below_zero(
    guard: RiskGuard, raw: redis.Redis, field: str, values: dict[str, int]
) -> None:
    """Where more is taken out of a total than it holds, nothing is written at all: no end, and no order."""
    assert guard.clear(ask("held")).cleared
    change_record(raw, ACCOUNT, field, RECORDS[field], **values)
    before = raw.hgetall(book_keys(ACCOUNT).book)

    with pytest.raises(TradingHalted, match="damaged"):
        end(guard, "held")
    assert VerdictCode.GUARD_UNAVAILABLE == guard.clear(ask(qty=1, price=PRICE // 2)).code
    assert before == raw.hgetall(book_keys(ACCOUNT).book)


@pytest.mark.parametrize("cut", [0, 1, 20, 40])
def test_order_of_another_length_is_damage(guard: RiskGuard, raw: redis.Redis, cut: int) -> None:
    """Cut or longer, its words would end elsewhere."""
    assert guard.clear(ask("held")).cleared
    key = book_keys(ACCOUNT).book
    sound = raw.hget(key, "order:held")
    raw.hset(key, "order:held", sound[:-cut] if cut else sound + b"A")

    assert VerdictCode.GUARD_UNAVAILABLE == guard.clear(ask("held")).code
    with pytest.raises(TradingHalted, match="damaged"):
        end(guard, "held")
