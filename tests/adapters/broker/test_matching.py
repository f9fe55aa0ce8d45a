"""How the simulated exchange fills one order."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.broker.matching import ExchangeCosts, Match, OpeningBar, match, reject_reason
from trading_pipeline.core.orders.model import OrderType, Side
from trading_pipeline.core.orders.states import OrderState

BAR = OpeningBar(open=Decimal(100), high=Decimal(105), low=Decimal(95), volume=1_000_000)


def _match(
    side: Side = Side.BUY,
    qty: int = 100,
    *,
    limit: Decimal | None = None,
    bar: OpeningBar | None = BAR,
    **costs: object,
) -> Match:
    return match(
        client_order_id="0123456789abcdef01234567",
        side=side,
        qty=qty,
        limit_price=limit,
        bar=bar,
        costs=ExchangeCosts(**costs),
    )


def test_market_orders_pay_slippage_and_commission() -> None:
    """Against the trader on both sides."""
    bought, sold = _match(Side.BUY, 1000), _match(Side.SELL, 1000)
    assert (Decimal("100.02"), Decimal("5.00")) == (bought.price, bought.fee)
    assert Decimal("99.98") == sold.price


def test_a_small_order_pays_the_minimum_commission() -> None:
    """One dollar."""
    assert Decimal(1) == _match(qty=1).fee


@pytest.mark.parametrize(
    ("side", "limit", "price"),
    [
        (Side.BUY, Decimal(101), Decimal(100)),
        (Side.BUY, Decimal(97), Decimal(97)),
        (Side.BUY, Decimal(94), None),
        (Side.SELL, Decimal(99), Decimal(100)),
        (Side.SELL, Decimal(103), Decimal(103)),
        (Side.SELL, Decimal(106), None),
    ],
)
def test_limit_orders_fill_at_the_open_or_at_the_limit_or_not(
    side: Side, limit: Decimal, price: Decimal | None
) -> None:
    """Better at the open, at the limit when the session trades through it, else it expires."""
    outcome = _match(side, limit=limit)
    assert price == outcome.price
    assert (OrderState.EXPIRED if price is None else OrderState.FILLED) is outcome.state


def test_an_order_larger_than_its_share_of_volume_fills_in_part() -> None:
    """The rest expires with the day."""
    outcome = _match(qty=20_000)
    assert (OrderState.EXPIRED, 10_000) == (outcome.state, outcome.qty)
    assert "10000 of 20000 filled" in outcome.reason


def test_a_symbol_that_did_not_trade_fills_nothing() -> None:
    """No bar, no price, no fill."""
    assert (OrderState.EXPIRED, 0, None) == (_match(bar=None).state, _match(bar=None).qty, _match(bar=None).price)


def test_partial_fills_and_rejections_can_be_asked_for() -> None:
    """The exchange misbehaves on purpose, the same way on every retry."""
    assert 50 == _match(partial_rate=Decimal(1)).qty
    order_id = "0123456789abcdef01234567"
    assert reject_reason(order_id, "AAPL", OrderType.MARKET, ExchangeCosts(reject_rate=Decimal(1))) is not None
    assert reject_reason(order_id, "AAPL", OrderType.MARKET, ExchangeCosts()) is None
    assert (
        reject_reason(order_id, "XYZ", OrderType.MARKET, ExchangeCosts(rejected_symbols=frozenset({"XYZ"}))) is not None
    )
    assert reject_reason(order_id, "AAPL", OrderType.STOP, ExchangeCosts()) is not None


@given(qty=st.integers(1, 10**6), volume=st.integers(0, 10**8), side=st.sampled_from(list(Side)))
def test_never_more_than_asked_and_never_more_than_the_share_of_volume(qty: int, volume: int, side: Side) -> None:
    """Fills are bounded by both."""
    bar = OpeningBar(open=Decimal(100), high=Decimal(100), low=Decimal(100), volume=volume)
    outcome = _match(side, qty, bar=bar)
    assert outcome.qty <= min(qty, volume // 100)
    assert (outcome.qty == qty) == (outcome.state is OrderState.FILLED)
