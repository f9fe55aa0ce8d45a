"""The composition root: reads the settings and puts everything together for Dagster.

Nothing imports it but Dagster and the CLI.
"""

import gc
from typing import Any

import dagster as dg

from assets import assets_of
from assets.risk_status import RISK_STATUS
from resources import (
    AlpacaDataResource,
    AlpacaTradingResource,
    FeaturesResource,
    LakeResource,
    LedgerResource,
    MarketDataResource,
    ModelRegistryResource,
    PortfolioResource,
    RiskResource,
    TradingResource,
)
from sensors import sensors_of
from trading_pipeline.adapters.market_data.universe_file import read_universe
from trading_pipeline.jobs import ASSET_JOBS, CHECK_JOBS, OPERATOR_JOBS
from trading_pipeline.schedules import ALL_SCHEDULES
from trading_pipeline.settings import Settings, load_settings


def build_resources(settings: Settings) -> dict[str, Any]:
    """Return the resources of a deployment. Secrets stay in the environment until a run needs them."""
    database, redis = dg.EnvVar("DATABASE_URL"), dg.EnvVar("REDIS_URL")
    lake = LakeResource(root=str(settings.lake_root))
    ledger = LedgerResource(database_url=database)
    risk = RiskResource(redis_url=redis, account=settings.account, limits=settings.limits.as_text())
    return {
        "lake": lake,
        "market_data": MarketDataResource(
            lake=lake,
            alpaca=_alpaca(settings),
            symbols=",".join(_symbols(settings)),
            universe_file=str(settings.universe_file or ""),
            outlier_threshold=settings.outlier_threshold,
            gap_threshold=settings.gap_threshold,
            news_volume=settings.news_volume,
            spike_score=settings.spike_score,
            vendor_tolerance=settings.vendor_tolerance,
            reference_vendor=settings.reference_vendor,
            max_age_minutes=settings.data_freshness_minutes,
            min_fresh_pct=settings.min_fresh_pct,
        ),
        "portfolio": PortfolioResource(
            capital=str(settings.capital),
            long_count=settings.long_count,
            short_count=settings.short_count,
            max_position_shares=settings.max_position_size,
            max_position_notional=str(settings.risk_max_position_notional),
        ),
        "feature_set": FeaturesResource.of(settings.feature_set, settings.shard_root),
        "ledger": ledger,
        "models": ModelRegistryResource(
            database_url=database,
            tracking_uri=settings.mlflow_tracking_uri,
            experiment=settings.mlflow_experiment_name,
            artifact_root=str(settings.artifact_root),
            model_name=settings.strategy_id,
        ),
        "trading": TradingResource(
            ledger=ledger,
            risk=risk,
            lake=lake,
            strategy_id=settings.strategy_id,
            capital=str(settings.capital),
            exchange_url=database,
            submission_opens_minutes=settings.submission_opens_minutes,
            submission_ends_minutes=settings.submission_ends_minutes,
            alpaca=_alpaca_account(settings),
        ),
    }


def _symbols(settings: Settings) -> list[str]:
    """Every symbol that is or was a member; a file of no use fails here, before anything runs."""
    if settings.universe_file is None:
        return list(settings.universe)
    return read_universe(settings.universe_file)[0].symbols


def _alpaca(settings: Settings) -> AlpacaDataResource | None:
    if settings.market_data != "alpaca":
        return None
    return AlpacaDataResource(
        key_id=dg.EnvVar("ALPACA_API_KEY_ID"),
        secret=dg.EnvVar("ALPACA_API_SECRET_KEY"),
        url=settings.alpaca_data_url,
        feed=settings.alpaca_data_feed,
        requests_per_minute=settings.alpaca_requests_per_minute,
        staging=str(settings.alpaca_staging),
        redis_url=dg.EnvVar("REDIS_URL"),
    )


def _alpaca_account(settings: Settings) -> AlpacaTradingResource | None:
    if settings.dry_run:
        return None
    return AlpacaTradingResource(
        key_id=dg.EnvVar("ALPACA_API_KEY_ID"),
        secret=dg.EnvVar("ALPACA_API_SECRET_KEY"),
        url=settings.alpaca_base_url,
        account_id=settings.alpaca_account_id,
        live=settings.live,
        requests_per_minute=settings.alpaca_requests_per_minute,
        redis_url=dg.EnvVar("REDIS_URL"),
        data_url=settings.alpaca_data_url,
        data_feed=settings.alpaca_data_feed,
        price_max_age_seconds=settings.price_max_age_seconds,
        price_max_spread_bps=settings.price_max_spread_bps,
    )


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return everything Dagster shall know of."""
    resources = build_resources(settings)
    feature_set: FeaturesResource = resources["feature_set"]
    return dg.Definitions(
        assets=[*assets_of(feature_set.expected_hash), RISK_STATUS],
        jobs=[*ASSET_JOBS, *CHECK_JOBS, *OPERATOR_JOBS],
        schedules=ALL_SCHEDULES,
        sensors=sensors_of(resources["trading"]),
        resources=resources,
        executor=dg.in_process_executor,
    )


defs = build_definitions(load_settings())

gc.freeze()  # definitions live as long as the process: no collection, nor its end, need look at them again
