"""What the broker has and the ledger did not expect: late arrivals, late fills, overfills, orders that are not ours.

Each is written as an alert, and its symbol is blocked until a person has looked at it. Nothing is undone here but one
thing: an order that arrived after it was given up is asked to be cancelled.
"""

from collections.abc import Iterable

import structlog

from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution
from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import ExecutionConflict, OrderStateUnknown, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.following import follow

WATCHER = "settlement"

log = structlog.get_logger(__name__)


def report_open_orders(account: TradingAccount) -> None:
    """Name the working orders at the broker that the ledger does not know, or holds for ended."""
    for reported in account.broker.open_orders():
        stored = account.ledger.orders.get(reported.client_order_id)
        if stored is None or stored.intent.account != account.account:
            what = f"{reported.side} {reported.qty} {reported.symbol}"
            _alert(
                account, "foreign_order", reported.broker_order_id, reported.symbol, f"{what} is not an order of ours"
            )
        elif stored.state.terminal:
            _late_arrival(account, stored, reported)


def report_fills(account: TradingAccount, booked: Iterable[Execution]) -> None:
    """Name the fills just booked that exceed their order, or belong to one that had ended."""
    booked = list(booked)
    orders = account.ledger.orders.get_many({one.client_order_id for one in booked})
    for one in booked:
        stored = orders.get(one.client_order_id)
        if stored is None:
            continue
        symbol = stored.intent.symbol
        filled = f"{stored.filled_qty} of {stored.intent.qty} {symbol} are filled"
        if stored.remaining < 0:
            _alert(
                account, "overfill", stored.client_order_id, stored.intent.symbol, f"{filled}: more than was ordered"
            )
        elif stored.state.terminal and stored.state is not OrderState.FILLED:
            why = f"{filled} of an order that is {stored.state} ({stored.reason})"
            _alert(account, "late_fill", one.fill.execution_id, symbol, why)


def report_conflict(account: TradingAccount, subject: str, symbol: str, conflict: ExecutionConflict) -> None:
    """Name an execution that contradicts what was booked under its id, or an order whose figures contradict it."""
    _alert(account, "execution_conflict", subject, symbol, conflict.message)


def _late_arrival(account: TradingAccount, stored: OrderRecord, reported: BrokerOrder) -> None:
    order_id, symbol = stored.client_order_id, stored.intent.symbol
    why = f"{reported.side} {reported.qty} {symbol} works at the broker, but is {stored.state} here ({stored.reason})"
    _alert(account, "late_arrival", order_id, symbol, why)
    try:
        account.broker.cancel(order_id)
    except (TransientError, OrderStateUnknown) as failure:
        log.warning("the late order could not be cancelled; the next settlement asks again", reason=str(failure))


def _alert(account: TradingAccount, kind: str, key: str, symbol: str, message: str) -> None:
    """Block the symbol, then write the alert: a crash in between repeats both."""
    log.warning("surprised by the broker", kind=kind, symbol=symbol, what=message)
    if symbol not in account.ledger.books.blocked(account.account):
        action = OperatorAction(operator=WATCHER, reason=f"{kind.replace('_', ' ')}: {message}"[:512])
        record = account.ledger.books.block(account.account, symbol, action)
        follow(account, record, lambda guard: guard.block(symbol))
    account.ledger.alerts.record(
        key=f"{kind}:{account.account}:{key}", kind=kind, message=message, detail={"symbol": symbol}
    )
