"""What the broker did, brought home: fills booked and posted, ended orders released. Safe to repeat at any time."""

from dataclasses import dataclass
from datetime import date

import structlog

from trading_pipeline.adapters.broker.protocol import Execution
from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.money import to_ticks, whole_shares
from trading_pipeline.core.orders.model import Side
from trading_pipeline.errors import TradingHalted, TransientError
from trading_pipeline.services.account import TradingAccount

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What one settlement changed: executions booked now, and orders that ended now."""

    booked: tuple[Execution, ...]
    ended: tuple[str, ...]


def settle(account: TradingAccount, session: date) -> Settlement:
    """Bring the broker to the close of a session and book all it did with our orders.

    Each execution is committed to the ledger before the guard is told. A crash in between leaves it unposted, and the
    next settlement tells the guard, which knows executions by their id. The same goes for ended orders.
    """
    account.broker.advance(session)
    live = account.ledger.orders.live(account.account)
    booked = [
        execution
        for execution in account.broker.executions([order.client_order_id for order in live])
        if account.ledger.fills.book(account.account, execution.client_order_id, execution.fill, execution.executed_at)
    ]
    ended = [order.client_order_id for order in live if _end(account, order)]
    post_fills(account)
    release_ended(account)
    return Settlement(booked=tuple(booked), ended=tuple(ended))


def post_fills(account: TradingAccount) -> None:
    """Tell the guard of every booked fill it has not been told of. When it cannot be reached, the next call does."""
    epoch = account.ledger.books.get(account.account).epoch
    for row in account.ledger.fills.unposted(account.account):
        try:
            sequence = account.guard.post(
                client_order_id=row["client_order_id"],
                execution_id=row["execution_id"],
                qty=whole_shares(row["qty"]),
                symbol=row["symbol"],
                side=Side(row["side"]),
                price_ticks=to_ticks(row["price"]),
            )
        except (TransientError, TradingHalted) as failure:
            log.warning("the guard could not be told of a fill", execution_id=row["execution_id"], reason=str(failure))
            return
        account.ledger.fills.mark_posted([row["execution_id"]])
        account.ledger.books.saw_sequence(account.account, epoch, sequence)


def release_ended(account: TradingAccount) -> None:
    """Give back the reservations of ended orders, fills first. When the guard cannot be reached, the next call does."""
    epoch = account.ledger.books.get(account.account).epoch
    for order in account.ledger.orders.unreleased(account.account):
        try:
            sequence = account.guard.void(order.client_order_id)
        except (TransientError, TradingHalted) as failure:
            log.warning(
                "the guard could not be told of an end", client_order_id=order.client_order_id, reason=str(failure)
            )
            return
        account.ledger.orders.mark_released([order.client_order_id])
        account.ledger.books.saw_sequence(account.account, epoch, sequence)


def _end(account: TradingAccount, order: OrderRecord) -> bool:
    reported = account.broker.find(order.client_order_id)
    if reported is None or not reported.state.terminal:
        return False
    stored = account.ledger.orders.get(order.client_order_id)
    if stored is None or stored.state.terminal:
        return False
    account.ledger.orders.move(order.client_order_id, reported.state, reason=reported.reason)
    return True
