"""The answer to a COMMIT is lost: orders, fills and halts are what the ledger says they are, each written once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from support.line import Line, Passage, line_to
from support.trading import ACCOUNT, ACTION, order

from tests.adapters.store.ledger.scenes import arrival, live_order
from trading_pipeline.adapters.store.ledger import Ledger, OrderRecord, migrate
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import Verdict, VerdictCode
from trading_pipeline.core.risk.halts import Breaker, KillSwitch
from trading_pipeline.core.risk.limits import LimitChange
from trading_pipeline.errors import CommitUnknown, ServerUnavailable

REFUSED = Verdict(code=VerdictCode.ORDER_SHARES, epoch=1, sequence=1, limit=5)


@dataclass(frozen=True)
class Scene:
    """A ledger behind a line, the same without one, and an order that works."""

    behind: Ledger
    ledger: Ledger
    line: Line
    live: OrderRecord


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """Something of everything that a transaction may change."""
    migrate(database_url)
    with Ledger(database_url) as ledger, line_to(database_url) as (line, url), Ledger(url) as behind:
        yield Scene(behind, ledger, line, live_order(ledger))


def _new(ledger: Ledger) -> OrderRecord | None:
    return ledger.orders.get(order("NVDA").intent.client_order_id)


def _answer(one: Scene) -> None:
    with one.behind.sending.batch() as batch:
        batch.record(one.live, OrderState.SUBMITTED_UNCONFIRMED, reason="lost")
        batch.record(one.live, OrderState.CANCELED, reason="answered", broker_order_id="named")


Step = tuple[Callable[[Scene], object], Callable[[Scene], object], object]
STEPS: dict[str, Step] = {
    "order": (
        lambda one: one.behind.orders.record(order("NVDA")),
        lambda one: [stored.state for stored in (_new(one.ledger),) if stored],
        [OrderState.PENDING_NEW],
    ),
    "verdict": (
        lambda one: one.behind.orders.record_verdict(one.live, REFUSED),
        lambda one: len(one.ledger.orders.decisions(one.live.client_order_id)),
        2,
    ),
    "fill": (
        lambda one: one.behind.fills.book_many(ACCOUNT, [arrival(one.live, "e1", "10")]),
        lambda one: {symbol: held.qty for symbol, held in one.ledger.fills.positions(ACCOUNT).items()},
        {"AAPL": 10},
    ),
    "answer": (
        _answer,
        lambda one: (one.ledger.orders.get(one.live.client_order_id).state, _ends(one)),
        (OrderState.CANCELED, 1),
    ),
    "kill switch": (
        lambda one: one.behind.books.set_kill_switch(ACCOUNT, KillSwitch.ENGAGED, ACTION),
        lambda one: (one.ledger.books.get(ACCOUNT).kill_switch, _acts(one, "engage_kill_switch")),
        (KillSwitch.ENGAGED, 1),
    ),
    "breaker": (
        lambda one: one.behind.books.trip_breaker(ACCOUNT, "a drill", ACTION),
        lambda one: (one.ledger.books.get(ACCOUNT).breaker, _acts(one, "trip_circuit_breaker")),
        (Breaker.TRIPPED, 1),
    ),
    "limits": (
        lambda one: one.behind.books.set_limits(ACCOUNT, [LimitChange(limit="max_order_shares", value=7)], ACTION),
        lambda one: (one.ledger.books.get(ACCOUNT).limits.max_order_shares, _acts(one, "set_risk_limits")),
        (7, 1),
    ),
}


def _acts(one: Scene, verb: str) -> int:
    return sum(row["action"] == verb for row in one.ledger.books.history(ACCOUNT))


def _ends(one: Scene) -> int:
    return sum(event["to_state"] == "canceled" for event in one.ledger.orders.events(one.live.client_order_id))


def _cut(passage: Passage) -> None:
    passage.leave_client()
    passage.leave_server()


def _cut_when_done(passage: Passage) -> None:
    passage.forward()
    passage.await_answer()
    _cut(passage)


def test_what_the_server_did_is_found_done(scene: Scene) -> None:
    """The caller goes on as if the answer had come, and nothing is written a second time."""
    for step, (act, read, wanted) in STEPS.items():
        assert wanted != read(scene), step
        scene.line.plan = _cut_when_done
        act(scene)
        assert scene.line.plan is None, step
        assert wanted == read(scene), step
    assert scene.ledger.seals.verify().sound


def test_what_never_reached_the_server_is_found_undone(scene: Scene) -> None:
    """The caller is told that nothing was written, which is true; asked for again, it is done once."""
    for step, (act, read, wanted) in STEPS.items():
        before = read(scene)
        scene.line.plan = _cut
        with pytest.raises(ServerUnavailable, match="nothing was written") as told:
            act(scene)
        assert not isinstance(told.value, CommitUnknown), step
        assert before == read(scene), step

        act(scene)
        assert wanted == read(scene), step
    assert scene.ledger.seals.verify().sound
