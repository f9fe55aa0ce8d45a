"""A trading account: ledger, guard and broker together. The only resource that reaches a broker."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.alpaca_trading import AlpacaTradingResource
from resources.lake import LakeResource
from resources.ledger import LedgerResource
from resources.risk import RiskResource
from trading_pipeline.adapters.broker.protocol import Broker
from trading_pipeline.adapters.broker.simulated import SimulatedExchange
from trading_pipeline.adapters.broker.watched import WatchedBroker
from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.prices import opening_bars
from trading_pipeline.core.pricing import PriceSource
from trading_pipeline.core.sessions import xnys
from trading_pipeline.core.submission_window import SubmissionWindow
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.valuation import Valuation


class TradingResource(dg.ConfigurableResource[Any]):
    """Builds the account from its parts: on Alpaca where that is given, else on the simulated exchange.

    `capital` is dollars, as text so that no float touches them. A session's orders are sent to Alpaca from
    `submission_opens_minutes` until `submission_ends_minutes` before the open.
    """

    ledger: LedgerResource
    risk: RiskResource
    lake: LakeResource
    strategy_id: str
    capital: str
    exchange_url: str = Field(repr=False)
    submission_opens_minutes: int
    submission_ends_minutes: int
    alpaca: AlpacaTradingResource | None = None
    _account: TradingAccount | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["TradingResource"]:
        """Connect the broker, and disconnect after use."""
        del context
        lake = self.lake.lake()
        with self._broker(lake) as broker, self._prices(lake) as prices:
            self._account = TradingAccount(
                account=self.risk.account,
                strategy_id=self.strategy_id,
                ledger=self.ledger.ledger,
                guard=self.risk.guard,
                broker=WatchedBroker(broker, self.ledger.ledger.monitors, self.risk.account),
                calendar=xnys(),
                clock=SystemClock(),
                valuation=Valuation.of_lake(lake, Decimal(self.capital)),
                prices=prices,
                window=SubmissionWindow(
                    opens_before=timedelta(minutes=self.submission_opens_minutes),
                    ends_before=timedelta(minutes=self.submission_ends_minutes),
                ),
            )
            yield self

    @contextmanager
    def _broker(self, lake: Lake) -> Iterator[Broker]:
        if self.alpaca is not None:
            yield self.alpaca.broker
            return
        exchange = SimulatedExchange(
            self.exchange_url,
            account=self.risk.account,
            calendar=xnys(),
            openings=opening_bars(lake),
            opening_cash=Decimal(self.capital),
        )
        try:
            yield exchange
        finally:
            exchange.close()

    @contextmanager
    def _prices(self, lake: Lake) -> Iterator[PriceSource | None]:
        """Give the prices of order time; the simulated exchange fills at the bars of the past and needs none."""
        if self.alpaca is None:
            yield None
            return
        with self.alpaca.prices(lake) as prices:
            yield prices

    @property
    def account(self) -> TradingAccount:
        """The account with everything it holds."""
        if self._account is None:
            msg = "the trading resource is open only while a run executes"
            raise RuntimeError(msg)
        return self._account
