"""A crash at every commit, message to the guard and request of a cancellation and of a flatten, and whoever comes next.

Another process repeats it, or nobody does and a daemon looks, or the book is rebuilt. No order is sent twice, no
position is closed by more than it holds, and what ledger, book and broker say is the same.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

import pytest
from support.alpaca.exchange import PaperFill
from support.dying import Crash, Deadline
from support.floor import LIMIT, Floor, looked_at, open_floor
from support.trading import ACTION

from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.orders.model import Purpose, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.halts import Gate, OperatorAction
from trading_pipeline.embedded import ServerUrls
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.differences import DifferenceKind
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import GRACE
from trading_pipeline.services.verification import compare

FIRST = OperatorAction(operator="ada", reason="whose process may die of it")
SECOND = OperatorAction(operator="bob", reason="who has heard nothing of it")

Press = Callable[[TradingAccount, OperatorAction], object]


@pytest.fixture(scope="module")
def floor(database: str, servers: ServerUrls) -> Iterator[Floor]:
    """An account for each case."""
    with open_floor("closing", database, servers.redis_url) as opened:
        yield opened


def _prepare(floor: Floor, name: str) -> list[str]:
    """Hold shares on both sides; let two orders work, one partly filled, and one never have left us.

    What was filled is for whoever looks next to find. No two accounts hold as many, so that none has to number its
    closing orders past those of all others.
    """
    floor.begin_anew(name)
    floor.bench.exchange.prices |= {"AAPL": Decimal(102), "MSFT": Decimal(99)}
    shares = 10 + next(floor.numbers)
    asked = [
        floor.wanted("AAPL", qty=5, limit_price=LIMIT),
        floor.wanted("MSFT", Side.SELL, 4, limit_price=Decimal(101)),
        floor.wanted("NVDA", qty=2_000),
        floor.wanted("AAPL", qty=shares),
        floor.wanted("MSFT", Side.SELL, shares),
    ]
    ids = [one.order.client_order_id for one in floor.submit(*asked)]
    floor.bench.exchange.fill_all()
    floor.bench.exchange.fill(ids[0], 2)
    assert {"AAPL": shares + 2, "MSFT": -shares} == floor.held()
    return ids[:3]


def _session(account: TradingAccount):
    session = account.broker.current_session
    assert session is not None
    return session


def _working(floor: Floor) -> list[str]:
    return [one.client_order_id for one in floor.bench.exchange.accepted if one.working]


def _stored(floor: Floor, ids: Sequence[str]) -> list[OrderRecord]:
    known = floor.wires.ledger.orders.get_many(ids)
    return [known[one] for one in ids]


def _cancel(account: TradingAccount, action: OperatorAction) -> None:
    RiskOperations(account).cancel_all_orders(action)


def _flatten_of(floor: Floor) -> Press:
    return lambda account, action: RiskOperations(account).flatten_positions(action, floor.quotes)


def _run(floor: Floor, press: Press, action: OperatorAction, deadline: Deadline | None = None) -> None:
    with floor.process(deadline) as account:
        press(account, action)


def _left_to_daemons(account: TradingAccount, action: OperatorAction) -> None:
    del action
    looked_at(account)
    reconcile(account, ACTION)


def _rebuilt(account: TradingAccount, action: OperatorAction) -> None:
    del action
    RiskOperations(account).rebuild_risk_book(ACTION)


def _fill_and_settle(floor: Floor) -> None:
    """Let all that the market allows be filled, and bring it home."""
    floor.bench.exchange.fill_all()
    with floor.process() as account:
        settle(account, _session(account))


_LEFT_BY_A_CRASH = {"again": set(), "daemons": {DifferenceKind.RESERVATION_SURPLUS}, "rebuilt": set()}
_HEALS: dict[str, Press | None] = {"again": None, "daemons": _left_to_daemons, "rebuilt": _rebuilt}


def _require_told(floor: Floor, verb: str, *, again: int) -> None:
    """Check that each press that got so far is told of once, with who and why: a second press is another action."""
    told = floor.audited(verb)
    by_first = told.count((FIRST.operator, FIRST.reason))
    assert by_first <= 1
    assert [(FIRST.operator, FIRST.reason)] * by_first + [(SECOND.operator, SECOND.reason)] * again == told


def _each_with_two(boundaries: Sequence[tuple[int, str]]) -> Iterator[tuple[tuple[int, str], str]]:
    """Let each be repeated, and one of the others come in turn: most states have a neighbour that differs by a mark."""
    for number, boundary in enumerate(boundaries):
        yield boundary, "again"
        yield boundary, ("daemons", "rebuilt")[number % 2]


def test_a_crash_anywhere_in_a_cancellation_of_all_orders(floor: Floor) -> None:
    """Repeated, all are over and what was filled is booked; else those that it had come to are, and the others work.

    A second press finds other orders than the first: it is another action with a row of its own, which names them.
    """
    for name in ("cancel-warm", "cancel-calm"):
        _prepare(floor, name)
        undisturbed = floor.recorder()
        _run(floor, _cancel, FIRST, undisturbed)
        assert [] == _working(floor)
    assert {"after cancel", "committed", "after redis"} <= {boundary for _, boundary in undisturbed.kept}
    for (at, boundary), who in _each_with_two(undisturbed.kept):
        heal = _HEALS[who] or _cancel
        where = f"cancel crashed at boundary {at} ({boundary}), then {who}"
        ids = _prepare(floor, f"cancel-{at}-{who}")
        with pytest.raises(Crash):
            _run(floor, _cancel, FIRST, Deadline(at))
        _run(floor, heal, SECOND)
        _require_told(floor, "cancel_all_orders", again=heal is _cancel)
        with floor.process() as other:
            if heal is _cancel:
                settle(other, _session(other))
            floor.require_agreement(other, where)
        orders, working = _stored(floor, ids), _working(floor)
        assert [one.client_order_id for one in orders if one.client_order_id in working] == working, where
        if heal is _cancel:
            ended = [OrderState.CANCELED, OrderState.CANCELED, OrderState.EXPIRED]
            assert ended == [one.state for one in orders], where
        elif heal is _left_to_daemons:
            asked = [one for one in orders if one.cancel_requested_at is not None]
            assert all(one.state is OrderState.CANCELED for one in asked), where


def _require_never_over_zero(fills: Sequence[PaperFill], where: str) -> None:
    """Check that no fill took a position from one side of zero to the other."""
    held: dict[str, Decimal] = {}
    for fill in fills:
        before = held.get(fill.symbol, Decimal(0))
        held[fill.symbol] = before + (fill.qty if fill.side == "buy" else -fill.qty)
        assert before * held[fill.symbol] >= 0, f"{fill.symbol} went from {before} to {held[fill.symbol]}: {where}"


def test_a_crash_anywhere_in_a_flatten(floor: Floor) -> None:
    """Whoever comes next, all that then works is filled, never a share too many; repeated, nothing is left to hold.

    A second press closes what the first one left: it is another action with a row of its own, which names it.
    """
    flatten = _flatten_of(floor)
    for name in ("flatten-warm", "flatten-calm"):
        _prepare(floor, name)
        undisturbed = floor.recorder()
        _run(floor, flatten, FIRST, undisturbed)
        _fill_and_settle(floor)
        assert {} == floor.held()
    assert {"after send", "after cancel", "committed", "after redis"} <= {boundary for _, boundary in undisturbed.kept}
    for (at, boundary), who in _each_with_two(undisturbed.kept):
        heal = _HEALS[who]
        where = f"flatten crashed at boundary {at} ({boundary}), then {who}"
        _prepare(floor, f"flatten-{at}-{who}")
        with pytest.raises(Crash):
            _run(floor, flatten, FIRST, Deadline(at))
        if heal is None:
            presses = _flatten_all(floor, where)
        else:
            presses = 0
            _run(floor, heal, SECOND)
        _require_told(floor, "flatten_positions", again=presses)
        _fill_and_settle(floor)
        _bring_book_home(floor, boundary, who, where)
        with floor.process() as other:
            floor.require_agreement(other, where)
        if heal is None:
            assert ({}, []) == (floor.held(), _working(floor)), where
        _require_never_over_zero(floor.bench.exchange.books.fills, where)
        said = {(one.origin["operator"], one.origin["reason"]) for one in _closing(floor)}
        assert said <= {(one.operator, one.reason) for one in (FIRST, SECOND)}, where
        assert said or heal is not None, where


def _flatten_all(floor: Floor, where: str) -> int:
    """Flatten until nothing is said to be open, and return how often.

    An order that was cleared before the crash may be at the broker: until it must have shown it, it counts as closing.
    """
    for press in (1, 2, 3):
        with floor.process() as account:
            done = RiskOperations(account).flatten_positions(SECOND, floor.quotes)
        if not done.still_open:
            return press
        assert all("closing it already" in why for _, why in done.still_open), where
        floor.wait(GRACE.total_seconds() + 1)
    pytest.fail(f"{done.still_open}: {where}")


def _bring_book_home(floor: Floor, boundary: str, who: str, where: str) -> None:
    """Rebuild the book where a crash between the guard's yes and its record left it holding or counting too much.

    The ledger does not know of that yes. What the book has too much of is named, keeps the gate closed, and waits for
    a person; to count an order too many is to refuse one too early.
    """
    with floor.process() as account:
        left = {one.kind for one in compare(account)}
        if not left:
            return
        assert boundary == "after redis", where
        assert left <= _LEFT_BY_A_CRASH[who], where
        if who == "daemons":
            assert Gate.CLOSED is account.ledger.books.get(floor.name).gate, where
        _rebuilt(account, ACTION)


def _closing(floor: Floor) -> list[OrderRecord]:
    ids = [one.client_order_id for one in floor.bench.exchange.accepted]
    return [one for one in _stored(floor, ids) if one.intent.purpose is Purpose.FLATTEN]
