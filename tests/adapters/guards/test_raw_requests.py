"""Requests no Python code would make, given to the real script: none clears and none leaves a mark."""

import struct
from dataclasses import replace

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.packing import packed

from tests.adapters.guards.builders import ACCOUNT, ask, book_of
from trading_pipeline.adapters.guards.asking import packed_request
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.layouts import ABSENT, Layout
from trading_pipeline.adapters.guards.records import PAYLOAD, REQUEST
from trading_pipeline.adapters.guards.scripts import BookScripts
from trading_pipeline.core.risk.clearance import ClearanceRequest
from trading_pipeline.errors import PipelineError

ASKED = ask("raw", qty=101, price=1_500_003, age=7, adv=5_000_011, equity=900_000_013, limit=1_500_017, repeat=3)
FIGURES = [(layout, name) for layout in (REQUEST, PAYLOAD) for name, _ in layout.fields]
WORDS = [(layout, name) for layout in (REQUEST, PAYLOAD) for name in layout.words]
ZERO_IS_NONE = frozenset({"qty", "price", "limit_price"})
INF = float("inf")
NO_NUMBERS = [struct.unpack("<q", struct.pack("<d", one))[0] for one in (-INF * 0, INF, -INF, 1e300, 101.5, 101.0)]
"""Doubles where a request has integers: what a nan, an infinity or a fraction would be in it."""
NO_WHOLES = (2**53, 2**53 + 2, 2**63 - 1, -(2**53) - 2, -(2**63), *NO_NUMBERS)
NO_SESSIONS = (
    *("NaN", "inf", "0", "?", "2024-10-1", "20241017", "2024-10-17T00:00", "2024-1e-17", "-024-10-17"),
    *("2024-10-17 ", " 2024-10-17", "2024-10-17\n", "2024-10-17\0", "2024\0001017", "2024-10-1\uff17"),
)


@pytest.mark.parametrize(("layout", "name"), FIGURES, ids=[name for _, name in FIGURES])
def test_figure_that_is_none_never_clears(guard: RiskGuard, client: redis.Redis, layout: Layout, name: str) -> None:
    """NaN, infinities, fractions, the huge, and what is less than nothing pass no comparison by accident."""
    width = dict(layout.fields)[name]
    numbers = (2, 3, 255) if width.python == "B" else (*NO_WHOLES, width.lowest - 1)
    bad = [number for number in numbers if not width.lowest <= float(number) < width.beyond]

    for number in (*bad, *((0,) if name in ZERO_IS_NONE else ())):
        _assert_never_clears(guard, client, _packed(ASKED, **{name: number}))


@pytest.mark.parametrize(("layout", "name"), WORDS, ids=[name for _, name in WORDS])
def test_word_that_is_empty_never_clears(guard: RiskGuard, client: redis.Redis, layout: Layout, name: str) -> None:
    """An order without an id, and one for no symbol, is none."""
    del layout

    _assert_never_clears(guard, client, _packed(ASKED, **{name: ""}))


@pytest.mark.parametrize("session", NO_SESSIONS)
def test_session_is_a_date(guard: RiskGuard, client: redis.Redis, session: str) -> None:
    """A session nobody trades in, or another name of one, would be a count of orders that starts at nothing."""
    _assert_never_clears(guard, client, _packed(ASKED, session=session))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(min_value=0, max_value=len(packed_request(ASKED))), more=st.binary(max_size=20))
def test_request_of_another_length_never_clears(guard: RiskGuard, client: redis.Redis, cut: int, more: bytes) -> None:
    """Cut anywhere, and with whatever behind it or in place of what was cut, it is none: no word ends elsewhere."""
    sound = packed_request(ASKED)
    spoiled = sound[: len(sound) - cut] + more

    _assert_never_clears(guard, client, spoiled if len(spoiled) != len(sound) else spoiled + b"\0")


@pytest.mark.parametrize("tag", [0, REQUEST.tag - 16, REQUEST.tag + 16, ord("["), 255])
def test_request_of_another_kind_never_clears(guard: RiskGuard, client: redis.Redis, tag: int) -> None:
    """Neither another release's request nor a text is read as one."""
    request, payload = _parts(ASKED)

    _assert_never_clears(guard, client, bytes((tag,)) + request[1:] + payload)
    _assert_never_clears(guard, client, request + bytes((tag,)) + payload[1:])
    _assert_never_clears(guard, client, payload + request)
    _assert_never_clears(guard, client, request)
    _assert_never_clears(guard, client, payload)


def test_order_at_any_price_is_not_one_at_no_price(guard: RiskGuard, client: redis.Redis) -> None:
    """What is not there has a way of its own to be written, and no number is taken for it."""
    anything = replace(ASKED, limit_ticks=None)

    assert packed_request(anything) == _packed(ASKED, limit_price=ABSENT)
    assert isinstance(_reply(client, packed_request(anything)), int)


def test_request_as_python_writes_it_clears(guard: RiskGuard, client: redis.Redis) -> None:
    """What is spoiled above is a request that clears as long as nobody spoils it."""
    before = book_of(guard)

    assert isinstance(_reply(client, _packed(ASKED)), int)

    assert packed_request(ASKED) == _packed(ASKED)
    assert before != book_of(guard)


def _packed(asked: ClearanceRequest, **changed: int | str) -> bytes:
    """Pack a request as Python does, with some of its figures or words replaced by what Python would refuse."""
    return b"".join(_parts(asked, **changed))


def _parts(asked: ClearanceRequest, **changed: int | str) -> tuple[bytes, bytes]:
    market = asked.market
    said: dict[str, object] = {
        "flatten": 0,
        "price": market.reference_ticks,
        "age": market.reference_age_seconds,
        "adv": market.adv_shares,
        "equity": market.equity_ticks,
        "repeated": asked.repeat,
        "known_epoch": asked.epoch,
        "min_sequence": asked.min_sequence,
        "id": asked.client_order_id,
        "strategy": asked.strategy_id,
        "limit_price": asked.limit_ticks,
        "side": 0,
        "qty": asked.qty,
        "session": asked.trade_session.isoformat(),
        "symbol": asked.symbol,
        "digest": asked.payload_digest,
        **changed,
    }
    return packed(REQUEST, said), packed(PAYLOAD, said)


def _assert_never_clears(guard: RiskGuard, client: redis.Redis, packed: bytes) -> None:
    before = book_of(guard)

    reply = _reply(client, packed)

    assert isinstance(reply, str), packed
    assert not reply.startswith("cleared"), packed
    assert before == book_of(guard)


def _reply(client: redis.Redis, packed: bytes) -> object:
    try:
        return BookScripts(client, ACCOUNT).run("clear", packed)
    except PipelineError:
        return "failed"
