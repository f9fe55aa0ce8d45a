"""What a reader does with everything a server can do wrong, seen through the real alpaca-py client."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from support.alpaca.data_api import BARS_PATH
from support.alpaca.server import SECRET, AlpacaServer, Fault

from tests.adapters.alpaca.conftest import NOW, Waits
from trading_pipeline.adapters.alpaca.transport import AlpacaReader
from trading_pipeline.errors import ConfigError, DataQualityError, ServerUnavailable, TransientError

ASKED = {
    "symbols": "AAPL",
    "timeframe": "1Day",
    "start": "2024-06-25T04:00:00+00:00",
    "end": "2024-07-09T04:00:00+00:00",
    "limit": 10_000,
}
PASSING = [
    pytest.param(Fault(status=500, body="<html><h1>oops</h1></html>"), id="500 as HTML"),
    pytest.param(Fault(status=502), id="502 without a body"),
    pytest.param(Fault(status=503, body='{"message": "unavailable"}'), id="503"),
    pytest.param(Fault(status=504, body='{"code": 50410000, "message": "request timed out"}'), id="504"),
    pytest.param(Fault(status=429, body='{"message": "too many requests."}'), id="429 without a reset"),
    pytest.param(Fault(kind="hang"), id="hang"),
    pytest.param(Fault(kind="reset"), id="reset"),
    pytest.param(Fault(kind="drip", after=True), id="an answer that drips"),
    pytest.param(Fault(kind="cut", after=True), id="an answer cut in half"),
]


@pytest.mark.parametrize("fault", PASSING)
def test_a_failure_that_passes_is_asked_again(
    fault: Fault, server: AlpacaServer, make_reader: Callable[..., AlpacaReader], waits: Waits
) -> None:
    """One failure costs one more request and a wait, and the answer is the one of a server that is well."""
    expected = make_reader().get("/stocks/bars", ASKED)
    server.requests.clear()
    server.plan(fault)
    assert expected == make_reader().get("/stocks/bars", ASKED)
    assert [BARS_PATH] * 2 == [path for _, path, _ in server.journal]
    assert 1 == len(waits.waited)


def test_a_failure_that_stays_ends_after_a_bound_number_of_requests(
    server: AlpacaServer, make_reader: Callable[..., AlpacaReader]
) -> None:
    """A server that is down costs six requests, then the last failure is raised."""
    server.plan(*[Fault(status=503)] * 20)
    with pytest.raises(ServerUnavailable, match="503"):
        make_reader().get("/stocks/bars", ASKED)
    assert 6 == len(server.journal)


def test_the_reset_time_of_a_429_is_kept_by_every_process(
    server: AlpacaServer, make_reader: Callable[..., AlpacaReader], waits: Waits
) -> None:
    """The refused reader waits as long as the server says, and the shared budget lets nobody else ask before."""
    reset = NOW + timedelta(seconds=37)
    headers = {"X-RateLimit-Reset": str(int(reset.timestamp()))}
    server.plan(Fault(status=429, body='{"code": 42910000, "message": "rate limit exceeded"}', headers=headers))
    make_reader().get("/stocks/bars", ASKED)
    assert waits.waited[0] == pytest.approx(37, abs=1)


@pytest.mark.parametrize("reset", ["never", "-5", "99999999999999999999", "1"])
def test_a_reset_that_cannot_be_believed_is_not(
    reset: str, server: AlpacaServer, make_reader: Callable[..., AlpacaReader], waits: Waits
) -> None:
    """A reset in the past, in years or in words falls back to a growing wait."""
    server.plan(Fault(status=429, body="{}", headers={"X-RateLimit-Reset": reset}))
    make_reader().get("/stocks/bars", ASKED)
    assert sum(waits.waited) < 60


def test_wrong_credentials_are_named_and_not_asked_again(
    server: AlpacaServer, make_reader: Callable[..., AlpacaReader]
) -> None:
    """A 401 has no code in its body and says which variables to check."""
    with pytest.raises(ConfigError, match="ALPACA_API_KEY_ID"):
        make_reader(secret=SECRET[::-1]).get("/stocks/bars", ASKED)
    assert 1 == len(server.journal)


def test_recent_consolidated_data_without_a_subscription_names_the_feed(
    server: AlpacaServer, make_reader: Callable[..., AlpacaReader]
) -> None:
    """The data API's 403 carries only a message."""
    with pytest.raises(ConfigError, match="ALPACA_DATA_FEED"):
        make_reader().get("/stocks/bars", {**ASKED, "feed": "sip", "end": NOW.isoformat()})


@pytest.mark.parametrize("fault", [Fault(kind="garbage"), Fault(status=400, body='{"message": "invalid limit"}')])
def test_an_answer_that_will_not_change_is_not_asked_for_again(
    fault: Fault, server: AlpacaServer, make_reader: Callable[..., AlpacaReader]
) -> None:
    """A refused request and an answer that is no JSON are errors of the request."""
    server.plan(fault)
    with pytest.raises(DataQualityError):
        make_reader().get("/stocks/bars", ASKED)
    assert 1 == len(server.journal)


def test_a_used_up_budget_waits_and_then_gives_up_with_the_wait(
    make_reader: Callable[..., AlpacaReader], server: AlpacaServer
) -> None:
    """Two readers share one bucket: the second gets no place within its patience, and the server is not asked."""
    make_reader(per_minute=1).get("/stocks/bars", ASKED)
    with pytest.raises(TransientError, match="budget is used up"):
        make_reader(per_minute=1).get("/stocks/bars", ASKED)
    assert 1 == len(server.journal)
