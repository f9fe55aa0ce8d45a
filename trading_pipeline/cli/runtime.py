"""What a command needs around it: servers, a migrated ledger, the Dagster home, and the environment that names them."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog

from trading_pipeline.adapters.alpaca.websocket import StreamConfig
from trading_pipeline.adapters.broker.protocol import Broker
from trading_pipeline.adapters.broker.simulated import SimulatedExchange
from trading_pipeline.adapters.broker.watched import WatchedBroker
from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.market_data.kept_quotes import KeptQuotes
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.ledger import Ledger, migrate
from trading_pipeline.adapters.store.prices import opening_bars
from trading_pipeline.core.pricing import PriceSource
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import embedded_servers
from trading_pipeline.errors import TransientError
from trading_pipeline.instance.home import prepare_dagster_home
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.inbox import Reads
from trading_pipeline.services.prices import market_prices
from trading_pipeline.services.reconciliation import start
from trading_pipeline.services.valuation import Valuation
from trading_pipeline.services.volumes import MinuteVolumes, VolumeSource
from trading_pipeline.settings import Settings

if TYPE_CHECKING:
    from trading_pipeline.adapters.broker.alpaca.broker import AlpacaBroker
    from trading_pipeline.adapters.broker.alpaca.stream import AlpacaStream
    from trading_pipeline.adapters.market_data.alpaca import AlpacaBars
    from trading_pipeline.adapters.market_data.alpaca.opening import AlpacaDataConfig
    from trading_pipeline.adapters.market_data.alpaca.quote_stream import AlpacaQuoteStream

log = structlog.get_logger(__name__)


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
    try:
        with (
            Ledger(environment["DATABASE_URL"]) as ledger,
            _opened_broker(settings, environment, lake) as broker,
            _opened_prices(settings, environment, lake) as prices,
        ):
            yield TradingAccount(
                account=settings.account,
                strategy_id=settings.strategy_id,
                ledger=ledger,
                guard=RiskGuard(client, settings.account),
                broker=WatchedBroker(broker, ledger.monitors, settings.account),
                calendar=xnys(),
                clock=SystemClock(),
                valuation=Valuation.of_lake(lake, settings.capital),
                prices=prices,
                window=settings.submission_window,
            )
    finally:
        client.close()


def check_account(settings: Settings, environment: dict[str, str]) -> None:
    """Look at the broker's account before anything is started that may send orders to it.

    A broker that does not answer keeps nothing from starting: the account is looked at again before every order.

    Raises:
        ConfigError: it is another account than the pinned one, or one that may not trade.
    """
    if settings.dry_run:
        return
    with _opened_alpaca(settings, environment) as broker:
        try:
            broker.require_ready()
        except TransientError as away:
            log.warning("the account could not be looked at; no order is sent before it was", reason=str(away))


def start_account(settings: Settings, environment: dict[str, str]) -> None:
    """Record the start of the system and reconcile: until that has succeeded only reducing orders clear."""
    with opened_account(settings, environment) as account:
        record_start(account, "the system")


def record_start(account: TradingAccount, process: str) -> None:
    """Record the start of a process that sends or books, and reconcile: until then only reducing orders clear."""
    reason = f"{process} was started: nothing is reconciled yet"
    start(account, OperatorAction(operator="trading-pipeline", reason=reason))


def alpaca_stream(settings: Settings, environment: dict[str, str]) -> tuple["AlpacaStream", Reads]:
    """Return the stream of the account's events, which opens nothing yet, and what reads one of them."""
    from trading_pipeline.adapters.broker.alpaca.stream import AlpacaStream  # noqa: PLC0415
    from trading_pipeline.adapters.broker.alpaca.updates import trade_update  # noqa: PLC0415

    return AlpacaStream(_stream_config(settings.stream_url, environment)), partial(trade_update, calendar=xnys())


def alpaca_quotes(settings: Settings, environment: dict[str, str]) -> "AlpacaQuoteStream":
    """Return the stream of quotes, which opens nothing yet."""
    from trading_pipeline.adapters.market_data.alpaca.quote_stream import AlpacaQuoteStream  # noqa: PLC0415

    return AlpacaQuoteStream(_stream_config(settings.data_stream_url, environment))


def _stream_config(url: str, environment: dict[str, str]) -> StreamConfig:
    return StreamConfig(url=url, key_id=environment["ALPACA_API_KEY_ID"], secret=environment["ALPACA_API_SECRET_KEY"])


@contextmanager
def kept_quotes(settings: Settings, environment: dict[str, str]) -> Iterator[KeptQuotes]:
    """Give what keeps the quotes of the feed."""
    client = connect(environment["REDIS_URL"])
    try:
        yield KeptQuotes(client, f"alpaca/{settings.alpaca_data_feed}")
    finally:
        client.close()


@contextmanager
def opened_minutes(settings: Settings) -> Iterator["AlpacaBars | None"]:
    """Give the source of minute bars, with what it needs running; None where bars are not Alpaca's."""
    if settings.market_data != "alpaca":
        yield None
        return
    # alpaca-py takes seconds to import: commands on other bars never pay for it.
    from trading_pipeline.adapters.market_data.alpaca.opening import alpaca_market_data  # noqa: PLC0415

    with running_servers(settings) as environment:
        config = _data_config(settings, environment)
        with alpaca_market_data(config, redis_url=environment["REDIS_URL"], calendar=xnys()) as data:
            yield data.bars


@contextmanager
def opened_volumes(settings: Settings, environment: dict[str, str]) -> Iterator[VolumeSource | None]:
    """Give what tells the volume traded in session; None where minute bars are not Alpaca's."""
    if settings.market_data != "alpaca":
        yield None
        return
    from trading_pipeline.adapters.market_data.alpaca.opening import alpaca_market_data  # noqa: PLC0415

    config = _data_config(settings, environment)
    with alpaca_market_data(config, redis_url=environment["REDIS_URL"], calendar=xnys()) as data:
        yield MinuteVolumes(data.bars, delay=data.bars.delay, calendar=xnys())


@contextmanager
def _opened_broker(settings: Settings, environment: dict[str, str], lake: Lake) -> Iterator[Broker]:
    if not settings.dry_run:
        with _opened_alpaca(settings, environment) as broker:
            yield broker
        return
    exchange = SimulatedExchange(
        environment["DATABASE_URL"],
        account=settings.account,
        calendar=xnys(),
        openings=opening_bars(lake),
        opening_cash=settings.capital,
    )
    try:
        yield exchange
    finally:
        exchange.close()


@contextmanager
def _opened_prices(settings: Settings, environment: dict[str, str], lake: Lake) -> Iterator[PriceSource | None]:
    if settings.dry_run:
        yield None
        return
    with market_prices(
        _data_config(settings, environment),
        redis_url=environment["REDIS_URL"],
        lake=lake,
        calendar=xnys(),
        rules=settings.price_rules,
    ) as prices:
        yield prices


def _data_config(settings: Settings, environment: dict[str, str]) -> "AlpacaDataConfig":
    # alpaca-py takes seconds to import: commands on other bars never pay for it.
    from trading_pipeline.adapters.market_data.alpaca import Feed  # noqa: PLC0415
    from trading_pipeline.adapters.market_data.alpaca.opening import AlpacaDataConfig  # noqa: PLC0415

    return AlpacaDataConfig(
        key_id=environment["ALPACA_API_KEY_ID"],
        secret=environment["ALPACA_API_SECRET_KEY"],
        url=settings.alpaca_data_url,
        feed=Feed(settings.alpaca_data_feed),
        requests_per_minute=settings.alpaca_requests_per_minute,
        staging=settings.alpaca_staging,
    )


@contextmanager
def _opened_alpaca(settings: Settings, environment: dict[str, str]) -> Iterator["AlpacaBroker"]:
    # alpaca-py takes seconds to import: commands on the simulated exchange never pay for it.
    from trading_pipeline.adapters.broker.alpaca.opening import AlpacaAccountConfig, alpaca_broker  # noqa: PLC0415

    config = AlpacaAccountConfig(
        key_id=environment["ALPACA_API_KEY_ID"],
        secret=environment["ALPACA_API_SECRET_KEY"],
        url=settings.alpaca_base_url,
        account_id=settings.alpaca_account_id,
        live=settings.live,
        requests_per_minute=settings.alpaca_requests_per_minute,
    )
    with alpaca_broker(config, redis_url=environment["REDIS_URL"], calendar=xnys(), clock=SystemClock()) as broker:
        yield broker
