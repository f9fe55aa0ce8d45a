"""Waits for a broker that takes no orders for a while, its request limit used up, say, and sends the rest then.

The account's lane is free during the wait: executions are booked and halts take hold. Whatever happens to an order
meanwhile, it passes the guard and the last check before it is sent.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

import structlog

from trading_pipeline.core.orders.model import Purpose
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.errors import NotReconciled, OrdersUnsent, SessionNotTradable
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.submission import Submission, SubmissionService

PATIENCE: Final = timedelta(minutes=3)
"""How long a run waits in all."""
UNTOLD: Final = timedelta(seconds=15)
"""How long it waits where the broker does not say from when on it takes orders."""
SHORTEST: Final = timedelta(seconds=1)
_NAMED: Final = 20

log = structlog.get_logger(__name__)


def send_rest(account: TradingAccount, service: SubmissionService, session: date) -> tuple[list[Submission], str]:
    """Send what a busy broker left, as soon as it takes orders again; return what was touched, and why it ended.

    The reason is empty when nothing is left. Waiting ends with `PATIENCE` and with the session's window, and when
    orders may not be sent any more.
    """
    touched: list[Submission] = []
    patience = PATIENCE
    while service.left and service.busy is not None:
        why = service.busy.message
        pause = max(_pause(account, service), SHORTEST)
        end = _end(account, session)
        if end is not None and account.clock.now() + pause >= end:
            return touched, f"{why}; the window in which they may be sent ends before it takes orders again"
        if pause > patience:
            return touched, f"{why}; a run waits {PATIENCE.total_seconds():.0f} s in all and no longer"
        log.info("the broker takes no orders: waiting", seconds=pause.total_seconds(), left=len(service.left), why=why)
        account.clock.pause(pause)
        patience -= pause
        try:
            with account.ledger.lane(account.account):
                touched += service.go_on()
        except (SessionNotTradable, NotReconciled) as refusal:
            log.warning("what a busy broker left is not sent", left=len(service.left), why=refusal.message)
            return touched, refusal.message
    return touched, ""


def require_sent(account: TradingAccount, session: date, waiting: Sequence[Submission], why: str) -> None:
    """Check that no order of a session still waits for the broker; `why` says why those did that are `waiting`.

    Raises:
        OrdersUnsent: some do; names them, why, and what sends them until when.
    """
    if not waiting:
        return
    names = [
        f"{one.order.intent.side} {one.order.intent.qty} {one.order.intent.symbol} ({one.order.client_order_id})"
        for one in waiting
    ]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    end = _end(account, session)
    until = "" if end is None else f" until {end.astimezone(account.calendar.zone):%Y-%m-%d %H:%M:%S} New York"
    late = "" if end is None else "; what is unsent by then expires, and is not traded late"
    raise OrdersUnsent(
        f"{len(waiting)} order(s) of session {session} were not sent: "
        f"{', '.join(names[:_NAMED])}{more}. {why or 'the broker took no more'}. They stay cleared, their exposure "
        f"held: run `submit_orders` for {session} again{until}{late}",
        session=session.isoformat(),
        unsent=[one.order.client_order_id for one in waiting],
    )


def unsent(submissions: Sequence[Submission]) -> list[Submission]:
    """Return the session's own orders that wait for the broker: cleared, neither refused since nor to be cancelled."""
    return [
        one
        for one in submissions
        if one.order.intent.purpose is Purpose.REBALANCE
        and one.order.state is OrderState.CLEARED
        and one.order.cancel_requested_at is None
        and not one.refused
    ]


def _pause(account: TradingAccount, service: SubmissionService) -> timedelta:
    fields = {} if service.busy is None else service.busy.fields
    retry_at, seconds = fields.get("retry_at"), fields.get("wait_seconds")
    if isinstance(retry_at, datetime):
        return retry_at - account.clock.now()
    return UNTOLD if seconds is None else timedelta(seconds=float(seconds))


def _end(account: TradingAccount, session: date) -> datetime | None:
    """Return when the window of a session ends; None where orders are not bound to one."""
    if account.window is None or not account.broker.real_time:
        return None
    return account.window.bounds(session, account.calendar)[1]
