"""The sensor looks while the exchange is open, trips for real, and says so when it cannot look."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from support.trading import ACCOUNT, RUN, SESSION, Kit, order, trading_kit
from support.trading_resource import trading_resource

from resources import TradingResource
from sensors import build_risk_monitor
from trading_pipeline.core.clock import FixedClock
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService

OPEN = datetime(2024, 7, 3, 16, 0, tzinfo=UTC)
AFTER_THE_HALF_DAY = datetime(2024, 7, 3, 17, 30, tzinfo=UTC)
NEXT = xnys().next(SESSION)


@pytest.fixture
def kit(database_url: str, redis_url: str) -> Iterator[Kit]:
    """An account with a book."""
    with trading_kit(database_url, redis_url) as opened:
        yield opened


def _tick(trading: TradingResource, at: datetime = OPEN, cursor: str | None = None) -> object:
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance=instance, cursor=cursor) as context,
    ):
        return build_risk_monitor(trading, FixedClock(at)).evaluate_tick(context)


def _metadata(tick: object) -> dict[str, object]:
    (event,) = tick.asset_events
    return {name: value.value for name, value in event.metadata.items()}


@pytest.mark.parametrize("at", [AFTER_THE_HALF_DAY, datetime(2024, 7, 4, 16, 0, tzinfo=UTC)])
def test_nothing_is_opened_while_the_exchange_is_closed(at: datetime, tmp_path: Path) -> None:
    """Half days and holidays count: no server is asked, these are not there."""
    nowhere = trading_resource("postgresql://a:b@127.0.0.1:1/c", "redis://127.0.0.1:1/0", tmp_path)
    assert "closed" in _tick(nowhere, at).skip_message


def test_a_position_without_a_price_trips_and_the_next_order_is_refused(
    kit: Kit, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The lake of this account is empty: what it is worth is unknown, and that is not zero."""
    SubmissionService(kit.account, RUN).submit(order())
    settle(kit.account, NEXT)
    trading = trading_resource(database_url, redis_url, tmp_path)
    tick = _tick(trading)
    metadata = _metadata(tick)
    assert Breaker.TRIPPED is kit.ledger.books.get(ACCOUNT).breaker
    assert "tripped the breaker now: daily_loss: unknown" in str(metadata["monitor"])
    assert str(metadata["trading_state"]).startswith("reducing: breaker_tripped")
    refused = SubmissionService(kit.account, RUN).submit(order("MSFT", session=NEXT)).verdict
    assert refused is not None
    assert VerdictCode.BREAKER_TRIPPED is refused.code


def test_a_tick_in_which_nothing_changed_costs_no_look(
    kit: Kit, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Until something does, or five minutes are over."""
    trading = trading_resource(database_url, redis_url, tmp_path)
    cursor = _tick(trading).cursor
    again = _tick(trading, OPEN.replace(minute=4), cursor)
    assert ([], True) == (list(again.asset_events), "nothing has changed" in again.skip_message)
    assert 1 == len(_tick(trading, OPEN.replace(minute=5), cursor).asset_events)
    SubmissionService(kit.account, RUN).submit(order())
    assert 1 == len(_tick(trading, OPEN.replace(minute=1), cursor).asset_events)


def test_a_ledger_that_is_away_is_a_reason_and_an_alert_when_it_is_back(
    kit: Kit, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The alert cannot be written while its table is away: the cursor remembers."""
    away = trading_resource("postgresql://a:b@127.0.0.1:1/c", redis_url, tmp_path)
    skipped = _tick(away)
    assert "could not look: PostgreSQL did not answer" in skipped.skip_message
    assert [] == kit.ledger.alerts.latest()

    _tick(trading_resource(database_url, redis_url, tmp_path), OPEN.replace(minute=1), skipped.cursor)
    alert = next(row for row in kit.ledger.alerts.latest() if row["kind"] == "monitor_away")
    assert OPEN.isoformat() == alert["detail"]["since"]
    assert "PostgreSQL" in alert["message"]


def test_a_redis_that_is_away_is_a_reason_and_an_alert_at_once(
    kit: Kit, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The rules that need no book are judged all the same."""
    tick = _tick(trading_resource(database_url, "redis://127.0.0.1:1/0", tmp_path))
    assert "Redis" in tick.skip_message
    assert ["monitor_away"] == [row["kind"] for row in kit.ledger.alerts.latest() if row["kind"] == "monitor_away"]
    assert any(row["rule"] == "drawdown" for row in _rows(_metadata(tick)["distance_to_limits"]))


def _rows(shown: object) -> list[dict[str, object]]:
    return [record.data for record in shown.records]


def test_the_sensor_runs_from_the_start(tmp_path: Path) -> None:
    """A monitor that waits to be switched on is none."""
    risk_monitor = build_risk_monitor(trading_resource("postgresql://nowhere/c", "redis://nowhere/0", tmp_path))
    assert (dg.DefaultSensorStatus.RUNNING, 30) == (risk_monitor.default_status, risk_monitor.minimum_interval_seconds)
