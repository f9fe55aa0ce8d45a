"""One trading account: the ledger, the guard and the broker that belong together."""

from dataclasses import dataclass

from trading_pipeline.adapters.broker.protocol import Broker
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.services.valuation import Valuation

LATE_SESSIONS = 5
"""For how many sessions after its own an ended order may still surprise with an execution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingAccount:
    """Everything an order passes through. Only the services hold a broker and a guard together.

    `valuation` is what the risk monitor values the account by. Without one nobody watches its losses: the composition
    roots always give it.
    """

    account: str
    strategy_id: str
    ledger: Ledger
    guard: RiskGuard
    broker: Broker
    calendar: SessionCalendar
    clock: Clock
    valuation: Valuation | None = None
