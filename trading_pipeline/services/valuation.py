"""What an account is worth and how fit its data are: where guard and risk monitor get prices and volumes from."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Self

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.prices import last_closes
from trading_pipeline.adapters.store.volumes import average_volumes
from trading_pipeline.core.orders.model import ReferencePrice

Quotes = Callable[[date, Collection[str]], dict[str, ReferencePrice]]
"""Gives the last prices known in a session; a symbol without one is absent."""

Volumes = Callable[[date, Collection[str]], dict[str, int]]
"""Gives the average daily volume of the 20 sessions up to a session, shares; an unknown symbol is absent."""

FRESHNESS_LOOKBACK = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Valuation:
    """How an account is valued.

    Attributes:
        capital: dollars the account began with.
        quotes: prices to value positions at.
        volumes: average daily volumes to judge the size of orders by.
        newest_fresh: the newest session up to the given one whose data were judged fresh enough to trade; None when
            there is none near it.
    """

    capital: Decimal
    quotes: Quotes
    volumes: Volumes
    newest_fresh: Callable[[date], date | None]

    @classmethod
    def of_lake(cls, lake: Lake, capital: Decimal) -> Self:
        """Value an account at the lake's good bars and judge its data by the lake's freshness manifests."""
        return cls(
            capital=capital,
            quotes=lambda session, symbols: last_closes(lake, session, symbols),
            volumes=lambda session, symbols: average_volumes(lake, session, symbols),
            newest_fresh=lambda session: _newest_fresh(lake, session),
        )


def _newest_fresh(lake: Lake, session: date) -> date | None:
    for day in reversed(lake.sessions(Dataset.FRESHNESS, start=session - FRESHNESS_LOOKBACK, end=session)):
        usable = lake.read_session(Dataset.FRESHNESS, day, columns=["session_usable"])
        if not usable.is_empty() and usable.select(pl.col("session_usable").all()).item():
            return day
    return None
