"""Making, losing, replacing and reading a book."""

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import redis
from support.packing import change as change_record

from tests.adapters.guards.builders import ACCOUNT, ACTION, EMPTY, LIMITS, PRICE, SESSION, ask, end, hold, holding
from trading_pipeline.adapters.guards.book import EpochStep, SessionCount, SymbolState
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.guards.records import ABSENT, NUMBER
from trading_pipeline.adapters.guards.records import ACCOUNT as ACCOUNT_RECORD
from trading_pipeline.adapters.guards.records import LIMITS as LIMITS_RECORD
from trading_pipeline.adapters.guards.records import SESSION as SESSION_RECORD
from trading_pipeline.adapters.guards.records import SYMBOL as SYMBOL_RECORD
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch, TradingState
from trading_pipeline.core.risk.limits import LIMIT_NAMES, LimitChange, RiskLimits
from trading_pipeline.errors import ConfigError, OperatorError, TradingHalted

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
UNTIL = datetime(2100, 1, 1, tzinfo=UTC)
VERBS: dict[str, Callable[[RiskGuard], object]] = {
    "post": lambda guard: guard.post(
        epoch=1,
        min_sequence=0,
        client_order_id="o",
        execution_id="e",
        qty=1,
        symbol="AAPL",
        side=Side.BUY,
        price_ticks=PRICE,
    ),
    "void": lambda guard: end(guard, "o"),
    "engage": lambda guard: guard.engage_kill_switch(ACTION),
    "disengage": lambda guard: guard.disengage_kill_switch(ACTION),
    "trip": lambda guard: guard.trip("drawdown"),
    "reset": lambda guard: guard.reset(ACTION),
    "close_gate": lambda guard: guard.close_gate("a mismatch"),
    "open_gate": lambda guard: guard.open_gate("a mismatch"),
    "quarantine": lambda guard: guard.quarantine("AAPL", None),
    "release": lambda guard: guard.release("AAPL"),
    "block": lambda guard: guard.block("AAPL"),
    "unblock": lambda guard: guard.unblock("AAPL"),
    "set_limits": lambda guard: guard.set_limits(LIMITS),
}


def initialise(guard: RiskGuard, *, epoch: int = 7, sequence: int = 3) -> int:
    """Create a halted book with one blocked symbol."""
    return guard.initialise(
        replace(
            EMPTY,
            epoch=epoch,
            sequence=sequence,
            kill_switch=KillSwitch.ENGAGED,
            breaker=Breaker.TRIPPED,
            blocked=frozenset({"TSLA"}),
        )
    )


def test_initialise_makes_a_flat_book(unborn: RiskGuard) -> None:
    """The first book holds what it was told and nothing else."""
    started = datetime.now(UTC)

    assert 3 == initialise(unborn)

    book = unborn.snapshot()
    assert book is not None
    assert (7, 3, TradingState.HALTED, KillSwitch.ENGAGED, Breaker.TRIPPED) == (
        book.epoch,
        book.sequence,
        book.state,
        book.kill_switch,
        book.breaker,
    )
    assert (LIMITS, {"TSLA"}, {}, {}, 0) == (
        book.limits,
        book.blocked,
        book.positions,
        book.reservations,
        book.gross_ticks,
    )
    assert abs((book.initialised_at - started).total_seconds()) < 60


def test_initialise_replaces_nothing(guard: RiskGuard) -> None:
    """A second initialise is refused and the book stays."""
    before = guard.snapshot()

    with pytest.raises(OperatorError, match="rebuild"):
        initialise(guard)

    assert before == guard.snapshot()


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_creates_a_book(unborn: RiskGuard, client: redis.Redis, verb: str) -> None:
    """Without a book every change is refused and leaves no key behind."""
    with pytest.raises(TradingHalted) as refused:
        VERBS[verb](unborn)

    assert VerdictCode.BOOK_MISSING == refused.value.fields["code"]
    assert [] == client.keys("*")


def test_reading_creates_no_book(unborn: RiskGuard, client: redis.Redis) -> None:
    """A snapshot of nothing is nothing."""
    assert unborn.snapshot() is None
    assert [] == client.keys("*")


@pytest.mark.parametrize(
    "verb", [verb for verb in VERBS if verb not in {"disengage", "reset", "unblock", "open_gate", "release"}]
)
def test_every_change_raises_the_sequence_by_one(guard: RiskGuard, verb: str) -> None:
    """The ledger can tell a book that lost a write from one that did not."""
    assert 1 == VERBS[verb](guard)


def test_lost_book_refuses_until_it_is_rebuilt(guard: RiskGuard, client: redis.Redis) -> None:
    """After FLUSHALL nothing clears, and an engaged switch is engaged again after the rebuild."""
    guard.engage_kill_switch(ACTION)
    client.flushall()

    assert VerdictCode.BOOK_MISSING == guard.clear(ask()).code
    guard.rebuild(replace(EMPTY, epoch=2, kill_switch=KillSwitch.ENGAGED, kill_switch_reason="ada: a drill"))
    assert VerdictCode.KILL_SWITCH_ENGAGED == guard.clear(ask(epoch=2)).code
    assert VerdictCode.BOOK_STALE == guard.clear(ask(epoch=1)).code


@pytest.mark.parametrize("key", book_keys(ACCOUNT))
def test_half_a_book_is_no_book(guard: RiskGuard, client: redis.Redis, key: str) -> None:
    """Losing either key is losing the book: without the history a fill would count twice."""
    client.delete(key)

    assert VerdictCode.BOOK_MISSING == guard.clear(ask()).code
    assert guard.snapshot() is None
    with pytest.raises(TradingHalted):
        end(guard, "order-1")


def test_old_copy_is_stale(guard: RiskGuard, raw: redis.Redis) -> None:
    """A restored copy that misses the last write is refused by the sequence that the ledger remembers."""
    key = book_keys(ACCOUNT).book
    guard.clear(ask("first"))
    backup = raw.hgetall(key)
    seen = guard.clear(ask("second")).sequence
    raw.delete(key)
    raw.hset(key, mapping=backup)

    assert seen is not None
    assert VerdictCode.BOOK_STALE == guard.clear(ask("third", min_sequence=seen)).code


def test_snapshot_shows_what_was_rebuilt(guard: RiskGuard) -> None:
    """Everything a book is rebuilt from is in it afterwards, with what follows from it."""
    order = ask("held", Side.SELL, 300)
    state = replace(
        holding(AAPL=100, MSFT=-50),
        epoch=4,
        sequence=90,
        limits=RiskLimits(max_position_notional=Decimal("123456.7891")),
        breaker=Breaker.TRIPPED,
        breaker_reason="drawdown",
        reservations=(hold(order, remaining=250, sequence=88),),
        blocked=frozenset({"MSFT", "TSLA"}),
        sessions={SESSION: SessionCount(12, 34)},
        gate=Gate.CLOSED,
        gate_reason="nobody looked",
        quarantined={"NVDA": None, "TSLA": UNTIL},
        changes=(
            LimitChange(limit="max_order_shares", value=7, symbol="AAPL"),
            LimitChange(limit="max_gross_notional", value=Decimal("0.5"), until=UNTIL),
        ),
    )

    assert 90 == guard.rebuild(state)

    book = guard.snapshot()
    assert book is not None
    assert (state.epoch, state.sequence, state.limits) == (book.epoch, book.sequence, book.limit_set.limits)
    assert (state.changes, replace(state.limits, max_gross_notional=Decimal("0.5"))) == (
        book.limit_set.changes,
        book.limits,
    )
    assert (Gate.CLOSED, "nobody looked") == (book.gate, book.gate_reason)
    assert {"NVDA": None, "TSLA": UNTIL} == book.quarantined
    assert ("drawdown", TradingState.REDUCING) == (book.breaker_reason, book.state)
    assert {
        "AAPL": SymbolState(position=Decimal(100), pending_sell=Decimal(250), mark_ticks=PRICE),
        "MSFT": SymbolState(position=Decimal(-50), mark_ticks=PRICE, blocked=True),
        "NVDA": SymbolState(quarantined=True),
        "TSLA": SymbolState(blocked=True, quarantined=True, quarantined_until=UNTIL),
    } == book.symbols
    assert {"held": hold(order, remaining=250, sequence=88)} == book.reservations
    assert {SESSION: SessionCount(12, 34)} == book.sessions
    assert (150 + 50) * PRICE == book.gross_ticks


def test_rebuild_leaves_nothing_of_the_old_book(guard: RiskGuard, raw: redis.Redis) -> None:
    """Positions, orders, ends and blocks of the old book are gone."""
    untouched = raw.hgetall(book_keys(ACCOUNT).book).keys()
    guard.clear(ask())
    end(guard, "order-1")
    guard.block("TSLA")

    guard.rebuild(EMPTY)

    assert untouched == raw.hgetall(book_keys(ACCOUNT).book).keys()
    assert {b"epoch": b"1"} == raw.hgetall(book_keys(ACCOUNT).history)


def test_execution_in_the_rebuilt_position_counts_once(guard: RiskGuard) -> None:
    """A fill that the broker's position contains already is not added when the ledger replays it."""
    guard.rebuild(replace(holding(AAPL=100), executions=frozenset({"e1"})))

    guard.post(
        epoch=1,
        min_sequence=0,
        client_order_id="o",
        execution_id="e1",
        qty=100,
        symbol="AAPL",
        side=Side.BUY,
        price_ticks=PRICE,
    )

    book = guard.snapshot()
    assert book is not None
    assert {"AAPL": 100} == book.positions


def test_large_book_is_rebuilt_in_one_step(guard: RiskGuard) -> None:
    """Thousands of fields are more than one call inside a script can take."""
    names = [f"S{number}" for number in range(3_000)]
    executions = frozenset(f"e{number}" for number in range(3_000))

    guard.rebuild(replace(holding(**dict.fromkeys(names, 1)), executions=executions))

    book = guard.snapshot()
    assert book is not None
    assert dict.fromkeys(names, 1) == book.positions
    assert 3_000 * PRICE == book.gross_ticks


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
        if width == NUMBER:
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


@pytest.mark.parametrize("value", [-1, -2, -(2**52)])
@pytest.mark.parametrize("name", LIMIT_NAMES)
def test_no_damaged_limit_lets_an_order_through(guard: RiskGuard, raw: redis.Redis, name: str, value: int) -> None:
    """A limit that is off where it must bind, or less than nothing, is not an unlimited one."""
    if value == ABSENT and name in OPTIONAL:
        return
    change_record(raw, ACCOUNT, "limits", LIMITS_RECORD, **{name: value})

    assert VerdictCode.GUARD_UNAVAILABLE == guard.clear(ask(repeat=0)).code


def test_book_of_an_earlier_format_is_missing(guard: RiskGuard, raw: redis.Redis) -> None:
    """A book that another release left behind is named as such, by every verb, and never read."""
    key = book_keys(ACCOUNT).book
    raw.delete(key)
    raw.hset(
        key,
        mapping={
            "epoch": 1,
            "sequence": 0,
            "kill_switch": "disengaged",
            "breaker": "open",
            "gate": "open",
            "totals": "[0,0,0,0,0,0]",
        },
    )

    verdict = guard.clear(ask())
    assert VerdictCode.BOOK_MISSING == verdict.code
    assert "rebuild" in verdict.detail
    assert "format" in verdict.detail
    assert guard.snapshot() is None
    with pytest.raises(TradingHalted, match="rebuild"):
        guard.trip("drawdown")


def test_book_without_limits_clears_nothing(guard: RiskGuard, client: redis.Redis) -> None:
    """Limits that are not there are not unlimited ones."""
    client.hdel(book_keys(ACCOUNT).book, "limits")

    assert VerdictCode.GUARD_UNAVAILABLE == guard.clear(ask()).code


def test_damaged_book_names_the_way_out(guard: RiskGuard, raw: redis.Redis) -> None:
    """A change of a damaged book says that it must be rebuilt."""
    change_record(raw, ACCOUNT, "account", ACCOUNT_RECORD, sequence=2**53)

    with pytest.raises(TradingHalted, match="rebuild"):
        guard.block("AAPL")


def test_keys_share_one_hash_tag(guard: RiskGuard, client: redis.Redis) -> None:
    """All keys of an account live on one node of a cluster, and there are no others."""
    guard.clear(ask())
    end(guard, "order-1")

    assert {"guard:{paper-1}:book", "guard:{paper-1}:history"} == set(client.keys("*"))


@pytest.mark.parametrize("account", ["", "  ", "a{b", "a}b"])
def test_account_that_breaks_the_tag_is_refused(account: str) -> None:
    """A brace in the name would move the keys to other nodes."""
    with pytest.raises(ConfigError):
        book_keys(account)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": -1},
        {"sequence": 1.0},
        {"positions": {"AAPL": 1.5}, "marks": {"AAPL": PRICE}},
        {"positions": {"AAPL": Decimal("1E-10")}, "marks": {"AAPL": PRICE}},
        {"positions": {"AAPL": 2**53}, "marks": {"AAPL": 1}},
        {"positions": {"AAPL": 2**40}, "marks": {"AAPL": 2**40}},
        {"positions": {"AAPL": 1}},
        {"positions": {"AAPL": 1}, "marks": {"AAPL": 0}},
        {"positions": {"AAPL": 1}, "marks": {"AAPL": float("nan")}},
        {"reservations": (hold(ask()),)},
        {"reservations": (hold(ask()), hold(ask())), "marks": {"AAPL": PRICE}},
        {"breaker": Breaker.QUIET_PERIOD},
        {"quiet_until": datetime(2024, 1, 1, tzinfo=UTC)},
        {"breaker": Breaker.QUIET_PERIOD, "quiet_until": datetime(2024, 1, 1)},  # noqa: DTZ001
        {"sessions": {SESSION: SessionCount(-1)}},
        {"sessions": {SESSION: SessionCount(1, 2**53)}},
        {"quarantined": {"AAPL": datetime(2024, 1, 1)}},  # noqa: DTZ001
        {"blocked": frozenset({""})},
    ],
)
def test_book_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    """Numbers that are not whole, shares without a price, and halts that contradict themselves make no book."""
    with pytest.raises(ValueError, match=r"."):
        replace(EMPTY, **change)


@pytest.mark.parametrize("change", [{"remaining": 0}, {"remaining": 101}, {"qty": 100.0}, {"symbol": ""}])
def test_reservation_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    """A reservation holds at least one share and no more than its order."""
    with pytest.raises(ValueError, match=r"."):
        replace(hold(ask()), **change)


def test_a_change_of_the_ledger_is_made_only_on_the_book_of_the_epoch_before_it(guard: RiskGuard) -> None:
    """A book of another epoch, or one that lost writes, stays as it is; the same change again changes nothing."""
    before = guard.snapshot()
    assert before is not None
    for epoch, seen in ((before.epoch + 1, 0), (before.epoch - 1, 0), (before.epoch, before.sequence + 1)):
        step = EpochStep(from_epoch=epoch, to_epoch=epoch + 2, min_sequence=seen)
        for change in CHANGES:
            with pytest.raises(TradingHalted):
                change(guard.following(step))
    assert before == guard.snapshot()

    for number, change in enumerate(CHANGES):
        epoch = before.epoch + number
        step = EpochStep(from_epoch=epoch, to_epoch=epoch + 1, min_sequence=before.sequence)
        for _ in range(2):
            change(guard.following(step))
        book = guard.snapshot()
        assert book is not None
        assert (epoch + 1, before.sequence + number + 1) == (book.epoch, book.sequence)


def test_a_change_to_what_is_so_already_still_takes_the_book_into_the_epoch(guard: RiskGuard) -> None:
    """Otherwise the ledger would call the book stale for nothing."""
    before = guard.snapshot()
    assert before is not None
    same = [lambda on: on.trip("again"), lambda on: on.unblock("AAPL"), lambda on: on.open_gate("again")]
    guard.trip("a loss")
    for number, change in enumerate(same):
        epoch = before.epoch + number
        change(guard.following(EpochStep(from_epoch=epoch, to_epoch=epoch + 1, min_sequence=0)))
        book = guard.snapshot()
        assert book is not None
        assert epoch + 1 == book.epoch
    assert "a loss" == book.breaker_reason


CHANGES = (
    lambda on: on.trip("a loss"),
    lambda on: on.reset(ACTION),
    lambda on: on.engage_kill_switch(ACTION),
    lambda on: on.disengage_kill_switch(ACTION),
    lambda on: on.close_gate("a difference"),
    lambda on: on.open_gate("no difference"),
    lambda on: on.block("AAPL"),
    lambda on: on.unblock("AAPL"),
    lambda on: on.quarantine("AAPL", None),
    lambda on: on.release("AAPL"),
    lambda on: on.set_limits(RiskLimits(max_order_shares=7)),
)
"""Every change there is, each from the state the one before it left."""
