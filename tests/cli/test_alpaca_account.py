"""Commands and definitions on an Alpaca account, as the settings describe it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest
from structlog.testing import capture_logs
from support.alpaca.exchange import PaperExchange
from support.alpaca.server import KEY_ID, SECRET, AlpacaServer, alpaca_server
from support.alpaca.trading_api import TradingApi

from trading_pipeline.adapters.store.ledger import migrate
from trading_pipeline.cli.runtime import check_account, opened_account
from trading_pipeline.definitions import build_resources
from trading_pipeline.errors import AccountBlocked, WrongAccount
from trading_pipeline.settings import Settings


@pytest.fixture
def exchange() -> PaperExchange:
    """An account that holds three shares."""
    account = PaperExchange(now=lambda: datetime.now(UTC), prices={"AAPL": Decimal(100)})
    account.buy_elsewhere("AAPL", Decimal(3))
    return account


@pytest.fixture
def server(exchange: PaperExchange) -> Iterator[AlpacaServer]:
    """Its server."""
    with alpaca_server(application=TradingApi(exchange)) as running:
        yield running


@pytest.fixture
def environment(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a run finds in its environment."""
    migrate(database_url)
    named = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "ALPACA_API_KEY_ID": KEY_ID,
        "ALPACA_API_SECRET_KEY": SECRET,
    }
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    return named


def configured(home: Path, server: AlpacaServer, account_id: str) -> Settings:
    """Send orders to this server's account."""
    return Settings(
        _env_file=None,
        pipeline_home=home,
        dry_run=False,
        account="paper",
        alpaca_api_key_id=KEY_ID,
        alpaca_api_secret_key=SECRET,
        alpaca_base_url=server.url,
        alpaca_account_id=account_id,
    )


def test_commands_open_the_account(
    tmp_path: Path, server: AlpacaServer, exchange: PaperExchange, environment: dict[str, str]
) -> None:
    """The broker of every command is the pinned account, and its log says which kind it is."""
    settings = configured(tmp_path, server, exchange.account_id)
    with capture_logs() as logs, opened_account(settings, environment) as account:
        assert ("Alpaca paper account", {"AAPL": Decimal(3)}) == (account.broker.name, account.broker.positions())
    assert ["orders go to the Alpaca paper account"] == [one["event"] for one in logs]


def test_runs_open_the_account(
    tmp_path: Path, server: AlpacaServer, exchange: PaperExchange, environment: dict[str, str]
) -> None:
    """So does the resource of the definitions, with keys it reads when it is opened."""
    assert environment
    trading = build_resources(configured(tmp_path, server, exchange.account_id))["trading"]
    with dg.build_resources({"trading": trading}) as opened:
        assert {"AAPL": Decimal(3)} == opened.trading.account.broker.positions()


def test_nothing_starts_on_another_or_a_blocked_account(
    tmp_path: Path, server: AlpacaServer, exchange: PaperExchange, environment: dict[str, str]
) -> None:
    """What serves the schedules looks at the account first."""
    check_account(configured(tmp_path, server, exchange.account_id), environment)
    with pytest.raises(WrongAccount):
        check_account(configured(tmp_path, server, "another"), environment)
    exchange.flags["trading_blocked"] = True
    with pytest.raises(AccountBlocked):
        check_account(configured(tmp_path, server, exchange.account_id), environment)
