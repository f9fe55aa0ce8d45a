"""Whatever an order waits for, it waits for before its last check: what happens meanwhile is seen by that check."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.alpaca.bench import OPEN, Bench, Waits, alpaca_bench
from support.alpaca.server import Fault
from support.slices import Prices
from support.trading import ACTION, RUN, order, quotes

from trading_pipeline.adapters.broker.alpaca.account import CHECK_SECONDS
from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.model import OrderIntent, ReferencePrice, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.errors import AccountBlocked, ClockUnreliable, PipelineError, ServerUnavailable, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.single_orders import OrderChange, replace_order
from trading_pipeline.services.submission import Submission, SubmissionService

ORDERS = "/v2/orders"
LOOK_UP = ("GET", "/v2/orders:by_client_order_id")


@dataclass
class Interrupted(Waits):
    """A clock during whose next wait something happens, once."""

    then: Callable[[], object] | None = None

    def sleep(self, seconds: float) -> None:
        """Move the clock, and let it happen."""
        super().sleep(seconds)
        then, self.then = self.then, None
        if then is not None:
            then()


@pytest.fixture
def waits() -> Interrupted:
    """The time of the account: soon after the open, so that no price of the evening before is too old."""
    return Interrupted(OPEN - timedelta(minutes=20))


@pytest.fixture
def bench(redis_url: str, waits: Interrupted) -> Iterator[Bench]:
    """An Alpaca account of that time."""
    with alpaca_bench(redis_url, waits) as running:
        yield running


def _use_up(bench: Bench, *, seconds: int = 3) -> Callable[[], None]:
    """Leave no place in the budget for so long, and return what ends that at once."""
    (budget,) = bench.counter.keys("alpaca:*:trading:budget")
    until = int(bench.counter.time()[0]) * 1000 + seconds * 1000
    bench.counter.hset(budget, "closed_until", until)
    return lambda: bench.counter.hset(budget, "closed_until", 0) and None


def _submit(account: TradingAccount, *news: NewOrder) -> list[Submission]:
    return SubmissionService(account, RUN).submit_all(news)


def _during_the_wait(bench: Bench, waits: Interrupted, then: Callable[[], object]) -> None:
    """Let something happen while the next order waits for its place."""
    opens = _use_up(bench)

    def happens() -> None:
        then()
        opens()

    waits.then = happens


def test_a_switch_pressed_while_an_order_waits_for_its_place_keeps_it(
    account: TradingAccount, bench: Bench, waits: Interrupted
) -> None:
    """The request limit is used up, an operator presses the switch, the limit opens: nothing leaves."""
    _submit(account, order("MSFT"))
    _during_the_wait(bench, waits, lambda: _press(account))
    (kept,) = _submit(account, order())
    assert waits.then is None, "it waited"
    assert VerdictCode.KILL_SWITCH_ENGAGED is _code(kept)
    assert ["MSFT"] == [one.symbol for one in bench.exchange.accepted]


def test_a_price_that_gets_too_old_during_the_wait_keeps_its_order(
    account: TradingAccount, bench: Bench, waits: Interrupted
) -> None:
    """Its age counts when the order leaves, not when it began to wait."""
    _submit(account, order("MSFT"))
    _during_the_wait(bench, waits, lambda: waits.sleep(27))
    seen = ReferencePrice(price=Decimal(100), source="midpoint:test", as_of=waits.now() - timedelta(seconds=4))
    new = order()
    (kept,) = _submit(replace(account, prices=Prices()), replace(new, intent=replace(new.intent, reference=seen)))
    assert waits.then is None, "it waited"
    assert VerdictCode.REFERENCE_STALE is _code(kept)
    assert ["MSFT"] == [one.symbol for one in bench.exchange.accepted]


def test_an_order_that_waits_for_its_place_holds_no_other(
    account: TradingAccount, bench: Bench, waits: Interrupted
) -> None:
    """What was sent before it is recorded already, and its own cancellation is heard before it leaves."""
    news = [order(symbol) for symbol in ("AAPL", "MSFT")]
    first, second = (new.intent.client_order_id for new in news)
    seen: list[object] = []

    def looks() -> None:
        stored = account.ledger.orders.get(first)
        seen.append(stored.state if stored else None)
        account.ledger.sending.request_cancel(second)

    bench.server.meanwhile["POST", ORDERS] = lambda: _during_the_wait(bench, waits, looks)
    sent, kept = _submit(account, *news)
    assert [OrderState.ACCEPTED] == seen
    assert (OrderState.ACCEPTED, OrderState.CLEARED) == (sent.order.state, kept.order.state)
    assert VerdictCode.ENDED is _code(kept)
    assert ["AAPL"] == [one.symbol for one in bench.exchange.accepted]


def test_an_answer_that_shuts_the_account_loses_none_of_those_before(account: TradingAccount, bench: Bench) -> None:
    """The first order works and is recorded; the second, refused with the whole account, stays cleared."""
    refused = Fault(status=403, body='{"code": 40310000, "message": "account is restricted to liquidation only"}')
    bench.server.plan_for("POST", ORDERS, None, refused)
    news = [order("AAPL"), order("MSFT")]
    with pytest.raises(AccountBlocked):
        _submit(account, *news)
    stored = account.ledger.orders.get_many([new.intent.client_order_id for new in news])
    wanted = {"AAPL": OrderState.ACCEPTED, "MSFT": OrderState.CLEARED}
    assert wanted == {one.intent.symbol: one.state for one in stored.values()}
    _submit(account, *news)
    assert ["AAPL", "MSFT"] == [one.symbol for one in bench.exchange.accepted]


def test_nothing_is_read_between_the_last_check_and_the_order(account: TradingAccount, bench: Bench) -> None:
    """A switch pressed while Alpaca is asked what an order's rules depend on keeps the order: the looks come first."""
    bench.server.meanwhile["GET", "/v2/assets"] = lambda: _press(account)
    assert VerdictCode.KILL_SWITCH_ENGAGED is _code(_submit(account, order())[0])
    assert [] == bench.exchange.accepted


@pytest.mark.parametrize(
    "failure",
    [ServerUnavailable("Redis is away"), ClockUnreliable("the clocks are apart"), AccountBlocked("it takes no orders")],
    ids=lambda failure: type(failure).__name__,
)
def test_a_turn_that_cannot_be_awaited_loses_no_answer_of_the_order_before(
    account: TradingAccount, bench: Bench, monkeypatch: pytest.MonkeyPatch, failure: PipelineError
) -> None:
    """What was sent is recorded as sent; then the failure is what it is for a first order: busy, or an error."""
    news = [order(symbol) for symbol in ("AAPL", "MSFT", "NVDA")]
    original = account.broker.await_turn

    def fails(intent: OrderIntent, **named: Any) -> None:
        if intent.symbol == "MSFT":
            raise failure
        original(intent, **named)

    monkeypatch.setattr(account.broker, "await_turn", fails)
    service = SubmissionService(account, RUN)
    with nullcontext() if isinstance(failure, TransientError) else pytest.raises(type(failure)):
        service.submit_all(news)
    stored = account.ledger.orders.get_many([new.intent.client_order_id for new in news])
    wanted = {"AAPL": OrderState.ACCEPTED, "MSFT": OrderState.CLEARED, "NVDA": OrderState.CLEARED}
    assert wanted == {one.intent.symbol: one.state for one in stored.values()}
    monkeypatch.undo()
    _submit(account, *news)
    assert ["AAPL", "MSFT", "NVDA"] == [one.symbol for one in bench.exchange.accepted]


@pytest.mark.parametrize("path", ["/v2/account", "/v2/clock", "/v2/positions"])
def test_nothing_is_read_again_between_the_last_check_and_the_order(
    account: TradingAccount, bench: Bench, path: str
) -> None:
    """Looks that became too old while the order before was sent are made anew before the check."""

    def takes_long() -> None:
        bench.waits.sleep(CHECK_SECONDS + 1)
        bench.server.meanwhile["GET", path] = lambda: _press(account)

    bench.server.meanwhile["POST", ORDERS] = takes_long
    sent, kept = _submit(account, order("AAPL"), order("MSFT"))
    assert OrderState.ACCEPTED is sent.order.state
    assert VerdictCode.KILL_SWITCH_ENGAGED is _code(kept)
    assert ["AAPL"] == [one.symbol for one in bench.exchange.accepted]


def test_nothing_is_read_between_the_last_check_and_a_replacement(account: TradingAccount, bench: Bench) -> None:
    """A switch pressed while Alpaca is asked for the order to be replaced, for the last time, keeps the replacement."""
    symbols = ("AAPL", "MSFT")
    news = {symbol: order(symbol, Side.BUY, 10, limit_price=Decimal("99.50")) for symbol in symbols}
    assert {OrderState.ACCEPTED} == {one.order.state for one in _submit(account, *news.values())}

    def reduce(symbol: str) -> Submission:
        change = OrderChange(qty=9)
        return replace_order(account, news[symbol].intent.client_order_id, change, ACTION, quotes)

    before = bench.server.count(*LOOK_UP)
    assert OrderState.ACCEPTED is reduce("AAPL").order.state
    sent_at = [one.method for one in bench.server.requests].index("PATCH")
    looks = [(one.method, one.path) for one in bench.server.requests[:sent_at]].count(LOOK_UP) - before
    _at(bench, LOOK_UP, looks, lambda: _press(account))
    assert VerdictCode.KILL_SWITCH_ENGAGED is _code(reduce("MSFT"))
    assert 1 == [one.method for one in bench.server.requests].count("PATCH")


def _at(bench: Bench, request: tuple[str, str], nth: int, then: Callable[[], object]) -> None:
    """Let something happen while the nth request of a kind from now on is under way."""
    happens = then if nth == 1 else lambda: _at(bench, request, nth - 1, then)
    bench.server.meanwhile[request] = happens


def _press(account: TradingAccount) -> None:
    RiskOperations(account).engage_kill_switch(ACTION)


def _code(submission: Submission) -> VerdictCode | None:
    return None if submission.verdict is None else submission.verdict.code
