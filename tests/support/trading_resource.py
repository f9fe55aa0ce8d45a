"""The resource of a trading account as a deployment would configure it."""

from pathlib import Path

from resources import AlpacaTradingResource, LakeResource, LedgerResource, RiskResource, TradingResource
from support.trading import ACCOUNT
from trading_pipeline.core.risk.limits import RiskLimits


def trading_resource(
    database_url: str, redis_url: str, lake: Path, *, alpaca: AlpacaTradingResource | None = None
) -> TradingResource:
    """Configure the account of the tests on these servers and a lake."""
    return TradingResource(
        ledger=LedgerResource(database_url=database_url),
        risk=RiskResource(redis_url=redis_url, account=ACCOUNT, limits=RiskLimits().as_text()),
        lake=LakeResource(root=str(lake)),
        strategy_id="tested",
        capital="100000",
        exchange_url=database_url,
        submission_opens_minutes=360,
        submission_ends_minutes=5,
        alpaca=alpaca,
    )
