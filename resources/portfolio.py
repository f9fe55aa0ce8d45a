"""How target portfolios are built, and the capital they are built with."""

from decimal import Decimal
from typing import Any

import dagster as dg

from trading_pipeline.core.portfolio import PortfolioConfig


class PortfolioResource(dg.ConfigurableResource[Any]):
    """Portfolio rules; dollars are text so that no float touches them."""

    capital: str
    long_count: int
    short_count: int
    max_position_shares: int
    max_position_notional: str

    def parsed(self) -> PortfolioConfig:
        """Return the rules in the domain's types."""
        return PortfolioConfig(
            capital=Decimal(self.capital),
            long_count=self.long_count,
            short_count=self.short_count,
            max_position_shares=self.max_position_shares,
            max_position_notional=Decimal(self.max_position_notional),
        )
