"""One trading account: the ledger, the guard and the broker that belong together."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from trading_pipeline.adapters.broker.protocol import Broker
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.core.pricing import PriceSource
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.core.submission_window import SubmissionWindow
from trading_pipeline.errors import PriceUnavailable
from trading_pipeline.services.valuation import Valuation

LATE_SESSIONS = 5
"""For how many sessions after its own an ended order may still surprise with an execution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingAccount:
    """Everything an order passes through. Only the services hold a broker and a guard together.

    `valuation` is what the risk monitor values the account by. Without one nobody watches its losses: the composition
    roots always give it. `prices` are those of order time on a broker of real time; without them, and on the simulated
    exchange, orders are judged at the closes their targets were sized at. `window` is when a session's
    orders may be sent where the broker's time is real: composition roots always give it as well.
    """

    account: str
    strategy_id: str
    ledger: Ledger
    guard: RiskGuard
    broker: Broker
    calendar: SessionCalendar
    clock: Clock
    valuation: Valuation | None = None
    prices: PriceSource | None = None
    window: SubmissionWindow | None = None

    def session(self) -> date | None:
        """Return the session that profit and loss count for: the broker's, or today's where its time is ours.

        None before the account's first.
        """
        if not self.broker.real_time:
            return self.broker.current_session
        now = self.clock.now()
        today = now.astimezone(self.calendar.zone).date()
        if self.calendar.is_session(today) and self.calendar.open_at(today) <= now:
            return today
        return self.calendar.latest_closed(now)

    def require_in_window(self, session: date) -> None:
        """Check that orders decided from a session may be sent now; the simulated exchange has no time of day.

        Raises:
            OutsideSubmissionWindow: they may not.
        """
        if self.window is not None and self.broker.real_time:
            self.window.require_open(session, self.clock.now(), self.calendar)

    def prices_now(self, symbols: Collection[str]) -> dict[str, ReferencePrice | PriceUnavailable] | None:
        """Return the prices of order time, or why a symbol has none; None where orders are not made at such prices."""
        if self.prices is None or not self.broker.real_time or not symbols:
            return None
        return self.prices.prices(symbols, self.clock.now())

    def outdated(self, prices: Mapping[str, ReferencePrice]) -> set[str]:
        """Return the keys of prices of order time that are too old by now; none where orders are not made at such."""
        if self.prices is None or not self.broker.real_time:
            return set()
        now = self.clock.now()
        return {key for key, price in prices.items() if not self.prices.still_counts(price, now)}

    def instant(self) -> datetime | None:
        """Return where the account stands in time: now, or the close of the session a broker of the past stands at."""
        if self.broker.real_time:
            return self.clock.now()
        session = self.broker.current_session
        return None if session is None else self.calendar.close_at(session)
