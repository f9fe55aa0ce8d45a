"""The end of a session: a last sweep, what is left of its orders cancelled, silence alerted, and the tie-out sealed."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import structlog

from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.adapters.store.ledger.tie_outs import TieOut
from trading_pipeline.core.orders.model import TimeInForce
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import OperatorError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.session_story import Story, alert_unexplained
from trading_pipeline.services.single_orders import Cancellation, cancel_orders
from trading_pipeline.services.sweep import sweep
from trading_pipeline.services.tie_out import tie_out

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What the end of a session found: orders that were cancelled or are live still, untold sessions, the tie-out."""

    session: date
    cancellation: Cancellation
    unexplained: tuple[Story, ...]
    tie_out: TieOut

    def rows(self) -> list[dict[str, Any]]:
        """Return one row about it all."""
        live = [f"{one.client_order_id} ({one.intent.symbol}): {why}" for one, why in self.cancellation.still_live]
        return [
            {
                "session": self.session.isoformat(),
                "canceled": len(self.cancellation.canceled),
                "still_live": "; ".join(live),
                "unexplained": ", ".join(one.session.isoformat() for one in self.unexplained),
                "tie_out": self.tie_out.describe(),
            }
        ]


def close_session(account: TradingAccount, action: OperatorAction) -> Closing:
    """Bring the session that has closed to its end; repeated, it cancels nothing twice and seals another tie-out.

    What the broker did is booked first. Orders of the session that should have ended with its close and that nobody
    has seen end are asked to be cancelled; those good till cancelled are left alone.

    Raises:
        OperatorError: the account has not traded yet, or its session is open still.
        DataQualityError, ServerUnavailable, TransientError: as `sweep` and `tie_out`; run it again.
    """
    session, now = account.session(), account.instant()
    if session is None or now is None:
        raise OperatorError("the account has not traded yet: there is no session to close", account=account.account)
    closes = account.calendar.close_at(session)
    if now < closes:
        raise OperatorError(
            f"session {session} closes at {closes.astimezone(account.calendar.zone):%H:%M} New York: close it then",
            session=session.isoformat(),
        )
    sweep(account)
    with account.ledger.lane(account.account):
        left = [one for one in account.ledger.orders.live(account.account) if _is_over(one, session)]
        named = {"orders": [one.client_order_id for one in left], "session": session.isoformat()}
        account.ledger.books.record_action(account.account, "close_session", action, named)
        cancellation = cancel_orders(account, left, action)
    for order, why in cancellation.still_live:
        log.error("an order outlived its session", client_order_id=order.client_order_id, reason=why)
    untold = tuple(alert_unexplained(account))
    return Closing(session=session, cancellation=cancellation, unexplained=untold, tie_out=tie_out(account, action))


def _is_over(order: OrderRecord, session: date) -> bool:
    return order.intent.trade_session <= session and order.intent.time_in_force is not TimeInForce.GTC
