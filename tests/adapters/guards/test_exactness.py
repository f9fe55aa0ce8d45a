"""Numbers at the door: what is not whole, positive and exact is never compared with a limit."""

from dataclasses import replace
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters.guards.builders import EMPTY, LIMITS, ask, end, fill, hold, holding
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.errors import TradingHalted

LARGEST = 2**53 - 1
NOT_WHOLE = [0, -1, 2**53, 1.0, 1.5, float("nan"), float("inf"), Decimal(1), True, "1", None]
FACTS = ("reference_ticks", "reference_age_seconds", "adv_shares")
BOUNDLESS = replace(
    LIMITS,
    max_long_notional=Decimal(LARGEST) / 10_000,
    max_short_notional=Decimal(LARGEST) / 10_000,
    max_net_notional=Decimal(LARGEST) / 10_000,
    max_notional_per_session=Decimal(LARGEST) / 10_000,
    max_position_shares=LARGEST,
    max_position_notional=Decimal(LARGEST) / 10_000,
    max_gross_notional=Decimal(LARGEST) / 10_000,
    max_order_shares=LARGEST,
    max_order_notional=Decimal(LARGEST) / 10_000,
)


@pytest.mark.parametrize("number", NOT_WHOLE, ids=repr)
@pytest.mark.parametrize("field", ["qty", *FACTS])
def test_request_with_no_whole_number_is_refused(guard: RiskGuard, field: str, number) -> None:
    """Such a request is a mistake of the caller, and nothing is reserved for it."""
    if field in FACTS and (number is None or (number == 0 and type(number) is int and field != "reference_ticks")):
        return  # unknown is a verdict of its own, and nothing is a possible age or volume
    change = {field: number} if field == "qty" else {"market": replace(ask().market, **{field: number})}
    with pytest.raises(ValueError, match=field):
        guard.clear(replace(ask(), **change))

    book = guard.snapshot()
    assert book is not None
    assert {} == book.reservations


@pytest.mark.parametrize(
    ("field", "number"),
    [
        *product(
            ("limit_ticks", "equity_ticks", "repeat", "epoch", "min_sequence"),
            (2**53, -(2**53), 1.5, float("nan"), float("-inf"), Decimal(1), True, "1"),
        ),
        # An account may owe more than it has; nothing else is below zero, and no price is nothing.
        *product(("limit_ticks", "repeat", "epoch", "min_sequence"), (-1,)),
        ("limit_ticks", 0),
    ],
)
def test_no_other_number_of_a_request_stands_for_one_that_is_missing(guard: RiskGuard, field: str, number) -> None:
    """A limit price of -1 would be an order at any price, and an equity of -2**53 one that is not known."""
    of_market = field == "equity_ticks"
    change = {"market": replace(ask().market, **{field: number})} if of_market else {field: number}
    before = guard.snapshot()

    with pytest.raises(ValueError, match=field):
        guard.clear(replace(ask(), **change))

    assert before == guard.snapshot()


@pytest.mark.parametrize("field", ["client_order_id", "payload_digest", "symbol"])
def test_request_with_an_empty_text_is_refused(guard: RiskGuard, field: str) -> None:
    """An order without a name could be anybody's."""
    with pytest.raises(ValueError, match=field):
        guard.clear(replace(ask(), **{field: " "}))


@pytest.mark.parametrize("bad", ["A\0", "\x1bA", "A\x7f", "A\u200b", "A" * 256], ids=repr)
@pytest.mark.parametrize("field", ["client_order_id", "payload_digest", "symbol", "strategy_id"])
def test_name_that_nobody_can_read_or_no_record_holds_is_refused(guard: RiskGuard, field: str, bad: str) -> None:
    """By name, before anything is asked: two names that look the same are no two orders."""
    before = guard.snapshot()

    with pytest.raises(ValueError, match=f"{field} must be printable and of at most 255 bytes"):
        guard.clear(replace(ask(), **{field: bad}))

    assert before == guard.snapshot()


@pytest.mark.parametrize("bad", ["A\0", "A" * 256])
def test_no_verb_takes_such_a_name(guard: RiskGuard, bad: str) -> None:
    """Nor does a fill, an end, a block or a book to rebuild."""
    for verb in (
        lambda: fill(guard, bad, 1),
        lambda: fill(guard, "e1", 1, order=bad),
        lambda: fill(guard, "e1", 1, symbol=bad),
        lambda: end(guard, bad),
        lambda: guard.block(bad),
        lambda: guard.quarantine(bad, None),
        lambda: guard.rebuild(holding(**{bad: 1})),
        lambda: guard.rebuild(replace(EMPTY, reservations=(hold(ask(bad)),))),
    ):
        with pytest.raises(ValueError, match="must be printable"):
            verb()


@pytest.mark.parametrize("field", ["payload_digest", "symbol"])
def test_request_with_more_than_a_word_is_refused(guard: RiskGuard, field: str) -> None:
    """A space would make other words of a reservation out of it."""
    with pytest.raises(ValueError, match=field):
        guard.clear(replace(ask(), **{field: "A B"}))


@pytest.mark.parametrize(
    ("field", "number"),
    [("price_ticks", number) for number in NOT_WHOLE]
    + [("qty", number) for number in NOT_WHOLE if number != Decimal(1) or type(number) is not Decimal]
    + [("qty", Decimal(text)) for text in ("0", "-0.5", "1E-10", "NaN", "Infinity", "9007199254740992")],
    ids=repr,
)
def test_fill_with_no_whole_number_is_refused(guard: RiskGuard, field: str, number) -> None:
    """A fill that cannot be counted exactly moves nothing."""
    fill = {"qty": 1, "price_ticks": 1} | {field: number}

    with pytest.raises(ValueError, match=field):
        guard.post(epoch=1, min_sequence=0, client_order_id="o", execution_id="e", symbol="AAPL", side=Side.BUY, **fill)

    book = guard.snapshot()
    assert book is not None
    assert {} == book.symbols


@pytest.mark.parametrize(
    "change",
    [
        {"max_order_shares": 1.5},
        {"max_order_shares": 2**53},
        {"max_order_notional": Decimal("0.00005")},
        {"max_gross_notional": Decimal(2**53)},
        {"max_position_notional": 1e5},
        {"max_order_shares": -1},
        {"max_order_shares": float("nan")},
        {"max_order_shares": float("inf")},
        {"max_order_notional": Decimal(-1)},
        {"max_order_notional": Decimal("NaN")},
        {"max_order_notional": Decimal("Infinity")},
    ],
    ids=repr,
)
def test_limit_that_is_not_exact_is_refused(guard: RiskGuard, change: dict[str, object]) -> None:
    """A limit is not rounded to something its author did not write."""
    with pytest.raises(ValueError, match=next(iter(change))):
        guard.set_limits(replace(LIMITS, **change))

    book = guard.snapshot()
    assert book is not None
    assert LIMITS == book.limits


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(qty=st.integers(1, LARGEST), price=st.integers(1, LARGEST))
def test_product_beyond_2_to_53_never_clears(guard: RiskGuard, qty: int, price: int) -> None:
    """Under limits as large as can be, an order clears exactly when its notional is an exact number."""
    guard.rebuild(replace(EMPTY, limits=BOUNDLESS))

    verdict = guard.clear(ask(qty=qty, price=price))

    assert (qty * price <= LARGEST) == verdict.cleared
    book = guard.snapshot()
    assert book is not None
    assert (qty * price if verdict.cleared else 0) == book.gross_ticks


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(2**40, LARGEST - 1))
def test_comparison_is_exact_to_the_last_unit(guard: RiskGuard, limit: int) -> None:
    """Neither the way to Redis nor Lua rounds a large number: one unit more than the limit is refused."""
    exact = replace(BOUNDLESS, max_order_notional=Decimal(limit) / 10_000)
    guard.rebuild(replace(EMPTY, limits=exact))

    over = guard.clear(ask("over", qty=1, price=limit + 1))

    assert (VerdictCode.ORDER_NOTIONAL, limit + 1, limit) == (over.code, over.observed, over.limit)
    assert guard.clear(ask("equal", qty=1, price=limit)).cleared


def test_reducing_order_is_no_way_around_exactness(guard: RiskGuard) -> None:
    """A total that cannot be held exactly is refused even where the gross limit is waived."""
    guard.rebuild(replace(EMPTY, limits=BOUNDLESS, positions={"AAPL": 2**50}, marks={"AAPL": 1}))

    assert VerdictCode.GROSS_NOTIONAL == guard.clear(ask(side=Side.SELL, qty=1, price=8)).code
    assert guard.clear(ask(side=Side.SELL, qty=1, price=7)).cleared


def test_fill_that_takes_the_book_beyond_2_to_53_changes_nothing(guard: RiskGuard) -> None:
    """What cannot be counted exactly is an error, and the book stays whole."""
    guard.clear(ask(qty=1))
    before = guard.snapshot()

    with pytest.raises(TradingHalted, match="out of range"):
        guard.post(
            epoch=1,
            min_sequence=0,
            client_order_id="o",
            execution_id="e",
            qty=LARGEST,
            symbol="AAPL",
            side=Side.BUY,
            price_ticks=1,
        )

    assert before == guard.snapshot()
