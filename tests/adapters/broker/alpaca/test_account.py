"""Which account is read and traded: the pinned one, when it may, at a time everybody agrees on."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from support.alpaca.bench import Bench, send
from support.alpaca.server import Fault
from support.trading import SESSION

from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import (
    AccountBlocked,
    ClockUnreliable,
    ConfigError,
    ServerUnavailable,
    SessionNotTradable,
    WrongAccount,
)

ACCOUNT, CLOCK = "/v2/account", "/v2/clock"


@pytest.mark.parametrize("verb", ["positions", "open_orders"])
def test_nothing_is_read_from_another_account(verb: str, bench: Bench) -> None:
    """The first request of any kind is for the account itself; another one's orders and positions stay unseen."""
    broker = bench.broker(account_id="somebody-else")
    with pytest.raises(WrongAccount, match=f"{bench.exchange.account_id}.*pinned is somebody-else"):
        getattr(broker, verb)()
    assert [ACCOUNT] == [one.path for one in bench.server.requests]


def test_nothing_is_sent_to_another_account(bench: Bench) -> None:
    """Neither the check before a submission nor the submission itself lets an order through."""
    broker = bench.broker(account_id="somebody-else")
    for attempt in (lambda: broker.require_tradable(SESSION), lambda: send(broker)):
        with pytest.raises(WrongAccount):
            attempt()
    assert [] == bench.exchange.accepted


def test_an_account_may_be_pinned_by_its_number(bench: Bench) -> None:
    """People know the number, the API knows the id: both name the account."""
    bench.broker(account_id=bench.exchange.account_number).require_tradable(SESSION)


@pytest.mark.parametrize("flag", ["trading_blocked", "account_blocked", "trade_suspended_by_user"])
def test_a_blocked_account_takes_no_order(flag: str, bench: Bench) -> None:
    """Each block is named; what the account holds can still be read."""
    bench.exchange.flags[flag] = True
    broker = bench.broker()
    with pytest.raises(AccountBlocked, match=f"{flag} is True"):
        send(broker)
    assert {} == broker.positions()
    assert 0 == bench.server.count("POST", "/v2/orders")


def test_an_account_that_is_not_active_takes_no_order(bench: Bench) -> None:
    """Any status but ACTIVE is a no, also one nobody has heard of."""
    bench.exchange.account_status = "ACCOUNT_UPDATED"
    with pytest.raises(AccountBlocked, match="status ACCOUNT_UPDATED"):
        send(bench.broker())


def test_a_block_is_seen_within_half_a_minute(bench: Bench) -> None:
    """A look is good for 30 seconds, then the account is asked again."""
    broker = bench.broker()
    send(broker)
    bench.exchange.flags["trading_blocked"] = True
    bench.waits.sleep(31)
    with pytest.raises(AccountBlocked):
        broker.require_tradable(SESSION)


def test_wrong_keys_are_configuration(bench: Bench) -> None:
    """A 401 names the variables to look at."""
    with pytest.raises(ConfigError, match="ALPACA_API_KEY_ID"):
        bench.broker(secret="wrong").positions()  # noqa: S106 - not a secret


def test_an_account_that_does_not_answer_is_a_no(bench: Bench) -> None:
    """What is unknown about the account keeps the order from being sent."""
    bench.server.plan_for("GET", ACCOUNT, *[Fault(status=503)] * 9)
    with pytest.raises(ServerUnavailable):
        send(bench.broker())
    assert 0 == bench.server.count("POST", "/v2/orders")


@pytest.mark.parametrize("seconds", [-31, 31])
def test_clocks_half_a_minute_apart_stop_trading(seconds: int, bench: Bench) -> None:
    """Fast or slow, a clock nobody can rely on sends no order."""
    bench.exchange.clock_offset = timedelta(seconds=seconds)
    with pytest.raises(ClockUnreliable, match=r"31\.0 s apart"):
        send(bench.broker())


def test_clocks_a_few_seconds_apart_are_a_warning(bench: Bench) -> None:
    """Beyond two seconds the log says so; up to two it is silent."""
    for seconds, warned in ((3, 1), (2, 0)):
        bench.exchange.clock_offset = timedelta(seconds=seconds)
        with capture_logs() as logs:
            bench.broker().require_tradable(SESSION)
        assert warned == sum(one["log_level"] == "warning" for one in logs)


def test_a_closure_our_calendar_does_not_know_stops_trading(bench: Bench) -> None:
    """When the broker is closed on a day that is a session here, one of the two is wrong."""
    bench.exchange.closed_all_day = True
    with pytest.raises(ClockUnreliable, match="hours are not those of the exchange calendar"):
        send(bench.broker())


def test_only_the_newest_closed_session_is_traded(bench: Bench) -> None:
    """Orders are decided from the session that closed last, whatever day a run is for."""
    broker = bench.broker()
    assert SESSION == broker.current_session
    broker.require_tradable(SESSION)
    with pytest.raises(SessionNotTradable, match="was traded already"):
        broker.require_tradable(xnys().previous(SESSION))
    with pytest.raises(SessionNotTradable, match="has not closed yet"):
        broker.require_tradable(xnys().next(SESSION))
