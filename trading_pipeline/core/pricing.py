"""What a source of prices at order time is: a price with its source and its instant, or why there is none."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.errors import PriceUnavailable


class PriceSource(Protocol):
    """Gives the prices that orders are sized and judged at."""

    def prices(self, symbols: Collection[str], at: datetime) -> dict[str, ReferencePrice | PriceUnavailable]:
        """Return for every symbol asked for its price as of an instant, or why it has none.

        `at` is aware, UTC, and close to now where prices are those of the market: what is older than its age allows by
        then is no price. Never raises for a symbol, and never answers with a price that nobody has quoted or paid.
        """
        ...
