"""What the guard is told of the market and the account when it judges an order. Unknown stays unknown."""

from datetime import datetime

from trading_pipeline.core.money import to_ticks
from trading_pipeline.core.orders.model import OrderIntent
from trading_pipeline.core.risk.clearance import MarketFacts
from trading_pipeline.errors import NotASession
from trading_pipeline.services.account import TradingAccount


def market_facts(account: TradingAccount, intent: OrderIntent) -> MarketFacts:
    """Gather the facts for one order: its reference price with the age it has where the account stands in time."""
    return MarketFacts(
        reference_ticks=to_ticks(intent.reference.price),
        reference_age_seconds=_age_seconds(account, intent.reference.as_of),
    )


def _age_seconds(account: TradingAccount, as_of: datetime) -> int | None:
    """Count the seconds the exchange was open since `as_of`, whole minutes; None when that cannot be known."""
    session = account.broker.current_session
    if session is None:
        return None
    now = account.calendar.close_at(session)
    try:
        return account.calendar.open_minutes(as_of, max(now, as_of)) * 60
    except NotASession:
        return None
