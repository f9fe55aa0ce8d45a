"""What is read back from Alpaca: exact, complete over pages and faults, and unaltered by lagging reads."""

from datetime import timedelta
from decimal import Decimal

import pytest
from support.alpaca.bench import OPEN, Bench, send
from support.alpaca.documents import order_json
from support.alpaca.server import Fault
from support.trading import intent

from trading_pipeline.adapters.broker.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.broker.alpaca.documents import broker_order, decimal_of, session_of
from trading_pipeline.adapters.broker.alpaca.reading import READ_SECONDS
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError, TransientError

FILLS = "/v2/account/activities/FILL"


def test_executions_are_exact_and_keep_their_order(bench: Bench) -> None:
    """Partial fills of one instant come in the sequence of what the order had got, with fractions and sub-pennies."""
    broker, wanted = bench.broker(), intent()
    send(broker, wanted)
    for qty, price in (("3.5", "189.461"), ("2.25", "189.4605"), ("4.25", "189.47")):
        bench.exchange.fill(wanted.client_order_id, Decimal(qty), Decimal(price))
    bench.exchange.books.fills.reverse()
    executions = broker.executions([wanted.client_order_id])
    assert [("3.5", "189.461"), ("2.25", "189.4605"), ("4.25", "189.47")] == [
        (str(one.fill.qty), str(one.fill.price)) for one in executions
    ]
    assert [one.id for one in reversed(bench.exchange.books.fills)] == [one.fill.execution_id for one in executions]
    assert {OPEN} == {one.executed_at for one in executions}
    assert {xnys().next(wanted.session)} == {one.fill.session for one in executions}


def test_the_average_price_is_exact_and_absent_while_nothing_is_filled(bench: Bench) -> None:
    """An order in two fills has the decimals the broker wrote; a JSON number has been a float and is no average."""
    wanted = intent()
    assert send(bench.broker(), wanted).average_price is None
    waiting = bench.broker().find(wanted.client_order_id)
    assert (Decimal(0), None) == (waiting and (waiting.filled_qty, waiting.average_price))
    for qty, price in ((3, "189.461"), (4, "189.4605")):
        bench.exchange.fill(wanted.client_order_id, qty, Decimal(price))
    found = bench.broker().find(wanted.client_order_id)
    assert ("7", "189.460714") == (found and (str(found.filled_qty), str(found.average_price)))
    with pytest.raises(DataQualityError, match="must be text, not float"):
        broker_order(order_json(bench.exchange.order(wanted.client_order_id)) | {"filled_avg_price": 189.46})


def test_executions_over_many_pages_are_complete(bench: Bench) -> None:
    """More executions than a page holds, of which one page is asked for again after a fault."""
    broker, wanted = bench.broker(), intent(qty=250)
    send(broker, wanted)
    for _ in range(250):
        bench.exchange.fill(wanted.client_order_id, 1)
    bench.server.plan_for("GET", FILLS, None, Fault(status=502), Fault(kind="drip", after=True))
    assert 250 == len(broker.executions([wanted.client_order_id]))


def test_executions_of_other_orders_are_left_out(bench: Bench) -> None:
    """What was bought by hand, and orders nobody asked for, are not ours."""
    broker, first, second = bench.broker(), intent(), intent("MSFT")
    for one in (first, second):
        send(broker, one)
        bench.exchange.fill(one.client_order_id)
    bench.exchange.buy_elsewhere("AAPL", Decimal(7))
    assert [second.client_order_id] == [
        one.client_order_id for one in broker.executions([second.client_order_id, "never sent"])
    ]


def test_executions_that_were_read_stand_and_only_what_follows_is_asked_for(bench: Bench) -> None:
    """The second reading begins behind the last execution of the first; after a while all are read anew."""
    broker, wanted = bench.broker(), intent(qty=300)
    send(broker, wanted)
    for _ in range(150):
        bench.exchange.fill(wanted.client_order_id, 1)
    assert 150 == len(broker.executions([wanted.client_order_id]))
    bench.exchange.fill(wanted.client_order_id, 1)
    bench.server.requests.clear()
    assert 151 == len(broker.executions([wanted.client_order_id]))
    assert 2 == _pages(bench)
    bench.waits.sleep(READ_SECONDS + 1)
    bench.server.requests.clear()
    assert 151 == len(broker.executions([wanted.client_order_id]))
    assert 3 == _pages(bench)


def test_an_execution_that_appears_late_before_others_is_missed_by_no_reading(bench: Bench) -> None:
    """What was read does not add up to what the order says is filled: all is read once more."""
    broker, wanted = bench.broker(), intent(qty=10)
    send(broker, wanted)
    for qty in (1, 2, 3):
        bench.exchange.fill(wanted.client_order_id, qty)
    late = bench.exchange.books.fills.pop(0)
    assert [2, 3] == [one.fill.qty for one in broker.executions([wanted.client_order_id])]
    bench.exchange.books.fills.insert(0, late)
    broker.find_many([wanted.client_order_id])
    assert [1, 2, 3] == [one.fill.qty for one in broker.executions([wanted.client_order_id])]


def test_many_orders_are_found_in_pages_and_those_they_leave_out_by_their_ids(bench: Bench) -> None:
    """Listing ends with the last one wanted; one that Alpaca has none of is left out, and asked for each time."""
    broker, ids = _nine_orders(bench)
    bench.server.requests.clear()
    assert set(ids[6:]) == set(broker.find_many(ids[6:]))
    assert ["/v2/orders"] == [one.path for one in bench.server.requests]
    bench.server.requests.clear()
    assert set(ids) == set(broker.find_many([*ids, "never sent"]))
    looked_up = [one.query["client_order_id"] for one in bench.server.requests if "client_order_id" in one.query]
    assert ["never sent"] == looked_up


def test_fewer_orders_than_the_pages_of_all_are_looked_up_at_once(bench: Bench) -> None:
    """Of an account with many orders, two are not worth all its pages."""
    broker, ids = _nine_orders(bench)
    broker.find_many(ids)
    bench.exchange.end(ids[0], "canceled")
    bench.server.requests.clear()
    found = broker.find_many(ids[:2])
    assert (OrderState.CANCELED, OrderState.ACCEPTED) == (found[ids[0]].state, found[ids[1]].state)
    assert 2 == len(bench.server.requests)


def _nine_orders(bench: Bench) -> tuple[AlpacaBroker, list[str]]:
    """Send nine orders, a second apart, to an account whose pages hold three."""
    broker, orders = bench.broker(), [intent(repeat=number) for number in range(9)]
    bench.exchange.largest_page = 3
    for one in orders:
        bench.waits.sleep(1)
        send(broker, one)
    return broker, [one.client_order_id for one in orders]


def _pages(bench: Bench) -> int:
    return sum(one.path == FILLS for one in bench.server.requests)


def test_all_open_orders_are_read_also_many_of_one_instant(bench: Bench) -> None:
    """Pages overlap by an instant: 700 orders, of which 400 share one, are read once each and oldest first."""
    exchange = bench.exchange
    for number in range(700):
        if number > 400:
            bench.waits.sleep(1)
        exchange.accept(
            exchange.new_order(symbol="AAPL", side="buy", qty=Decimal(1), client_order_id=f"order {number:03d}")
        )
    found = [one.client_order_id for one in bench.broker().open_orders()]
    assert {f"order {number:03d}" for number in range(700)} == set(found)
    assert [f"order {number:03d}" for number in range(401, 700)] == found[-299:]
    assert 700 == len(found)


def test_pages_shorter_than_asked_lose_nothing(bench: Bench) -> None:
    """A server with pages of its own size is read to the end."""
    exchange = bench.exchange
    exchange.largest_page = 7
    for number in range(30):
        bench.waits.sleep(1)
        exchange.accept(exchange.new_order(symbol="AAPL", side="buy", qty=Decimal(1), client_order_id=str(number)))
    assert [str(number) for number in range(30)] == [one.client_order_id for one in bench.broker().open_orders()]


def test_more_orders_of_one_instant_than_a_page_holds_are_no_answer(bench: Bench) -> None:
    """What cannot be read completely is an error, not a part."""
    exchange = bench.exchange
    for number in range(501):
        exchange.accept(exchange.new_order(symbol="AAPL", side="buy", qty=Decimal(1), client_order_id=str(number)))
    with pytest.raises(TransientError, match="share the instant"):
        bench.broker().open_orders()


def test_positions_keep_sign_and_fraction(bench: Bench) -> None:
    """Long, short and fractional shares, exactly; a flat symbol is absent."""
    for symbol, qty in (("AAPL", "10.123456789"), ("MSFT", "-5"), ("NVDA", "3"), ("NVDA", "-3")):
        bench.exchange.buy_elsewhere(symbol, Decimal(qty))
    assert {"AAPL": Decimal("10.123456789"), "MSFT": Decimal(-5)} == bench.broker().positions()


def test_a_cancelled_order_reports_what_was_filled(bench: Bench) -> None:
    """The answer after a cancellation is the order as it ended."""
    broker, wanted = bench.broker(), intent()
    send(broker, wanted)
    bench.exchange.fill(wanted.client_order_id, 4)
    ended = broker.cancel(wanted.client_order_id)
    assert ended is not None
    assert (OrderState.CANCELED, Decimal(4)) == (ended.state, ended.filled_qty)


def test_a_cancellation_that_comes_too_late_reports_the_fill(bench: Bench) -> None:
    """The 422 of an order that was filled meanwhile is no failure."""
    broker, wanted = bench.broker(), intent()
    order = bench.exchange.order(send(broker, wanted).client_order_id)
    bench.exchange.lag()
    bench.exchange.fill(wanted.client_order_id)
    broker.cancel(wanted.client_order_id)
    bench.exchange.catch_up()
    ended = broker.cancel(wanted.client_order_id)
    assert (OrderState.FILLED, "filled") == (ended and ended.state, order.status)


@pytest.mark.parametrize(
    "fault", [pytest.param(Fault(status=504, after=True), id="504"), pytest.param(Fault(kind="reset"), id="reset")]
)
def test_a_cancellation_without_an_answer_may_be_asked_again(fault: Fault, bench: Bench) -> None:
    """Asking twice for an end does no harm."""
    broker, wanted = bench.broker(), intent()
    path = f"/v2/orders/{send(broker, wanted).broker_order_id}"
    bench.server.plan_for("DELETE", path, fault)
    with pytest.raises(TransientError, match="ask again"):
        broker.cancel(wanted.client_order_id)
    ended = broker.cancel(wanted.client_order_id)
    assert OrderState.CANCELED is (ended and ended.state)


def test_an_order_nobody_sent_cannot_be_cancelled(bench: Bench) -> None:
    """None, as for any look-up."""
    assert bench.broker().cancel("never sent") is None


def test_one_listing_answers_many_look_ups(bench: Bench) -> None:
    """After the executions of several orders were read, their look-ups cost nothing for a moment, then ask again."""
    broker, orders = bench.broker(), [intent(repeat=number) for number in range(5)]
    for one in orders:
        send(broker, one)
    ids = [one.client_order_id for one in orders]
    broker.executions(ids)
    before = len(bench.server.requests)
    assert {OrderState.ACCEPTED} == {found.state for one in ids if (found := broker.find(one))}
    assert before == len(bench.server.requests)
    bench.waits.sleep(4)
    bench.exchange.end(ids[0], "canceled")
    found = broker.find(ids[0])
    assert OrderState.CANCELED is (found and found.state)


def test_an_order_that_was_listed_as_over_is_not_asked_for_again_soon(bench: Bench) -> None:
    """Thousands of look-ups take minutes of the budget; after two of them its end is looked at anew."""
    broker, orders = bench.broker(), [intent(repeat=number) for number in range(3)]
    for one in orders:
        send(broker, one)
        bench.exchange.end(one.client_order_id, "canceled")
    ids = [one.client_order_id for one in orders]
    broker.executions(ids)
    bench.waits.sleep(60)
    before = len(bench.server.requests)
    assert {OrderState.CANCELED} == {found.state for one in ids if (found := broker.find(one))}
    assert before == len(bench.server.requests)
    bench.waits.sleep(61)
    assert broker.find(ids[0]) is not None
    assert before + 1 == len(bench.server.requests)


def test_a_replaced_order_has_ended_and_names_what_replaced_it(bench: Bench) -> None:
    """An order changed by hand at the broker is over under its own id."""
    broker, wanted = bench.broker(), intent(limit_price=Decimal("100.00"))
    first = send(broker, wanted)
    bench.broker_client().patch(f"/orders/{first.broker_order_id}", {"limit_price": "101.00"})
    found = broker.find(wanted.client_order_id)
    assert found is not None
    assert OrderState.REPLACED is found.state
    assert f"replaced by {found.replaced_by}" == found.reason


@pytest.mark.parametrize("text", [10.5, None, "NaN", "Infinity"])
def test_what_is_no_exact_number_is_not_read(text: object) -> None:
    """A JSON number has been a float already; NaN and infinity are no money."""
    with pytest.raises((TypeError, ValueError)):
        decimal_of(text)


def test_an_unreadable_order_names_what_is_wrong() -> None:
    """A document without its fields is an error, not half an order."""
    with pytest.raises(DataQualityError, match="an order of Alpaca cannot be read: KeyError: 'status'"):
        broker_order({"id": "1"})


def test_an_execution_at_night_belongs_to_the_next_session() -> None:
    """Sunday night's trades are Monday's, or Tuesday's after a holiday."""
    sunday = OPEN - timedelta(days=2)
    assert OPEN.date() == session_of(sunday, xnys())
