"""Orders sent to Alpaca: at most one accepted for each intent, whatever happens to the request or the answer."""

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from support.alpaca.bench import OPEN, Bench, cleared, send
from support.alpaca.server import Fault
from support.trading import intent

from trading_pipeline.adapters.broker.alpaca.account import CHECK_SECONDS
from trading_pipeline.adapters.broker.alpaca.broker import AlpacaBroker
from trading_pipeline.core.orders.model import OrderIntent, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.errors import (
    AccountBlocked,
    ConfigError,
    OrderRejected,
    OrderStateUnknown,
    ServerUnavailable,
    TransientError,
)

ORDERS = "/v2/orders"
BY_ID = "/v2/orders:by_client_order_id"
HTML = "<html><h1>502 Bad Gateway</h1></html>"
UNKNOWN_BEFORE = [
    pytest.param(Fault(status=500, body=HTML), id="500 as HTML"),
    pytest.param(Fault(status=502, body=HTML), id="502 as HTML"),
    pytest.param(Fault(status=503), id="503 without a body"),
    pytest.param(Fault(status=504, body='{"code": 50410000, "message": "request timed out"}'), id="504"),
    pytest.param(Fault(kind="hang"), id="hang"),
    pytest.param(Fault(kind="reset"), id="reset"),
]
UNKNOWN_AFTER = [
    pytest.param(Fault(status=500, body=HTML, after=True), id="500 after acceptance"),
    pytest.param(Fault(status=502, body=HTML, after=True), id="502 after acceptance"),
    pytest.param(Fault(status=503, after=True), id="503 after acceptance"),
    pytest.param(Fault(status=504, body='{"code": 50410000, "message": "timed out"}', after=True), id="504 after"),
    pytest.param(Fault(kind="hang", after=True), id="hang after acceptance"),
    pytest.param(Fault(kind="reset", after=True), id="reset after acceptance"),
    pytest.param(Fault(kind="cut", after=True), id="an answer cut in half"),
    pytest.param(Fault(kind="drip", after=True), id="an answer that drips"),
    pytest.param(Fault(kind="garbage", after=True), id="an answer that is no JSON"),
]


def retried(broker: AlpacaBroker, wanted: OrderIntent) -> OrderState:
    """Send as the submission service does after a lost answer: look it up first, send only what is absent."""
    found = broker.find(wanted.client_order_id)
    return (found or send(broker, wanted)).state


def test_an_order_is_sent_as_exact_text_with_its_own_id(bench: Bench) -> None:
    """No JSON number reaches the wire: prices and quantities arrive digit by digit as they were meant."""
    wanted = intent(limit_price=Decimal("100.10"))
    answer = send(bench.broker(), wanted)
    sent = json.loads(next(one.body for one in bench.server.requests if one.method == "POST"))
    assert {
        "client_order_id": wanted.client_order_id,
        "symbol": "AAPL",
        "side": "buy",
        "qty": "10",
        "type": "limit",
        "time_in_force": "day",
        "limit_price": "100.10",
        "extended_hours": False,
    } == sent
    assert (OrderState.ACCEPTED, wanted.client_order_id, Decimal(10)) == (
        answer.state,
        answer.client_order_id,
        answer.qty,
    )


@pytest.mark.parametrize("fault", [*UNKNOWN_BEFORE, *UNKNOWN_AFTER])
def test_a_lost_answer_is_never_followed_by_a_second_order(fault: Fault, bench: Bench) -> None:
    """One POST, the outcome unknown; after the look-up the journal shows exactly one accepted order."""
    wanted = intent()
    bench.server.plan_for("POST", ORDERS, fault)
    broker = bench.broker()
    with pytest.raises(OrderStateUnknown):
        send(broker, wanted)
    assert 1 == bench.server.count("POST", ORDERS)
    assert OrderState.ACCEPTED is retried(broker, wanted)
    assert [1] == list(bench.exchange.accepted_per_intent().values())


@pytest.mark.parametrize("fault", UNKNOWN_AFTER)
def test_a_server_that_forgets_its_ids_still_gets_one_order(fault: Fault, bench: Bench) -> None:
    """The proof does not rest on the server refusing an id twice: the look-up comes first."""
    bench.exchange.unique_ids = False
    wanted = intent()
    bench.server.plan_for("POST", ORDERS, fault)
    broker = bench.broker()
    with pytest.raises(OrderStateUnknown):
        send(broker, wanted)
    assert OrderState.ACCEPTED is retried(broker, wanted)
    assert 1 == bench.server.count("POST", ORDERS)
    assert [1] == list(bench.exchange.accepted_per_intent().values())


def test_too_many_requests_is_no_order_and_names_when_to_come_back(bench: Bench) -> None:
    """A 429 was certainly not accepted; the server's reset time closes the shared budget for everybody."""
    reset = OPEN + timedelta(seconds=20)
    headers = {"X-RateLimit-Reset": str(int(reset.timestamp()))}
    bench.server.plan_for("POST", ORDERS, Fault(status=429, headers=headers, body='{"code":42910000,"message":"no"}'))
    with pytest.raises(TransientError) as raised:
        send(bench.broker())
    assert reset == raised.value.fields["retry_at"]
    assert [] == bench.exchange.accepted
    (budget,) = bench.counter.keys("alpaca:*:trading:budget")
    assert str(int(reset.timestamp() * 1000)).encode() == bench.counter.hget(budget, "closed_until")
    assert 1 == bench.server.count("POST", ORDERS)


def test_no_connection_is_certainly_no_order(bench: Bench) -> None:
    """A server nobody listens at got nothing: the order may be tried again without a look-up."""
    with pytest.raises(ServerUnavailable, match="no connection to Alpaca, nothing was sent"):
        bench.writer(url="http://127.0.0.1:9").post("/orders", {"symbol": "AAPL"})


def test_an_id_the_server_has_seen_returns_the_order_it_belongs_to(bench: Bench) -> None:
    """The 422 "must be unique" is looked up, not believed to be a refusal."""
    first = send(bench.broker())
    again = send(bench.broker())
    assert first.broker_order_id == again.broker_order_id
    assert [1] == list(bench.exchange.accepted_per_intent().values())


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(kind="reset"), Fault(body="{}", status=500)])
def test_a_taken_id_that_cannot_be_looked_up_is_unknown(fault: Fault, bench: Bench) -> None:
    """The order may be ours and working: nothing about a look-up that failed says that it was not accepted."""
    broker, wanted = bench.broker(), intent()
    send(broker, wanted)
    bench.server.plan_for("GET", BY_ID, *[fault] * 3)
    with pytest.raises(OrderStateUnknown, match="could not be read"):
        send(broker, wanted)
    assert [1] == list(bench.exchange.accepted_per_intent().values())


def test_a_refused_replacement_that_cannot_be_looked_up_is_unknown(bench: Bench) -> None:
    """An earlier request for it, whose answer nobody got, may be why: a look-up that failed does not deny that."""
    broker, old = bench.broker(), intent(limit_price=Decimal("100.50"))
    send(broker, old)
    wanted = intent(qty=12, limit_price=Decimal("100.50"))
    patched = f"/v2/orders/{bench.exchange.order(old.client_order_id).id}"
    bench.server.plan_for("PATCH", patched, Fault(status=422, body='{"code":42210000,"message":"order is not open"}'))
    bench.server.plan_for("GET", BY_ID, None, *[Fault(status=503)] * 3)
    with pytest.raises(OrderStateUnknown, match="could not be read"):
        broker.replace(old.client_order_id, wanted, cleared(wanted))


def test_an_id_taken_while_reads_lag_is_unknown_until_they_catch_up(bench: Bench) -> None:
    """An order the server has but does not show yet is neither refused nor sent again."""
    broker, wanted = bench.broker(), intent()
    bench.exchange.lag()
    send(broker, wanted)
    with pytest.raises(OrderStateUnknown, match="does not show it yet"):
        send(broker, wanted)
    bench.exchange.catch_up()
    assert OrderState.ACCEPTED is retried(broker, wanted)
    assert [1] == list(bench.exchange.accepted_per_intent().values())


def test_an_id_that_belongs_to_another_order_is_rejected(bench: Bench) -> None:
    """The same id with another payload is a refusal for good, never the other order's state."""
    wanted = intent()
    with bench.exchange.lock:
        foreign = bench.exchange.new_order(
            symbol="MSFT", side="sell", qty=Decimal(3), client_order_id=wanted.client_order_id
        )
        bench.exchange.accept(foreign)
    with pytest.raises(OrderRejected, match="belongs to another order"):
        send(bench.broker(), wanted)


def poor(bench: Bench) -> None:
    """Take the money away."""
    bench.exchange.cash = Decimal(5)


def opposite(bench: Bench) -> None:
    """Place an order of the other side by hand."""
    with bench.exchange.lock:
        bench.exchange.accept(bench.exchange.new_order(symbol="AAPL", side="sell", qty=Decimal(1), client_order_id="x"))


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        pytest.param(poor, "insufficient buying power", id="no money"),
        pytest.param(opposite, "potential wash trade", id="wash trade"),
    ],
)
def test_a_refusal_of_this_order_ends_it_in_the_servers_words(
    prepare: Callable[[Bench], None], words: str, bench: Bench
) -> None:
    """Money and wash trades are 403 like an account that is shut, but concern one order."""
    prepare(bench)
    with pytest.raises(OrderRejected, match=words):
        send(bench.broker())


def test_an_account_shut_between_the_look_and_the_order_is_no_verdict_on_the_order(bench: Bench) -> None:
    """A 403 about the account stops everything and leaves the order as it was."""
    broker = bench.broker()
    send(broker)
    bench.exchange.flags["trade_suspended_by_user"] = True
    with pytest.raises(AccountBlocked, match="rejected by user request"):
        send(broker, intent("MSFT"))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(status=401, body='{"message": "unauthorized."}'), id="401"),
        pytest.param(Fault(status=403, body="<html>403 Forbidden</html>"), id="403 as HTML"),
        pytest.param(Fault(status=404, body='{"code": 40410000, "message": "endpoint not found"}'), id="wrong URL"),
    ],
)
def test_credentials_and_wrong_urls_are_configuration(fault: Fault, bench: Bench) -> None:
    """Neither says anything about the order: fixed, it can be sent."""
    broker = bench.broker()
    bench.server.plan_for("POST", ORDERS, fault)
    with pytest.raises(ConfigError, match="ALPACA_"):
        send(broker)
    assert OrderState.ACCEPTED is send(broker).state


def test_a_status_nobody_knows_is_a_working_order(bench: Bench) -> None:
    """Only a known end frees what an order holds."""
    broker, wanted = bench.broker(), intent()
    send(broker, wanted)
    bench.exchange.order(wanted.client_order_id).status = "quantum_pending"
    found = broker.find(wanted.client_order_id)
    assert (OrderState.ACCEPTED, "quantum_pending") == (found and found.state, found and found.reason)


def test_a_wrong_url_is_no_proof_of_absence(bench: Bench) -> None:
    """A 404 that is not Alpaca's own word about the order must not end it."""
    broker = bench.broker()
    bench.server.plan_for("GET", BY_ID, Fault(status=404, body="<html>Not Found</html>"))
    with pytest.raises(Exception, match="404"):
        broker.find("no such order")
    assert broker.find("no such order") is None


def test_a_short_of_what_cannot_be_borrowed_is_not_sent(bench: Bench) -> None:
    """The rules are judged before sending, on what the broker says of the asset."""
    bench.exchange.assets["AAPL"].easy_to_borrow = False
    with pytest.raises(OrderRejected, match="AAPL is not easy to borrow"):
        send(bench.broker(), intent(side=Side.SELL))
    assert 0 == bench.server.count("POST", ORDERS)


def test_an_order_across_zero_is_judged_on_a_fresh_position(bench: Bench) -> None:
    """A position that changed since the last look does not refuse an order that is right now."""
    broker = bench.broker()
    bench.exchange.buy_elsewhere("AAPL", Decimal(4))
    with pytest.raises(OrderRejected, match="across zero: sell 4 first, the other 6 once it is flat"):
        send(broker, intent(side=Side.SELL))
    bench.exchange.buy_elsewhere("AAPL", Decimal(-4))
    assert OrderState.ACCEPTED is send(broker, intent(side=Side.SELL)).state


def test_an_order_of_a_session_that_is_over_is_not_sent(bench: Bench) -> None:
    """After the close of its session an order would work in the next one: it is refused instead."""
    bench.waits.instant = OPEN + timedelta(hours=8)
    with pytest.raises(OrderRejected, match="2023-09-05 is not the one"):
        send(bench.broker())
    assert 0 == bench.server.count("POST", ORDERS)


def test_a_clearance_of_another_order_opens_nothing(bench: Bench) -> None:
    """The door opens to the guard's yes for this order alone, before anything is asked of the server."""
    with pytest.raises(PermissionError):
        bench.broker().submit(intent(), cleared(intent("MSFT")))
    assert [] == bench.server.requests


def test_positions_that_were_just_read_stand_for_an_order(bench: Bench) -> None:
    """Whoever read them: until they are half a minute old."""
    broker = bench.broker()
    broker.positions()
    bench.waits.sleep(CHECK_SECONDS)
    send(broker)
    assert 1 == bench.server.count("GET", "/v2/positions")
    bench.waits.sleep(1)
    send(broker, intent(qty=1, repeat=1))
    assert 2 == bench.server.count("GET", "/v2/positions")


def test_what_is_not_an_order_is_asked_rarely(bench: Bench) -> None:
    """In the minute that 200 orders take, account, clock and positions are looked at twice and the assets once."""
    broker = bench.broker()
    for number in range(50):
        send(broker, intent(qty=1, repeat=number))
        bench.waits.sleep(60 / 50)
    assert 50 == bench.server.count("POST", ORDERS)
    assert 7 == len(bench.server.requests) - 50
