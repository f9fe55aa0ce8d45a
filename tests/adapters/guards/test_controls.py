"""The controls of traffic, price, volume, equity, direction and session, each at its limit and one beyond."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
import redis

from tests.adapters.guards.builders import (
    ACCOUNT,
    EMPTY,
    LIMITS,
    PRICE,
    SESSION,
    ask,
    book_of,
    end,
    fill,
    holding,
)
from tests.adapters.guards.reference import START
from trading_pipeline.adapters.guards.book import SessionCount
from trading_pipeline.adapters.guards.encoding import milliseconds
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import Verdict, VerdictCode
from trading_pipeline.core.risk.halts import TradingState
from trading_pipeline.core.risk.limits import LimitChange, RiskLimits

CLOCK = "local function now_us() return tonumber(redis.call('GET', 'clock')) end"


class Timed:
    """A guard whose clock the test moves."""

    def __init__(self, client: redis.Redis, limits: RiskLimits) -> None:
        self.client = client
        self.guard = RiskGuard(client, ACCOUNT, clock=CLOCK)
        self.seconds = Decimal(0)
        self.wait("0")
        self.guard.rebuild(replace(EMPTY, limits=limits))

    def wait(self, seconds: str) -> None:
        """Let time pass."""
        self.seconds += Decimal(seconds)
        self.client.set("clock", milliseconds(START) * 1000 + int(self.seconds * 1_000_000))


def told(verdict: Verdict) -> tuple[VerdictCode, int | None, int | None]:
    """Return what a refusal says."""
    assert verdict.clearance is None
    return verdict.code, verdict.observed, verdict.limit


def limited(guard: RiskGuard, **limits: object) -> RiskGuard:
    """Give a guard other limits."""
    guard.set_limits(replace(LIMITS, **limits))
    return guard


def test_closed_gate_lets_only_reducing_orders_through(guard: RiskGuard) -> None:
    """Until ledger and broker were seen to agree, the way out alone is open."""
    guard.rebuild(holding(AAPL=100))
    guard.close_gate("AAPL: 100 in the ledger, 90 at the broker")

    verdict = guard.clear(ask("grow"))

    assert VerdictCode.GATE_CLOSED == verdict.code
    assert "AAPL: 100 in the ledger, 90 at the broker" == verdict.detail
    assert (TradingState.REDUCING, VerdictCode.GATE_CLOSED) == (book_of(guard).state, book_of(guard).cause)
    assert guard.clear(ask("reduce", Side.SELL, 100)).cleared
    guard.open_gate("agreed")
    assert guard.clear(ask("grow")).cleared


@pytest.mark.parametrize(
    "lowered",
    [
        {"max_position_shares": 99},
        {"max_position_notional": Decimal(14_999)},
        {"max_gross_notional": Decimal(14_999)},
        {"max_long_notional": Decimal(14_999)},
        {"max_net_notional": Decimal(14_999)},
    ],
)
def test_account_over_a_lowered_limit_only_reduces(guard: RiskGuard, lowered: dict[str, object]) -> None:
    """Not in the symbol alone: an account over any limit of exposure grows nowhere."""
    guard.rebuild(holding(AAPL=100))
    limited(guard, **lowered)

    assert VerdictCode.LIMIT_BREACHED == guard.clear(ask("other", symbol="MSFT", qty=1)).code
    assert (TradingState.REDUCING, VerdictCode.LIMIT_BREACHED) == (book_of(guard).state, book_of(guard).cause)
    assert guard.clear(ask("reduce", Side.SELL, 1)).cleared
    fill(guard, "e1", 1, order="reduce", side=Side.SELL)
    assert guard.clear(ask("other", symbol="MSFT", qty=1)).code is not VerdictCode.LIMIT_BREACHED


def test_short_account_over_a_lowered_limit_only_reduces(guard: RiskGuard) -> None:
    """The same on the other side of zero."""
    guard.rebuild(holding(AAPL=-100))
    limited(guard, max_short_notional=Decimal(14_999))

    assert VerdictCode.LIMIT_BREACHED == guard.clear(ask("other", symbol="MSFT", qty=1)).code
    assert guard.clear(ask("reduce", Side.BUY, 1)).cleared


def test_quarantined_symbol_comes_back_by_itself(client: redis.Redis) -> None:
    """Nothing but a flatten until the end; then everything, without anybody's doing."""
    timed = Timed(client, LIMITS)
    timed.guard.quarantine("AAPL", START + timedelta(seconds=10))

    verdict = timed.guard.clear(ask())

    assert (VerdictCode.SYMBOL_QUARANTINED, 10_000) == (verdict.code, verdict.retry_after_ms)
    assert timed.guard.clear(ask("other", symbol="MSFT")).cleared
    timed.wait("9.999")
    assert VerdictCode.SYMBOL_QUARANTINED == timed.guard.clear(ask()).code
    timed.wait("0.001")
    assert timed.guard.clear(ask()).cleared


def test_quarantine_without_end_lasts_until_its_release(client: redis.Redis) -> None:
    """Time alone does not resolve it."""
    timed = Timed(client, LIMITS)
    timed.guard.quarantine("AAPL", None)
    timed.wait("100000000")

    assert VerdictCode.SYMBOL_QUARANTINED == timed.guard.clear(ask()).code
    timed.guard.release("AAPL")
    assert timed.guard.clear(ask()).cleared


def test_flatten_passes_a_quarantine(guard: RiskGuard) -> None:
    """A person must be able to get out."""
    guard.rebuild(holding(AAPL=100))
    guard.quarantine("AAPL", None)

    assert VerdictCode.SYMBOL_QUARANTINED == guard.clear(ask("reduce", Side.SELL)).code
    assert guard.clear(ask("out", Side.SELL, flatten=True)).cleared


def test_same_order_under_another_id_is_a_duplicate_for_a_while(client: redis.Redis) -> None:
    """Until the window ends; the refusal names the first order and the time to wait."""
    timed = Timed(client, replace(LIMITS, duplicate_window_seconds=60))
    assert timed.guard.clear(ask("first", repeat=0)).cleared
    timed.wait("59.999")

    verdict = timed.guard.clear(ask("second", repeat=0, limit=PRICE))

    assert (VerdictCode.DUPLICATE_INTENT, 59_999, 60_000) == told(verdict)
    assert 1 == verdict.retry_after_ms
    assert "first" in verdict.detail
    timed.wait("0.001")
    assert timed.guard.clear(ask("second", repeat=0, limit=PRICE)).cleared


@pytest.mark.parametrize("other", [{"qty": 101}, {"symbol": "MSFT"}, {"side": Side.SELL}, {"strategy": "other"}])
def test_order_that_differs_is_no_duplicate(guard: RiskGuard, other: dict[str, object]) -> None:
    """Another symbol, side, quantity or strategy is another intent."""
    guard.clear(ask("first", repeat=0))

    assert guard.clear(ask("second", repeat=0, **other)).cleared


def test_wanted_repeat_is_no_duplicate(guard: RiskGuard) -> None:
    """A repeat says its number."""
    guard.clear(ask("first", repeat=0))

    assert VerdictCode.DUPLICATE_INTENT == guard.clear(ask("second", repeat=0)).code
    assert guard.clear(ask("second", repeat=1)).cleared


def test_orders_a_second_are_a_bucket_of_tokens(client: redis.Redis) -> None:
    """A burst up to the limit passes, then one order for each token that has come back; the wait is exact."""
    timed = Timed(client, replace(LIMITS, max_orders_per_second=4))
    for number in range(4):
        assert timed.guard.clear(ask(f"burst-{number}", qty=1)).cleared

    verdict = timed.guard.clear(ask("next", qty=1))

    assert (VerdictCode.ORDERS_PER_SECOND, 5, 4) == told(verdict)
    assert 250 == verdict.retry_after_ms
    timed.wait("0.249")
    assert VerdictCode.ORDERS_PER_SECOND == timed.guard.clear(ask("next", qty=1)).code
    timed.wait("0.001")
    assert timed.guard.clear(ask("next", qty=1)).cleared
    assert VerdictCode.ORDERS_PER_SECOND == timed.guard.clear(ask("again", qty=1)).code


def test_orders_a_minute_bound_what_seconds_allow(client: redis.Redis) -> None:
    """A steady rate within each second still ends at the limit of the minute."""
    timed = Timed(client, replace(LIMITS, max_orders_per_second=2, max_orders_per_minute=3))
    for number in range(3):
        assert timed.guard.clear(ask(f"steady-{number}", qty=1)).cleared
        timed.wait("1")

    verdict = timed.guard.clear(ask("next", qty=1))

    assert (VerdictCode.ORDERS_PER_MINUTE, 3) == (verdict.code, verdict.limit)
    assert 17_000 == verdict.retry_after_ms
    timed.wait("17")
    assert timed.guard.clear(ask("next", qty=1)).cleared


def test_clock_that_goes_back_gives_no_tokens(client: redis.Redis) -> None:
    """Nor does it take the account out of service once it goes on."""
    timed = Timed(client, replace(LIMITS, max_orders_per_second=1))
    assert timed.guard.clear(ask("first", qty=1)).cleared
    timed.wait("-3600")

    assert VerdictCode.ORDERS_PER_SECOND == timed.guard.clear(ask("next", qty=1)).code
    timed.wait("3601")
    assert timed.guard.clear(ask("next", qty=1)).cleared


def test_refused_and_repeated_orders_cost_no_token(client: redis.Redis) -> None:
    """Only what may be sent counts as traffic."""
    timed = Timed(client, replace(LIMITS, max_orders_per_second=2))
    assert timed.guard.clear(ask("first", qty=1)).cleared
    for _ in range(5):
        assert timed.guard.clear(ask("first", qty=1)).cleared
        assert not timed.guard.clear(ask("large", qty=2_001)).cleared

    assert timed.guard.clear(ask("second", qty=1)).cleared


def test_rate_of_nothing_names_no_time_to_wait(guard: RiskGuard) -> None:
    """Waiting would not help."""
    limited(guard, max_orders_per_second=0)

    verdict = guard.clear(ask())

    assert (VerdictCode.ORDERS_PER_SECOND, 1, 0) == told(verdict)
    assert verdict.retry_after_ms is None


def test_symbol_with_limits_of_its_own(guard: RiskGuard) -> None:
    """They hold for that symbol in place of the account's, tighter or wider."""
    own = {"max_order_shares": 10, "max_order_notional": Decimal(1), "max_position_shares": 3_000}
    for name, value in own.items():
        guard.set_limits(LIMITS, [LimitChange(limit=name, value=value, symbol="AAPL")])
        expected = {
            "max_order_shares": VerdictCode.ORDER_SHARES,
            "max_order_notional": VerdictCode.ORDER_NOTIONAL,
            "max_position_shares": VerdictCode.POSITION_NOTIONAL,
        }[name]
        assert expected == guard.clear(ask(qty=1_400)).code
    guard.set_limits(LIMITS, [LimitChange(limit="max_position_notional", value=Decimal(1), symbol="AAPL")])
    assert VerdictCode.POSITION_NOTIONAL == guard.clear(ask(qty=1)).code
    assert guard.clear(ask(symbol="MSFT", qty=100)).cleared


def test_temporary_limit_falls_back_by_itself(client: redis.Redis) -> None:
    """When a change expires the value before holds again, in the script, the totals and the snapshot."""
    timed = Timed(client, LIMITS)
    until = START + timedelta(seconds=30)
    changes = [
        LimitChange(limit="max_position_shares", value=50, until=START + timedelta(seconds=60)),
        LimitChange(limit="max_position_shares", value=2_000, symbol="AAPL", until=until),
    ]
    timed.guard.set_limits(LIMITS, changes)
    assert timed.guard.clear(ask("a", qty=60)).cleared
    assert VerdictCode.POSITION_SHARES == timed.guard.clear(ask("m", symbol="MSFT", qty=60)).code
    timed.wait("30")

    assert VerdictCode.LIMIT_BREACHED == timed.guard.clear(ask("m", symbol="MSFT", qty=1)).code
    assert (1, 50) == (book_of(timed.guard).symbols_over_limits, book_of(timed.guard).limits.max_position_shares)
    timed.wait("30")
    assert timed.guard.clear(ask("m", symbol="MSFT", qty=60)).cleared
    assert LIMITS == book_of(timed.guard).limits


def test_missing_reference_is_a_no(guard: RiskGuard) -> None:
    """No price, no order."""
    assert VerdictCode.REFERENCE_MISSING == guard.clear(ask(price=None)).code
    assert VerdictCode.REFERENCE_MISSING == guard.clear(ask(price=None, limit=PRICE)).code


def test_stale_reference_is_a_no(guard: RiskGuard) -> None:
    """Equal to the largest age passes; one second more, or an age nobody knows, does not."""
    assert (VerdictCode.REFERENCE_STALE, 1_801, 1_800) == told(guard.clear(ask(age=1_801)))
    assert VerdictCode.REFERENCE_STALE == guard.clear(ask(age=None)).code
    assert guard.clear(ask(age=1_800)).cleared


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("direction", [-1, 1])
def test_price_collar(guard: RiskGuard, side: Side, direction: int) -> None:
    """A limit price may be 2 % from the reference, not a tick more, on either side of it."""
    limited(guard, price_collar_bps=200)
    edge = PRICE * 2 // 100

    beyond = guard.clear(ask("beyond", side, limit=PRICE + direction * (edge + 1)))

    assert (VerdictCode.PRICE_COLLAR, edge + 1, edge) == told(beyond)
    assert guard.clear(ask("edge", side, limit=PRICE + direction * edge)).cleared


def test_order_is_worth_its_limit_price_where_that_is_higher(guard: RiskGuard) -> None:
    """The fat-finger limit in dollars looks at the most the order could cost."""
    limited(guard, max_order_notional=Decimal(15_000))

    assert VerdictCode.ORDER_NOTIONAL == guard.clear(ask(qty=100, limit=PRICE + 1)).code
    assert guard.clear(ask(qty=100, limit=PRICE - 1)).cleared


def test_share_of_average_volume(guard: RiskGuard) -> None:
    """Rounded down, equal passes; an unknown volume is a no where the limit is set."""
    limited(guard, max_order_adv_bps=100)

    assert VerdictCode.ADV_MISSING == guard.clear(ask(adv=None)).code
    assert (VerdictCode.ORDER_ADV, 100, 99) == told(guard.clear(ask(adv=9_999)))
    assert guard.clear(ask(adv=10_000)).cleared


def test_share_of_equity(guard: RiskGuard) -> None:
    """The worst-case position against the account's worth; an unknown or negative worth is a no."""
    limited(guard, max_position_equity_bps=1_000)
    guard.clear(ask("first", qty=60, equity=150_000 * 10_000))

    assert VerdictCode.EQUITY_MISSING == guard.clear(ask("next", qty=40, equity=None)).code
    assert VerdictCode.POSITION_EQUITY == guard.clear(ask("next", qty=40, equity=-1)).code
    verdict = guard.clear(ask("next", qty=41, equity=150_000 * 10_000))
    assert (VerdictCode.POSITION_EQUITY, 101 * PRICE, 100 * PRICE) == told(verdict)
    assert guard.clear(ask("next", qty=40, equity=150_000 * 10_000)).cleared


@pytest.mark.parametrize("over", [{"max_position_equity_bps": 999}, {}], ids=["lowered", "poorer"])
def test_beyond_the_share_of_equity_only_reducing_orders_clear_in_the_symbol(
    guard: RiskGuard, over: dict[str, int]
) -> None:
    """Neither one more share nor one that is asked for again; the way out is open even when nobody knows the worth."""
    worth = 150_000 * 10_000
    guard.rebuild(holding(replace(LIMITS, max_position_equity_bps=1_000), AAPL=100))
    assert VerdictCode.POSITION_EQUITY == guard.clear(ask("more", qty=1, equity=worth)).code
    limited(guard, **{"max_position_equity_bps": 1_000} | over)
    worth -= not over

    assert VerdictCode.POSITION_EQUITY == guard.clear(ask("more", qty=1, equity=worth)).code
    assert VerdictCode.POSITION_EQUITY == guard.clear(ask("across", Side.SELL, 200, equity=worth)).code
    assert guard.clear(ask("less", Side.SELL, 1, equity=worth)).cleared
    assert VerdictCode.POSITION_EQUITY == guard.clear(ask("back", qty=1, equity=worth)).code
    assert guard.clear(ask("out", Side.SELL, 99, equity=None)).cleared


def test_long_and_short_have_limits_of_their_own(guard: RiskGuard) -> None:
    """What is short makes no room for what is long."""
    limited(guard, max_long_notional=Decimal(15_000), max_short_notional=Decimal(7_500))
    assert guard.clear(ask("short", Side.SELL, 50, symbol="MSFT")).cleared

    assert (VerdictCode.SHORT_NOTIONAL, 51 * PRICE, 50 * PRICE) == told(
        guard.clear(ask("shorter", Side.SELL, 1, symbol="TSLA"))
    )
    assert (VerdictCode.LONG_NOTIONAL, 101 * PRICE, 100 * PRICE) == told(guard.clear(ask("long", qty=101)))
    assert guard.clear(ask("long", qty=100)).cleared


def test_net_is_judged_in_the_worst_case(guard: RiskGuard) -> None:
    """A pending sell, which may never fill, does not net a buy."""
    limited(guard, max_net_notional=Decimal(15_000))
    assert guard.clear(ask("sell", Side.SELL, 100, symbol="MSFT")).cleared

    assert (VerdictCode.NET_NOTIONAL, 101 * PRICE, 100 * PRICE) == told(guard.clear(ask("buy", qty=101)))
    fill(guard, "e1", 100, order="sell", symbol="MSFT", side=Side.SELL)
    assert guard.clear(ask("buy", qty=101)).cleared


def test_notional_per_session(guard: RiskGuard) -> None:
    """Dollars cleared for one trade session; what ends unfilled gives them back, what filled does not."""
    limited(guard, max_notional_per_session=Decimal(15_000))
    assert guard.clear(ask("first", qty=60)).cleared

    assert (VerdictCode.NOTIONAL_PER_SESSION, 101 * PRICE, 100 * PRICE) == told(guard.clear(ask("next", qty=41)))
    fill(guard, "e1", 20, order="first")
    end(guard, "first")
    assert {SESSION: SessionCount(1, 20 * PRICE)} == book_of(guard).sessions
    assert guard.clear(ask("next", qty=80)).cleared


@pytest.mark.parametrize(
    ("resting", "coming", "meets"),
    [
        (None, None, True),
        (None, PRICE, True),
        (PRICE, None, True),
        (PRICE, PRICE, True),
        (PRICE, PRICE - 100, False),
    ],
)
def test_order_that_would_meet_an_own_one_is_refused(
    guard: RiskGuard, resting: int | None, coming: int | None, *, meets: bool
) -> None:
    """A buy that reaches an own pending sell would trade with oneself; one below it would not."""
    limited(guard, max_self_match_shares=0)
    assert guard.clear(ask("sell", Side.SELL, 30, limit=resting)).cleared

    verdict = guard.clear(ask("buy", Side.BUY, 10, limit=coming))

    assert meets == (VerdictCode.SELF_MATCH == verdict.code)
    assert verdict.cleared or (30, 0) == (verdict.observed, verdict.limit)
    end(guard, "sell")
    assert guard.clear(ask("after", Side.BUY, 10, limit=coming)).cleared


def test_flatten_is_bound_by_no_traffic_or_size(guard: RiskGuard) -> None:
    """Whatever is used up, a person gets out; even without a price, at the one the book has."""
    nothing = replace(
        LIMITS,
        max_order_shares=0,
        max_order_notional=Decimal(0),
        max_orders_per_second=0,
        max_orders_per_minute=0,
        max_orders_per_session=0,
        max_notional_per_session=Decimal(0),
        max_order_adv_bps=0,
        max_position_equity_bps=0,
        max_gross_notional=Decimal(0),
        max_long_notional=Decimal(0),
        max_net_notional=Decimal(0),
    )
    guard.rebuild(holding(nothing, AAPL=100))

    assert guard.clear(ask("out", Side.SELL, 100, price=None, age=None, flatten=True)).cleared


def test_intents_of_earlier_sessions_are_forgotten(client: redis.Redis) -> None:
    """The book does not grow with every order it has ever seen."""
    timed = Timed(client, LIMITS)
    for number in range(5):
        timed.guard.clear(ask(f"order-{number}", qty=number + 1))
    timed.wait("61")
    timed.guard.clear(ask("tomorrow", session=SESSION + timedelta(days=1)))

    intents = [field for field in client.hkeys(f"guard:{{{ACCOUNT}}}:book") if field.startswith("intent:")]
    assert 1 == len(intents)
