"""Records of duplicates that no guard wrote, and numbers no record may hold: each is refused and says what it is of."""

import struct

import pytest
import redis

from tests.adapters.guards.builders import ACCOUNT, EMPTY, SESSION, ask
from trading_pipeline.adapters.guards.encoding import book_fields, flat, history_fields
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.guards.records import INTENT
from trading_pipeline.adapters.guards.scripts import BookScripts
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import TradingHalted

QTY = 200
"""So that the name of the intent holds a byte that is no text."""
KEY = book_keys(ACCOUNT).book
NAN, HALF = (struct.pack("<d", one) for one in (float("nan"), 12.5))
DAMAGED = {
    "nothing": b"",
    "cut": INTENT.packed((1,))[:-1],
    "no order": INTENT.packed((1,)),
    "another kind": bytes([INTENT.tag ^ 1]) + INTENT.packed((1,))[1:] + b"order",
    "another format": bytes([INTENT.tag + 16]) + INTENT.packed((1,))[1:] + b"order",
    "beyond 2**53": INTENT.packed((2**53,)) + b"order",
    "below zero": bytes([INTENT.tag]) + struct.pack("<q", -1) + b"order",
    "nan": bytes([INTENT.tag]) + NAN + b"order",
    "a fraction": bytes([INTENT.tag]) + HALF + b"order",
    "text": b'{"at_us": 1, "order": "order-1"}',
}


def _damage(guard: RiskGuard, raw: redis.Redis, damage: str) -> dict[bytes, bytes]:
    """Clear an order, damage its intent, and return the book as it is then."""
    assert guard.clear(ask("before", qty=QTY)).cleared
    (field,) = (name for name in raw.hkeys(KEY) if name.startswith(b"intent:"))
    raw.hset(KEY, field, DAMAGED[damage])
    return raw.hgetall(KEY)


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_intent_clears_nothing_of_its_kind(guard: RiskGuard, raw: redis.Redis, damage: str) -> None:
    """Nobody knows whether it is a duplicate, and the message names the field."""
    book = _damage(guard, raw, damage)

    verdict = guard.clear(ask("same", qty=QTY, repeat=0))

    assert VerdictCode.GUARD_UNAVAILABLE is verdict.code
    assert "damaged" in verdict.detail
    assert "DAMAGED intent:" in verdict.detail
    assert book == raw.hgetall(KEY)


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_intent_begins_no_session(guard: RiskGuard, raw: redis.Redis, damage: str) -> None:
    """The first order of a session clears away those that are over: one of which that is unknown is not over."""
    book = _damage(guard, raw, damage)

    verdict = guard.clear(ask("next", qty=1, session=xnys().next(SESSION)))

    assert VerdictCode.GUARD_UNAVAILABLE is verdict.code
    assert "DAMAGED intent:" in verdict.detail
    assert book == raw.hgetall(KEY)


UNFIT = {
    "account": ("0 0 0 -1" + " 0" * 14, "account"),
    f"session:{SESSION}": ("-1 0", "a count of a session"),
    "changes": ("1 - 0", "a limit is missing"),
    "symbol:AAPL": ("0 -1" + " 0" * 14, "a number of a symbol"),
    "cleared": ("0 x", "cleared"),
    "intent:0": ("1 2 3 2024-10-17 AAPL order tested", "intent:0"),
    "order:one": ("100 0 1 0 -1 0 100 2024-10-17 AAPL digest", "order:one"),
}


@pytest.mark.parametrize("field", UNFIT)
def test_what_may_not_be_written_is_named_and_leaves_the_book_as_it_was(
    guard: RiskGuard, client: redis.Redis, raw: redis.Redis, field: str
) -> None:
    """As no Python code would send it: less than nothing, a limit that must bind and does not, a side that is none."""
    words, names = UNFIT[field]
    fields = book_fields(EMPTY)
    wanted = fields["changes"].replace("1 2000 0", words, 1) if field == "changes" else words
    assert wanted != fields.get(field)
    book, before = flat(fields | {field: wanted}), raw.hgetall(KEY)

    with pytest.raises(TradingHalted, match="damaged") as told:
        BookScripts(client, ACCOUNT).run("rebuild", len(book), *book, *flat(history_fields(EMPTY)))

    assert names in told.value.message
    assert before == raw.hgetall(KEY)
