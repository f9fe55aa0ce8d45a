"""The sensor sweeps a real broker's account, shows what it found, and skips with a reason when there is nothing."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import dagster as dg
import pytest
from support.alpaca.bench import Bench, alpaca_account, alpaca_bench
from support.alpaca.exchange import ACCOUNT_ID
from support.alpaca.server import KEY_ID, SECRET, Fault
from support.trading import RUN, order
from support.trading_resource import trading_resource

from resources import AlpacaTradingResource, TradingResource
from sensors import build_order_sweep, order_sweep
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.submission import SubmissionService


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    """An Alpaca account on loopback."""
    with alpaca_bench(redis_url) as running:
        yield running


@pytest.fixture
def account(
    database_url: str, redis_url: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TradingAccount]:
    """Our account on it, at the bench's time of day; the sensor gets it where it would open one at ours."""
    with alpaca_account(database_url, redis_url, bench) as opened:
        monkeypatch.setattr(order_sweep, "opened_account", lambda _: nullcontext(opened))
        yield opened


def _trading(database_url: str, redis_url: str, lake: Path, url: str | None) -> TradingResource:
    alpaca = url and AlpacaTradingResource(
        key_id=KEY_ID,
        secret=SECRET,
        url=url,
        account_id=ACCOUNT_ID,
        live=False,
        requests_per_minute=200,
        redis_url=redis_url,
    )
    return trading_resource(database_url, redis_url, lake, alpaca=alpaca or None)


def _tick(trading: TradingResource) -> dg.SensorResult | dg.SkipReason:
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        return build_order_sweep(trading)(context)


def test_the_simulated_exchange_is_not_swept(tmp_path: Path) -> None:
    """No server is asked: these are not there."""
    told = _tick(_trading("postgresql://a:b@127.0.0.1:1/c", "redis://127.0.0.1:1/0", tmp_path, None))
    assert "simulated exchange" in told.skip_message


def test_a_ledger_that_is_away_is_a_reason_to_skip(tmp_path: Path) -> None:
    """The account cannot even be opened."""
    nowhere = _trading("postgresql://a:b@127.0.0.1:1/c", "redis://127.0.0.1:1/0", tmp_path, "http://127.0.0.1:1")
    assert "not swept, the next tick does: PostgreSQL did not answer" in _tick(nowhere).skip_message


def test_what_was_found_is_observed_on_fills(
    account: TradingAccount, bench: Bench, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """One observation a find; a tick that finds nothing says how many orders are open."""
    trading = _trading(database_url, redis_url, tmp_path, bench.server.url)
    assert "no order of ours may work" in _tick(trading).skip_message
    sent = SubmissionService(account, RUN).submit_all([order("AAPL"), order("MSFT")])
    assert "0 execution(s) and 0 end(s) found, 2 order(s) open" in _tick(trading).skip_message

    bench.exchange.fill(sent[0].order.client_order_id)
    (found,) = _tick(trading).asset_events
    assert dg.AssetKey("fills") == found.asset_key
    metadata = {name: value.value for name, value in found.metadata.items()}
    assert (1, 10.0) == (metadata["executions_found"], metadata["shares_found"])
    assert ["MSFT"] == [record.data["symbol"] for record in metadata["open_orders"].records]


def test_a_broker_that_is_away_is_a_reason_to_skip(
    account: TradingAccount, bench: Bench, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """And is asked again at the next tick."""
    SubmissionService(account, RUN).submit(order("AAPL"))
    bench.server.plan(*[Fault(status=503)] * 12)
    told = _tick(_trading(database_url, redis_url, tmp_path, bench.server.url))
    assert "not swept, the next tick does" in told.skip_message


def test_the_sensor_runs_from_the_start(tmp_path: Path) -> None:
    """Every 30 seconds."""
    sensor = build_order_sweep(_trading("postgresql://nowhere/c", "redis://nowhere/0", tmp_path, None))
    assert (dg.DefaultSensorStatus.RUNNING, 30) == (sensor.default_status, sensor.minimum_interval_seconds)
