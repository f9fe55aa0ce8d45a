"""Every type and time in force on the wire, digit by digit, and the price an order is judged at."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from support.alpaca.bench import Bench, send
from support.trading import intent

from trading_pipeline.core.orders.model import OrderIntent, OrderType, Side, TimeInForce
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import ClearanceRequest, MarketFacts, judged_ticks

PRICES: dict[OrderType, dict[str, Decimal]] = {
    OrderType.MARKET: {},
    OrderType.LIMIT: {"limit_price": Decimal("101.10")},
    OrderType.STOP: {"stop_price": Decimal("110.50")},
    OrderType.STOP_LIMIT: {"stop_price": Decimal("110.50"), "limit_price": Decimal("111.20")},
}
BEFORE_THE_OPEN = datetime(2023, 9, 5, 13, 0, tzinfo=UTC)


def kind(order_type: OrderType, tif: TimeInForce = TimeInForce.DAY) -> OrderIntent:
    """Build an order to buy 10 shares of this kind."""
    return replace(intent(), order_type=order_type, time_in_force=tif, **PRICES[order_type])


@pytest.mark.parametrize("tif", TimeInForce)
@pytest.mark.parametrize("order_type", OrderType)
def test_every_kind_is_sent_as_it_is_meant(bench: Bench, order_type: OrderType, tif: TimeInForce) -> None:
    """Prices and quantities as text; kinds that no auction takes are refused elsewhere."""
    auction = tif in {TimeInForce.OPG, TimeInForce.CLS}
    if auction:
        bench.waits.instant = BEFORE_THE_OPEN
    wanted = kind(OrderType.LIMIT if auction and PRICES[order_type].get("stop_price") else order_type, tif)
    answer = send(bench.broker(), wanted)
    (body,) = [json.loads(one.body) for one in bench.server.requests if one.method == "POST"]
    prices = {name: f"{price:f}" for name, price in PRICES[wanted.order_type].items()}
    assert {
        "client_order_id": wanted.client_order_id,
        "symbol": "AAPL",
        "side": "buy",
        "qty": "10",
        "type": wanted.order_type.value,
        "time_in_force": tif.value,
        "extended_hours": False,
        **prices,
    } == body
    assert OrderState.ACCEPTED is answer.state


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    ("order_type", "worst"),
    [
        (OrderType.MARKET, "100"),
        (OrderType.LIMIT, "101.10"),
        (OrderType.STOP, "110.50"),
        (OrderType.STOP_LIMIT, "111.20"),
    ],
)
def test_an_order_is_judged_at_the_worst_of_its_prices(side: Side, order_type: OrderType, worst: str) -> None:
    """What the guard is asked at and what a rebuilt book holds are the same; only a limit bounds what it takes."""
    wanted = replace(kind(order_type), side=side)
    market = MarketFacts(reference_ticks=1_000_000, reference_age_seconds=0)
    asked = ClearanceRequest.of(wanted, market=market, epoch=1, min_sequence=0)
    ticks = int(Decimal(worst) * 10_000)
    assert ticks == max(asked.market.reference_ticks or 0, asked.limit_ticks or 0) == judged_ticks(wanted)
    assert (order_type is OrderType.LIMIT) == (asked.limit_ticks is not None)
