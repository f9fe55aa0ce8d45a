"""Dagster resources: configuration and lifecycle of the adapters, nothing more."""

from resources.alpaca_data import AlpacaDataResource
from resources.alpaca_trading import AlpacaTradingResource
from resources.features import FeaturesResource
from resources.lake import LakeResource
from resources.ledger import LedgerResource
from resources.market_data import MarketDataResource
from resources.models import ModelRegistryResource
from resources.portfolio import PortfolioResource
from resources.risk import RiskResource
from resources.trading import TradingResource

__all__ = [
    "AlpacaDataResource",
    "AlpacaTradingResource",
    "FeaturesResource",
    "LakeResource",
    "LedgerResource",
    "MarketDataResource",
    "ModelRegistryResource",
    "PortfolioResource",
    "RiskResource",
    "TradingResource",
]
