"""How a large order is cut into slices: nothing lost, as even as can be, within the session, the same every time."""

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trading_pipeline.core.orders.model import OrderIntent, Side
from trading_pipeline.core.orders.rules import CLOSING_CUT, window
from trading_pipeline.core.orders.twap import (
    SHORTEST_INTERVAL,
    TwapPlan,
    TwapRequest,
    WarningCode,
    WhenLate,
    plan_twap,
    spread,
)
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import OperatorError, SessionNotTradable

DAY, HALF_DAY = date(2023, 9, 5), date(2023, 11, 24)
OPEN = datetime(2023, 9, 5, 13, 30, tzinfo=UTC)
REQUEST = TwapRequest(account="test", strategy_id="tested", symbol="AAPL", side=Side.BUY, qty=1_000, minutes=60)
PLENTY = 100_000_000


def plan(*, session: date = DAY, now: datetime | None = None, adv_shares: int = PLENTY, **asked: object) -> TwapPlan:
    """Plan a request at the open, or at another instant."""
    at = now or xnys().open_at(session)
    request = replace(REQUEST, **asked)
    return plan_twap(request, trade_session=session, now=at, adv_shares=adv_shares, calendar=xnys())


def codes(planned: TwapPlan) -> set[WarningCode]:
    """Return what a plan warns of."""
    return {one.code for one in planned.warnings}


REQUESTS = st.fixed_dictionaries(
    {
        "qty": st.integers(1, 1_000_000),
        "minutes": st.integers(1, 600),
        "slices": st.none() | st.integers(1, 500),
        "max_adv_bps": st.integers(1, 500),
        "max_volume_bps": st.none() | st.integers(1, 10_000),
        "min_slice_shares": st.integers(1, 200),
        "side": st.sampled_from(Side),
        "symbol": st.sampled_from(["AAPL", "BRK.B"]),
    }
)


@given(
    asked=REQUESTS,
    session=st.sampled_from([DAY, HALF_DAY]),
    seconds=st.integers(-20_000, 23_000),
    start=st.none() | st.integers(-20_000, 23_000),
    adv=st.integers(1_000, 200_000_000),
)
def test_a_plan_loses_no_share_and_keeps_its_caps_its_order_and_its_session(
    asked: dict[str, object], session: date, seconds: int, start: int | None, adv: int
) -> None:
    """Whatever is asked, at whatever time: or it is refused by name."""
    opened = xnys().open_at(session)
    now = opened + timedelta(seconds=seconds)
    if start is not None:
        asked = asked | {"start": opened + timedelta(seconds=start)}
    try:
        planned = plan(session=session, now=now, adv_shares=adv, **asked)
    except (SessionNotTradable, OperatorError):
        assume(False)
        raise
    shares = [one.qty for one in planned.slices]
    times = [one.due_at for one in planned.slices]
    request = planned.request
    assert request.qty == sum(shares) + planned.unplanned
    assert max(shares) - min(shares) <= 1
    assert max(shares) <= planned.max_slice_shares <= adv * request.max_adv_bps // 10_000
    assert min(shares) >= min(request.min_slice_shares, request.qty)
    assert (planned.unplanned > 0) == (WarningCode.CAP_HIT in codes(planned))
    assert list(range(1, len(shares) + 1)) == [one.number for one in planned.slices]
    assert times == sorted(set(times))
    assert all(later - earlier == planned.interval for earlier, later in pairwise(times))
    assert len(times) == 1 or planned.interval >= SHORTEST_INTERVAL
    assert max(now, opened) <= times[0]
    assert times[-1] < xnys().close_at(session) - CLOSING_CUT
    assert {UTC} == {at.tzinfo for at in times}
    assert (len(shares) < (request.slices or request.minutes)) == (WarningCode.FEWER_SLICES in codes(planned))
    random.seed(now.timestamp())
    assert planned == plan(session=session, now=now, adv_shares=adv, **asked)


@given(shares=st.integers(0, 10**9), count=st.integers(1, 300), parent=st.text("0123456789abcdef", min_size=24))
def test_the_spread_is_even_to_a_share_and_the_same_every_time(shares: int, count: int, parent: str) -> None:
    """For any id."""
    parts = spread(shares, count, parent)
    assert (shares, count) == (sum(parts), len(parts))
    assert max(parts) - min(parts) <= 1
    assert parts == spread(shares, count, parent)


def test_who_gets_the_odd_shares_depends_on_the_parent() -> None:
    """Of a hundred parents every slice gets the odd share sometimes, and none nearly always."""
    got = [0] * 10
    for number in range(1_000):
        for at, qty in enumerate(spread(103, 10, f"{number:024x}")):
            got[at] += qty - 10
    assert 3_000 == sum(got)
    assert all(200 < one < 400 for one in got)


def test_a_known_plan_stays_what_it_is() -> None:
    """Plans are stored, but a retry must draw the same: the generator may not change."""
    assert "481636a81f9c6e8d8f47afcc" == plan().parent_id
    assert [26, 25, 25, 26, 25, 26, 25, 25] == spread(203, 8, "a" * 24)


def test_a_plan_ends_before_the_closing_auction_of_a_half_day() -> None:
    """Slices of an afternoon that is none are clipped, with the times."""
    planned = plan(session=HALF_DAY, now=datetime(2023, 11, 24, 17, 0, tzinfo=UTC), minutes=120, slices=10)
    assert {WarningCode.HORIZON_CLIPPED} == codes(planned)
    assert timedelta(minutes=5) == planned.interval
    assert datetime(2023, 11, 24, 17, 45, tzinfo=UTC) == planned.slices[-1].due_at
    assert "until 12:50:00 New York time" in planned.warnings[0].message


def test_a_plan_made_before_the_open_begins_with_it() -> None:
    """Without a start nothing is clipped: the horizon is the first hour."""
    planned = plan(now=datetime(2023, 9, 5, 9, 0, tzinfo=UTC), slices=6)
    assert set() == codes(planned)
    assert [OPEN + at * timedelta(minutes=10) for at in range(6)] == [one.due_at for one in planned.slices]


def test_a_start_that_has_passed_leaves_the_rest_of_the_horizon() -> None:
    """It ends when it would have ended."""
    planned = plan(now=OPEN + timedelta(minutes=45), start=OPEN, slices=3)
    assert {WarningCode.PAST_START} == codes(planned)
    assert [OPEN + timedelta(minutes=minute) for minute in (45, 50, 55)] == [one.due_at for one in planned.slices]


@pytest.mark.parametrize(
    ("now", "start"),
    [
        pytest.param(OPEN + timedelta(hours=2), OPEN, id="horizon over"),
        pytest.param(datetime(2023, 9, 5, 19, 50, tzinfo=UTC), None, id="at the cut of the closing auction"),
        pytest.param(datetime(2023, 9, 5, 21, 0, tzinfo=UTC), None, id="after the close"),
        pytest.param(OPEN, datetime(2023, 9, 6, 14, 0, tzinfo=UTC), id="another day"),
    ],
)
def test_no_time_left_is_refused_with_the_times(now: datetime, start: datetime | None) -> None:
    """Nothing is moved to another session."""
    with pytest.raises(SessionNotTradable, match=r"no time is left for AAPL: .* from 09:30:00 until 15:50:00 New York"):
        plan(now=now, start=start)


def test_the_cap_by_average_volume_leaves_shares_unplanned_and_says_how_many() -> None:
    """One percent of 5,000 a slice, three slices."""
    planned = plan(qty=1_000, slices=3, adv_shares=5_000)
    assert [50, 50, 50] == [one.qty for one in planned.slices]
    assert 850 == planned.unplanned
    assert ["a slice may have 50 shares at most: 850 of 1,000 shares remain unplanned"] == [
        one.message for one in planned.warnings
    ]


def test_the_cap_by_traded_volume_is_that_of_an_interval_of_an_average_day() -> None:
    """An hour in six slices is 1/39 of the day each: 10 % of 39,000 / 39 is 100 shares."""
    planned = plan(qty=1_000, slices=6, adv_shares=39_000, max_volume_bps=1_000)
    assert (100, 400) == (planned.max_slice_shares, planned.unplanned)


def test_an_order_of_fewer_shares_than_a_slice_must_have_is_one_slice() -> None:
    """It cannot be cut."""
    planned = plan(qty=7, min_slice_shares=10)
    assert [7] == [one.qty for one in planned.slices]
    assert {WarningCode.FEWER_SLICES} == codes(planned)


def test_a_cap_below_the_least_slice_is_refused_with_both() -> None:
    """No room for any slice."""
    with pytest.raises(OperatorError, match=r"may have 50 shares at most, fewer than the 100 it must have"):
        plan(adv_shares=5_000, min_slice_shares=100)


@pytest.mark.parametrize(
    "wrong",
    [
        {"qty": 0},
        {"qty": 1.5},
        {"minutes": 0},
        {"slices": 0},
        {"slices": 1_001},
        {"max_adv_bps": 0},
        {"max_volume_bps": 10_001},
        {"min_slice_shares": 0},
        {"grace_seconds": -1},
        {"repeat": -1},
    ],
)
def test_numbers_that_make_no_sense_are_named(wrong: dict[str, object]) -> None:
    """By the request itself."""
    (name,) = wrong
    with pytest.raises(OperatorError, match="shares" if name == "qty" else name):
        replace(REQUEST, **wrong)


def test_a_start_without_time_zone_is_refused() -> None:
    """It could be any of two dozen instants."""
    with pytest.raises(OperatorError, match="no time zone"):
        replace(REQUEST, start=datetime(2023, 9, 5, 10, 0))  # noqa: DTZ001 - the point


def test_a_repeated_request_has_the_same_id_and_another_digest_only_if_it_asks_for_something_else() -> None:
    """The time of asking is no part of either; a wanted repeat has an id of its own."""
    early, late = plan(), plan(now=OPEN + timedelta(hours=1))
    other = replace(REQUEST, when_late=WhenLate.EXPIRE)
    assert early.parent_id == late.parent_id == other.parent_id(DAY)
    assert early.request.digest == late.request.digest != other.digest
    assert early.parent_id != replace(REQUEST, repeat=1).parent_id(DAY)


def test_slices_lie_where_day_orders_are_taken() -> None:
    """The window of the orders they become."""
    planned = plan(session=HALF_DAY, minutes=600)
    intent = OrderIntent(
        account="test",
        strategy_id="tested",
        session=xnys().previous(HALF_DAY),
        trade_session=HALF_DAY,
        symbol="AAPL",
        side=Side.BUY,
        qty=1,
        reference=None,
    )
    since, until = window(intent, xnys())
    assert all(since <= one.due_at < until for one in planned.slices)
