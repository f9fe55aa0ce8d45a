"""What a rebuilt book still knows of the orders cleared just before it: their duplicates, and the rate they used up."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal

import pytest
import redis
from support.trading import ACCOUNT, ACTION, RUN, Kit, order, trading_kit

from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.core.risk.clearance import Verdict, VerdictCode
from trading_pipeline.core.risk.limits import LimitChange, RiskLimits
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import verify_book

LIMITS = RiskLimits(max_orders_per_minute=4, max_orders_per_second=4)


@pytest.fixture
def slow(database_url: str, redis_url: str) -> Iterator[Kit]:
    """An account of four orders a minute."""
    with trading_kit(database_url, redis_url, limits=LIMITS) as opened:
        yield opened


def _rebuilt(kit: Kit, redis_url: str) -> Kit:
    with closing(connect(redis_url)) as client:
        client.flushall()
    kit.operations.rebuild_risk_book(ACTION)
    assert () == verify_book(kit.account).differences
    return kit


def _ask(kit: Kit, symbol: str, **named: object) -> Verdict:
    """Send one order and do not wait for the guard's rates."""
    verdict = SubmissionService(kit.account, RUN, patience=timedelta(0)).submit(order(symbol, **named)).verdict
    assert verdict is not None
    return verdict


def test_the_same_order_under_another_id_is_a_duplicate_after_a_rebuild(kit: Kit, redis_url: str) -> None:
    """It names the first one, and the wait is what is left of the window by the ledger's clock."""
    first = order("AAPL").intent
    assert _ask(kit, "AAPL").cleared
    kit.clock.advance(50)

    again = _ask(_rebuilt(kit, redis_url), "AAPL", limit_price=Decimal(100))

    assert VerdictCode.DUPLICATE_INTENT is again.code
    assert first.client_order_id in again.detail
    assert again.retry_after_ms is not None
    assert 0 < again.retry_after_ms <= 10_000
    assert _ask(kit, "AAPL", qty=9, limit_price=Decimal(100)).cleared


def test_it_is_none_when_the_window_is_over(kit: Kit, redis_url: str) -> None:
    """A rebuild does not begin it anew."""
    assert _ask(kit, "AAPL").cleared
    kit.clock.advance(61)
    assert _ask(_rebuilt(kit, redis_url), "AAPL", limit_price=Decimal(100)).cleared


def test_a_longer_window_is_read_as_far_back(kit: Kit, redis_url: str) -> None:
    """The account's own, not the usual one."""
    kit.operations.set_risk_limits(RiskLimits(duplicate_window_seconds=600), ACTION)
    assert _ask(kit, "AAPL").cleared
    kit.clock.advance(400)
    assert VerdictCode.DUPLICATE_INTENT is _ask(_rebuilt(kit, redis_url), "AAPL", limit_price=Decimal(100)).code


def test_a_window_that_a_change_hides_for_a_while_is_read_as_far_back(kit: Kit, redis_url: str) -> None:
    """When the change expires, the book must know what the longer window forbids."""
    kit.operations.set_risk_limits(RiskLimits(duplicate_window_seconds=600), ACTION)
    until = kit.clock.now() + timedelta(seconds=300)
    kit.operations.change_risk_limits([LimitChange(limit="duplicate_window_seconds", value=0, until=until)], ACTION)
    assert _ask(kit, "AAPL").cleared
    kit.clock.advance(100)
    _rebuilt(kit, redis_url)
    with closing(redis.Redis.from_url(redis_url)) as raw:
        assert [b"intent:"] == [field[:7] for field in raw.hkeys(book_keys(ACCOUNT).book) if field[:6] == b"intent"]


def test_an_order_that_was_cleared_and_is_over_counts_as_well(kit: Kit, redis_url: str) -> None:
    """Nothing of it is reserved any more; it was asked for all the same."""
    assert _ask(kit, "AAPL").cleared
    assert kit.operations.cancel_all_orders(ACTION).canceled
    assert VerdictCode.DUPLICATE_INTENT is _ask(_rebuilt(kit, redis_url), "AAPL", limit_price=Decimal(100)).code


def test_a_rebuild_fills_no_token_bucket(slow: Kit, redis_url: str) -> None:
    """What was cleared in the last minute, counted by the ledger, is not to be had a second time."""
    for symbol in ("AAPL", "MSFT", "NVDA"):
        assert _ask(slow, symbol).cleared
    slow.clock.advance(10)
    _rebuilt(slow, redis_url)
    assert _ask(slow, "TSLA").cleared

    refused = _ask(slow, "AMZN")

    assert (VerdictCode.ORDERS_PER_MINUTE, 4) == (refused.code, refused.limit)


def test_what_was_cleared_a_minute_ago_is_given_back(slow: Kit, redis_url: str) -> None:
    """Four orders, four more."""
    for symbol in ("AAPL", "MSFT", "NVDA", "TSLA"):
        assert _ask(slow, symbol).cleared
    slow.clock.advance(61)
    _rebuilt(slow, redis_url)
    assert all(_ask(slow, symbol).cleared for symbol in ("AMZN", "META", "GOOG", "NFLX"))
