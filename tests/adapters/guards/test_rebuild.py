"""Making, losing, replacing and reading a book."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import redis

from tests.adapters.guards.builders import ACCOUNT, ACTION, EMPTY, LIMITS, PRICE, SESSION, ask, end, hold, holding
from trading_pipeline.adapters.guards.book import EpochStep, SessionCount, SymbolState
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch, TradingState
from trading_pipeline.core.risk.limits import LimitChange, RiskLimits
from trading_pipeline.errors import ConfigError, OperatorError, TradingHalted

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
