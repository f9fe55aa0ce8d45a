"""Client order ids are the same everywhere and collide for nothing else."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trading import intent

from trading_pipeline.core.orders.ids import client_order_id
from trading_pipeline.core.orders.model import OrderIntent, OrderType, Purpose, Side

FIELDS = {
    "symbol": "AAPL",
    "side": "buy",
    "qty": 10,
    "limit_price": None,
    "stop_price": None,
    "order_type": "market",
    "time_in_force": "day",
    "strategy_id": "alpha_baseline",
    "trade_date": date(2024, 10, 17),
}


def test_the_published_check_value_is_reproduced() -> None:
    """Other implementations must get the same id."""
    assert "1b5445b3d1a61a15f64411be" == client_order_id(**FIELDS)


def test_prices_round_half_up_to_the_tick() -> None:
    """Two decimals from a dollar, four below."""
    assert client_order_id(**FIELDS | {"limit_price": Decimal("10.125")}) == client_order_id(
        **FIELDS | {"limit_price": Decimal("10.13")}
    )
    assert client_order_id(**FIELDS | {"limit_price": Decimal("0.12345")}) != client_order_id(
        **FIELDS | {"limit_price": Decimal("0.1234")}
    )


def test_a_wanted_repeat_has_an_id_of_its_own() -> None:
    """The first order and its repeats do not collide."""
    ids = {client_order_id(**FIELDS, repeat=number) for number in range(5)}
    assert 5 == len(ids)


@given(
    field=st.sampled_from(["symbol", "side", "qty", "order_type", "time_in_force", "strategy_id"]),
    value=st.text(min_size=1),
)
def test_every_field_is_part_of_the_id(field: str, value: str) -> None:
    """Another value, another id; a value that holds the separator is no exception worth a collision."""
    changed = FIELDS | {field: value}
    assert (str(FIELDS[field]) == value) == (client_order_id(**FIELDS) == client_order_id(**changed))


@pytest.mark.parametrize("qty", [0, -1, 1.5, True, "10", None])
def test_quantities_that_are_no_positive_whole_number_are_refused(qty: object) -> None:
    """By the intent itself, before anything can compare them."""
    with pytest.raises(ValueError, match="positive whole number"):
        intent(qty=qty)


def test_a_limit_order_needs_its_price_and_a_market_order_none() -> None:
    """Prices fit the type."""
    base = intent()
    fields = {name: getattr(base, name) for name in base.__slots__}
    with pytest.raises(ValueError, match="does not fit"):
        OrderIntent(**fields | {"order_type": OrderType.LIMIT})
    with pytest.raises(ValueError, match="does not fit"):
        OrderIntent(**fields | {"stop_price": Decimal(1)})


def test_the_digest_tells_payloads_of_one_id_apart() -> None:
    """The account is not part of the id, but it is of the payload."""
    base = intent(side=Side.SELL)
    fields = {name: getattr(base, name) for name in base.__slots__}
    other = OrderIntent(**fields | {"account": "another"})
    assert base.client_order_id == other.client_order_id
    assert base.payload_digest != other.payload_digest


@given(
    field=st.sampled_from(["symbol", "strategy_id"]),
    value=st.text("|0123456789-slice of abcdef", max_size=60),
    qty=st.integers(1, 10**6),
    repeat=st.integers(0, 2**31),
    number=st.integers(1, 1_000),
    parent=st.text("0123456789abcdef", min_size=24, max_size=24),
)
def test_no_other_order_has_the_id_of_a_slice(
    field: str, value: str, qty: int, repeat: int, number: int, parent: str
) -> None:
    """Whatever its fields hold, its id ends with a date or a number, a slice's with its parent."""
    other = client_order_id(**FIELDS | {field: value, "qty": qty}, repeat=repeat)
    assert other != client_order_id(**FIELDS | {"qty": qty}, repeat=number, parent_id=parent)


def test_every_slice_of_every_parent_has_an_id_of_its_own() -> None:
    """Though they are of one symbol, side, size and day."""
    parents, numbers = [f"{one:024x}" for one in range(50)], range(1, 101)
    ids = {client_order_id(**FIELDS, repeat=number, parent_id=parent) for parent in parents for number in numbers}
    assert 5_000 == len(ids)


def test_a_slice_has_a_parent_and_a_number_and_nothing_else_has_a_parent() -> None:
    """Half a slice would be an order that nobody counts."""
    base = intent()
    fields = {name: getattr(base, name) for name in base.__slots__}
    for wrong in (
        {"purpose": Purpose.SLICE},
        {"purpose": Purpose.SLICE, "parent_id": "a" * 24},
        {"parent_id": "a" * 24, "repeat": 1},
    ):
        with pytest.raises(ValueError, match="a slice has a parent and a number from 1"):
            OrderIntent(**fields | wrong)


def test_the_digest_of_an_order_that_is_no_slice_is_what_it_always_was() -> None:
    """Stored digests are compared with it."""
    assert "fc9183847523ed5ca666cf7bb882156cc2d124d6c52f9b402e40aa8cfa10d22d" == intent().payload_digest
