"""A crash at every commit, message to the guard and request of each operator's verb, and whoever comes after it.

After each crash another process repeats the verb, or nobody does and a daemon looks, or the book is rebuilt. What the
ledger decided holds from its commit on, whoever heard of it; ledger, book and broker then end the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product

import pytest
from support.alpaca.bench import alpaca_bench
from support.dying import Crash, Deadline
from support.floor import LIMIT, Floor, looked_at, open_floor
from support.trading import ACTION, BROAD

from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.store.ledger import BookRecord
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch, OperatorAction
from trading_pipeline.core.risk.limits import LimitChange
from trading_pipeline.embedded import ServerUrls
from trading_pipeline.errors import OperatorError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.reconciliation import reconcile

FIRST = OperatorAction(operator="ada", reason="whose process may die of it")
SECOND = OperatorAction(operator="bob", reason="who has heard nothing of it")
TIGHT = replace(BROAD, max_order_shares=5, price_collar_bps=50, max_gross_notional=Decimal(10**6))
OWN = [LimitChange(limit=name, value=5, symbol="NVDA") for name in ("max_order_shares", "max_position_shares")]

Press = Callable[[RiskOperations, OperatorAction], object]
Heals = Callable[[TradingAccount], object]


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One verb that changes what may be sent.

    Attributes:
        press: what the operator does.
        undo: what makes the account as it was before.
        holds: whether the ledger has it.
        repeated: what a second press says that finds it done; empty where doing it again is no mistake, and is written
            down again: another person said it.
        beforehand: what must be so before it.
        restricts: whether it keeps orders back that could pass before.
    """

    press: Press
    undo: Press | None = None
    holds: Callable[[TradingAccount, BookRecord], bool]
    repeated: str = ""
    beforehand: Press | None = None
    restricts: bool = False


VERBS = {
    "engage_kill_switch": Verb(
        press=lambda on, action: on.engage_kill_switch(action),
        undo=lambda on, action: on.disengage_kill_switch(action),
        holds=lambda _, book: book.kill_switch is KillSwitch.ENGAGED,
        repeated="engaged already",
        restricts=True,
    ),
    "disengage_kill_switch": Verb(
        beforehand=lambda on, action: on.engage_kill_switch(action),
        press=lambda on, action: on.disengage_kill_switch(action),
        holds=lambda _, book: book.kill_switch is KillSwitch.DISENGAGED,
        repeated="disengaged already",
    ),
    "trip_circuit_breaker": Verb(
        press=lambda on, action: on.trip_circuit_breaker(action),
        undo=lambda on, action: on.reset_circuit_breaker(action),
        holds=lambda _, book: (book.breaker, book.breaker_reason) == (Breaker.TRIPPED, FIRST.reason),
        restricts=True,
    ),
    "reset_circuit_breaker": Verb(
        beforehand=lambda on, action: on.trip_circuit_breaker(action),
        press=lambda on, action: on.reset_circuit_breaker(action),
        holds=lambda _, book: book.breaker is Breaker.QUIET_PERIOD,
        repeated="only a tripped one",
    ),
    "set_risk_limits": Verb(
        press=lambda on, action: on.set_risk_limits(TIGHT, action),
        undo=lambda on, action: on.set_risk_limits(BROAD, action),
        holds=lambda _, book: book.limits == TIGHT,
        repeated="each has this value already",
        restricts=True,
    ),
    "set_risk_limits of a symbol": Verb(
        press=lambda on, action: on.change_risk_limits(OWN, action),
        undo=lambda on, action: on.change_risk_limits([replace(one, value=None) for one in OWN], action),
        holds=lambda _, book: [5, 5] == [one.value for one in book.limit_set.changes],
        restricts=True,
    ),
    "block_symbol": Verb(
        press=lambda on, action: on.block_symbol("NVDA", action),
        undo=lambda on, action: on.unblock_symbol("NVDA", action),
        holds=lambda account, _: "NVDA" in account.ledger.books.blocked(account.account),
        restricts=True,
    ),
    "unblock_symbol": Verb(
        beforehand=lambda on, action: on.block_symbol("NVDA", action),
        press=lambda on, action: on.unblock_symbol("NVDA", action),
        holds=lambda account, _: "NVDA" not in account.ledger.books.blocked(account.account),
        repeated="not blocked",
    ),
    "quarantine_symbol": Verb(
        press=lambda on, action: on.quarantine_symbol("NVDA", None, action),
        undo=lambda on, action: on.release_symbol("NVDA", action),
        holds=lambda account, _: "NVDA" in account.ledger.books.quarantined(account.account),
        restricts=True,
    ),
    "release_symbol": Verb(
        beforehand=lambda on, action: on.quarantine_symbol("NVDA", None, action),
        press=lambda on, action: on.release_symbol("NVDA", action),
        holds=lambda account, _: "NVDA" not in account.ledger.books.quarantined(account.account),
        repeated="not in quarantine",
    ),
}


def _reconciled(account: TradingAccount) -> None:
    reconcile(account, ACTION)


def _left_to_daemons(account: TradingAccount) -> None:
    looked_at(account)
    reconcile(account, ACTION)


def _rebuilt(account: TradingAccount) -> None:
    RiskOperations(account).rebuild_risk_book(ACTION)


HEALS: dict[str, Heals] = {"repeated": _reconciled, "left to daemons": _left_to_daemons, "rebuilt": _rebuilt}
"""What another process does; after a repetition the book may still have to hear of the first."""


@pytest.fixture(scope="module")
def floor(database: str, servers: ServerUrls) -> Iterator[Floor]:
    """Shares on both sides, and an order that works, of which a share is filled before each case."""
    with open_floor("halts", database, servers.redis_url) as opened:
        opened.submit(opened.wanted("AAPL", qty=40), opened.wanted("MSFT", Side.SELL, 30))
        opened.bench.exchange.fill_all()
        opened.submit(opened.wanted("AAPL", qty=500, limit_price=LIMIT))
        yield opened


def _fill_some(floor: Floor) -> None:
    """Let a share be filled that nobody of ours has heard of."""
    (working,) = [one for one in floor.bench.exchange.accepted if one.working]
    floor.bench.exchange.fill(working.client_order_id, 1)


def _press(floor: Floor, press: Press | None, action: OperatorAction, deadline: Deadline | None = None) -> None:
    if press is not None:
        with floor.process(deadline) as account:
            press(RiskOperations(account), action)


def _boundaries(floor: Floor, verb: Verb) -> list[tuple[int, str]]:
    undisturbed = floor.recorder()
    for deadline in (Deadline(), undisturbed):
        # The first warms up: what it loads is no boundary of the second.
        _press(floor, verb.beforehand, ACTION)
        _press(floor, verb.press, FIRST, deadline)
        _press(floor, verb.undo, ACTION)
    assert {"committed", "before redis", "after redis"} <= set(undisturbed.seen)
    return undisturbed.kept


def _repeat(floor: Floor, verb: Verb, *, decided: bool) -> None:
    """Let another process do it again: where it was done and can be done once only, that is what it says."""
    if decided and verb.repeated:
        with pytest.raises(OperatorError, match=verb.repeated):
            _press(floor, verb.press, SECOND)
    else:
        _press(floor, verb.press, SECOND)


@pytest.mark.parametrize("name", VERBS)
def test_a_crash_anywhere_in_a_change_of_what_may_be_sent(floor: Floor, name: str) -> None:
    """From its commit on nothing that starts later passes it, and it is in ledger and book in the end, or in neither.

    Repeated, left to daemons, or with the book rebuilt: one row tells of it, of who did it and why.
    """
    verb, action, ledger = VERBS[name], name.partition(" ")[0], floor.wires.ledger
    for (at, boundary), heal in product(_boundaries(floor, verb), HEALS):
        where = f"{name} crashed at boundary {at} ({boundary}), then {heal}"
        _fill_some(floor)
        _press(floor, verb.beforehand, ACTION)
        before = len(floor.audited(action))
        limits = ledger.books.get(floor.name).limit_set
        with pytest.raises(Crash):
            _press(floor, verb.press, FIRST, Deadline(at))

        with floor.process() as later:
            decided = verb.holds(later, ledger.books.get(floor.name))
            book = later.guard.snapshot()
        assert book is not None
        assert book.limit_set in (limits, ledger.books.get(floor.name).limit_set), where
        assert [(FIRST.operator, FIRST.reason)] * decided == floor.audited(action, before), where
        if decided and verb.restricts:
            floor.require_refusal()
        if heal == "repeated":
            _repeat(floor, verb, decided=decided)
        with floor.process() as other:
            HEALS[heal](other)
            floor.require_agreement(other, where)
            done = verb.holds(other, ledger.books.get(floor.name))
        assert done == (decided or heal == "repeated"), where
        again = heal == "repeated" and not (decided and verb.repeated)
        told = [FIRST] * decided + [SECOND] * again
        assert [(one.operator, one.reason) for one in told] == floor.audited(action, before), where
        if done and verb.restricts:
            floor.require_refusal()
        if done:
            _press(floor, verb.undo, ACTION)
        elif verb.beforehand is not None:
            _press(floor, verb.press, ACTION)


def _lose(floor: Floor) -> None:
    """Let Redis forget the account."""
    for key in book_keys(floor.name):
        floor.wires.client.delete(key)


@pytest.mark.parametrize("lost", [False, True], ids=["stale", "lost"])
def test_a_crash_anywhere_in_a_rebuild(floor: Floor, *, lost: bool) -> None:
    """A book that lost nothing is finished by daemons; one that did clears nothing until somebody has rebuilt it.

    A rebuild that is repeated begins another epoch, so it is another action with a row of its own.
    """
    heals = ["left to daemons"] if lost else ["repeated", "left to daemons"]
    verb, ledger, undisturbed = "rebuild_risk_book", floor.wires.ledger, floor.recorder()
    for deadline in (Deadline(), undisturbed):
        _fill_some(floor)
        _press(floor, RiskOperations.rebuild_risk_book, FIRST, deadline)
    assert {"committed", "before redis", "after redis"} <= set(undisturbed.seen)
    for (at, boundary), heal in product(undisturbed.kept, heals):
        where = f"rebuild crashed at boundary {at} ({boundary}), then {heal}"
        _fill_some(floor)
        if lost:
            _lose(floor)
        before, epoch = len(floor.audited(verb)), ledger.books.get(floor.name).epoch
        with pytest.raises(Crash):
            _press(floor, RiskOperations.rebuild_risk_book, FIRST, Deadline(at))

        record = ledger.books.get(floor.name)
        assert [(FIRST.operator, FIRST.reason)] * (record.epoch > epoch) == floor.audited(verb, before), where
        with floor.process() as other:
            book = other.guard.snapshot()
            if book is None or book.epoch < record.epoch:
                floor.require_refusal()
            if heal == "repeated":
                RiskOperations(other).rebuild_risk_book(SECOND)
                assert (SECOND.operator, SECOND.reason) == floor.audited(verb, before)[-1], where
            else:
                HEALS[heal](other)
        if book is None and lost:
            floor.require_refusal()
            assert Gate.CLOSED is ledger.books.get(floor.name).gate, where
            _press(floor, RiskOperations.rebuild_risk_book, SECOND)
        with floor.process() as last:
            floor.require_agreement(last, where)
            assert Gate.OPEN is ledger.books.get(floor.name).gate, where


def _initialise(on: RiskOperations, action: OperatorAction) -> None:
    on.initialize_risk_book(TIGHT, action)


def test_a_crash_anywhere_in_the_first_book_of_an_account(floor: Floor, servers: ServerUrls) -> None:
    """Nothing clears until it is there; shares of others are named by it, and only their symbol is kept back.

    Repeated, it is made, or the way out is named: where the ledger has begun a book, a rebuild finishes it.
    """
    verb, ledger = "initialize_risk_book", floor.wires.ledger
    with alpaca_bench(servers.redis_url) as bench:
        bench.exchange.buy_elsewhere("F", Decimal(3))
        new = Floor("first", floor.database_url, bench, floor.wires, floor.onlooker)
        _press(new, _initialise, FIRST)
        calm = replace(new, name="first-calm")
        undisturbed = calm.recorder()
        _press(calm, _initialise, FIRST, undisturbed)
        assert {"committed", "before redis", "after redis"} <= set(undisturbed.seen)
        for (at, boundary), heal in product(undisturbed.kept, ("repeated", "left to daemons")):
            where = f"initialise crashed at boundary {at} ({boundary}), then {heal}"
            first = replace(new, name=f"first-{at}-{heal.replace(' ', '-')}")
            with pytest.raises(Crash):
                _press(first, _initialise, FIRST, Deadline(at))
            begun = ledger.books.get(first.name).epoch > 0
            with first.process() as later:
                made = later.guard.snapshot() is not None
            assert begun >= made, where
            if not made:
                first.require_refusal()
            _finish_first_book(first, heal, begun=begun, made=made)
            with first.process() as last:
                reconcile(last, ACTION)
                first.require_agreement(last, where)
            assert (Gate.OPEN, TIGHT) == (ledger.books.get(first.name).gate, ledger.books.get(first.name).limits), where
            assert ["F"] == list(ledger.books.quarantined(first.name)), where
            told = FIRST if begun else SECOND
            assert [(told.operator, told.reason)] == first.audited(verb), where
            named = [one["limit_name"] for one in ledger.books.limit_changes(first.name, 1_000)]
            assert sorted(TIGHT.as_text()) == sorted(named), where


def _finish_first_book(first: Floor, heal: str, *, begun: bool, made: bool) -> None:
    with first.process() as other:
        if heal == "left to daemons" and begun:
            HEALS[heal](other)
        elif heal == "left to daemons":
            with pytest.raises(OperatorError, match="initialize-risk-book"):
                HEALS[heal](other)
        elif begun:
            with pytest.raises(OperatorError, match="rebuild"):
                _initialise(RiskOperations(other), SECOND)
    if not made:
        first.require_refusal()
        _press(first, RiskOperations.rebuild_risk_book if begun else _initialise, SECOND)
