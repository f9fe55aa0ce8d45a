"""What the guard is told of the market and the account when it judges orders. Unknown stays unknown, which is a no."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import ROUND_FLOOR

import structlog

from trading_pipeline.core.money import TICKS_PER_DOLLAR, to_ticks
from trading_pipeline.core.orders.model import OrderIntent
from trading_pipeline.core.risk.clearance import MarketFacts
from trading_pipeline.errors import DataQualityError, NotASession
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.equity import equity_in

log = structlog.get_logger(__name__)


class Facts:
    """The facts for some orders: time, equity and average volumes as of now, read once for all of them."""

    def __init__(self, account: TradingAccount, intents: Sequence[OrderIntent]) -> None:
        self._account = account
        self._instant = account.instant()
        self._equity = _equity_ticks(account)
        symbols: dict[date, set[str]] = {}
        for intent in intents:
            symbols.setdefault(intent.session, set()).add(intent.symbol)
        self._volumes = {session: _volumes(account, session, names) for session, names in symbols.items()}

    def of(self, intent: OrderIntent) -> MarketFacts:
        """Gather the facts for one order: its reference price with the age it has where the account stood in time."""
        return MarketFacts(
            reference_ticks=to_ticks(intent.reference.price),
            reference_age_seconds=self._age_seconds(intent.reference.as_of),
            adv_shares=self._volumes[intent.session].get(intent.symbol),
            equity_ticks=self._equity,
        )

    def _age_seconds(self, as_of: datetime) -> int | None:
        """Count the seconds the exchange was open since `as_of`, whole minutes; None when that cannot be known.

        A price of the future has no age: its date is wrong, or our time is.
        """
        if self._instant is None or as_of > self._instant:
            return None
        try:
            return self._account.calendar.open_minutes(as_of, self._instant) * 60
        except NotASession:
            return None


def _equity_ticks(account: TradingAccount) -> int | None:
    session = account.session()
    if session is None:
        return None
    try:
        equity = equity_in(account, session)
    except DataQualityError as unknown:
        log.warning("the equity is unknown: no order that grows a position is cleared", reason=unknown.message)
        return None
    return int((equity * TICKS_PER_DOLLAR).to_integral_value(rounding=ROUND_FLOOR))


def _volumes(account: TradingAccount, session: date, symbols: set[str]) -> dict[str, int]:
    if account.valuation is None:
        return {}
    try:
        return account.valuation.volumes(session, symbols)
    except DataQualityError as unknown:
        log.warning("average volumes are unknown: no order is cleared", reason=unknown.message)
        return {}
