"""The PostgreSQL ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from trading_pipeline.adapters.store.ledger import Ledger


class LedgerResource(dg.ConfigurableResource[Any]):
    """Opens the ledger's connection pool for the length of a run's step."""

    database_url: str = Field(repr=False)
    _ledger: Ledger | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["LedgerResource"]:
        """Open the pool, and close it after use."""
        del context
        with Ledger(self.database_url) as ledger:
            self._ledger = ledger
            yield self

    @property
    def ledger(self) -> Ledger:
        """The open ledger."""
        if self._ledger is None:
            msg = "the ledger resource is open only while a run executes"
            raise RuntimeError(msg)
        return self._ledger
