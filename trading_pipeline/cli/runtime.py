"""What a command needs around it: servers, a migrated ledger, the Dagster home, and the environment that names them."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from trading_pipeline.adapters.broker.simulated import SimulatedExchange
from trading_pipeline.adapters.broker.watched import WatchedBroker
from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.ledger import Ledger, migrate
from trading_pipeline.adapters.store.prices import opening_bars
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import embedded_servers
from trading_pipeline.instance.home import prepare_dagster_home
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.valuation import Valuation
from trading_pipeline.settings import Settings


@contextmanager
def running_servers(settings: Settings) -> Iterator[dict[str, str]]:
    """Give the environment of a running system.

    Servers that no variable names are started for as long as this is held.
    """
    with ExitStack() as stack:
        database = settings.database_url.get_secret_value() if settings.database_url else None
        redis = settings.redis_url.get_secret_value() if settings.redis_url else None
        if database is None or redis is None:
            urls = stack.enter_context(embedded_servers(settings.pipeline_home.absolute()))
            database, redis = database or urls.database_url, redis or urls.redis_url
        migrate(database)
        environment = prepare_dagster_home(settings.pipeline_home, database, redis) | settings.vendor_environment
        os.environ.update(environment)
        yield environment


@contextmanager
def opened_account(settings: Settings, environment: dict[str, str]) -> Iterator[TradingAccount]:
    """Give the trading account with its ledger, guard and broker connected."""
    lake = Lake(settings.lake_root)
    client = connect(environment["REDIS_URL"])
    exchange = SimulatedExchange(
        environment["DATABASE_URL"], account=settings.account, calendar=xnys(), openings=opening_bars(lake)
    )
    try:
        with Ledger(environment["DATABASE_URL"]) as ledger:
            yield TradingAccount(
                account=settings.account,
                strategy_id=settings.strategy_id,
                ledger=ledger,
                guard=RiskGuard(client, settings.account),
                broker=WatchedBroker(exchange, ledger.monitors, settings.account),
                calendar=xnys(),
                clock=SystemClock(),
                valuation=Valuation.of_lake(lake, settings.capital),
            )
    finally:
        exchange.close()
        client.close()
