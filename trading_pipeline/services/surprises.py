"""What the broker has and the ledger did not expect: late arrivals, late fills, overfills, misfits, foreign orders.

Each is written as an alert, and its symbol is blocked until a person has looked at it; that of a foreign order is in
quarantine until a reconciliation finds it over or accepted. Nothing is undone here but one thing: an order that arrived
after it was given up is asked to be cancelled.
"""

from collections.abc import Sequence
from datetime import date

import structlog

from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.halts import LONGEST_REASON, OperatorAction
from trading_pipeline.errors import ExecutionConflict, OrderConflict, OrderStateUnknown, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.following import follow

WATCHER = "settlement"
OF_OTHERS = "reconciliation: "
"""How the reason of a quarantine begins that a reconciliation ends when what others did is over or accepted."""

log = structlog.get_logger(__name__)


def report_open_orders(account: TradingAccount, working: Sequence[BrokerOrder]) -> None:
    """Name those of the broker's working orders that the ledger does not know, or holds for ended.

    The ledger is asked after the broker was: an order of ours is in it before it is sent. One whose every share was
    executed works no more, whatever a list says that lags behind the executions. Nor does one that the broker has ended
    when it is asked for that one alone.

    Raises:
        ServerUnavailable: the broker did not answer: what was not named yet is by the next call.
    """
    known = account.ledger.orders.get_many([one.client_order_id for one in working])
    for reported in working:
        stored = known.get(reported.client_order_id)
        if stored is None or stored.intent.account != account.account:
            _foreign(account, reported)
        elif stored.state.terminal and stored.state is not OrderState.FILLED:
            _late_arrival(account, stored, reported)


def report_fills(account: TradingAccount, since: date) -> None:
    """Name the fills that exceed their order, or were booked after it had ended, each once.

    They are found in the ledger, not in what was booked just now: a crash after the booking hides none. `since` is the
    first trade session looked at.
    """
    alerts, name = account.ledger.alerts, account.account
    for row in alerts.overfilled(name, since):
        order_id, filled = row["client_order_id"], row["filled_qty"]
        why = f"{filled} of {row['qty']} {row['symbol']} are filled: more than was ordered; compare with the broker"
        _alert(account, "overfill", f"{order_id}:{filled}", row["symbol"], f"order {order_id}: {why}")
    for row in alerts.late_fills(name, since):
        filled = f"{row['filled_qty']} of {row['qty']} {row['symbol']} are filled"
        why = f"{filled} of an order that is {row['state']} ({row['reason']})"
        _alert(account, "late_fill", row["execution_id"], row["symbol"], why)


def report_late_shares(account: TradingAccount, order: OrderRecord, told: BrokerOrder) -> None:
    """Name shares of an ended order of which the broker shows no execution. More than was ordered is an overfill."""
    if order.state is OrderState.FILLED:
        return
    why = f"{told.filled_qty} of {order.intent.qty} {told.symbol} are filled of an order that is {order.state}"
    key = f"{order.client_order_id}:{told.filled_qty}"
    _alert(account, "late_fill", key, told.symbol, f"{why}; the broker shows no execution of the rest yet")


def report_conflict(account: TradingAccount, subject: str, symbol: str, conflict: ExecutionConflict) -> None:
    """Name an execution that contradicts what was booked under its id, or an order whose figures contradict it."""
    _alert(account, "execution_conflict", subject, symbol, conflict.message)


def report_misfit(account: TradingAccount, execution_id: str, symbol: str, misfit: OrderConflict) -> None:
    """Name a fill that the guard does not take: it is of another symbol or side than the order it belongs to."""
    _alert(account, "fill_misfit", execution_id, symbol, misfit.message)


def report_dead_letter(account: TradingAccount, letter: int, why: str) -> None:
    """Name a frame of the broker's stream that cannot be applied. No symbol is blocked: a sweep asks for the facts."""
    log.warning("a letter of the inbox is dead", letter=letter, reason=why)
    account.ledger.alerts.record(
        key=f"dead_letter:{account.account}:{letter}",
        kind="dead_letter",
        message=f"letter {letter} of the inbox cannot be applied: {why}; `redrive-inbox` tries it again",
        detail={"letter": letter},
    )


def report_larger(account: TradingAccount, stored: OrderRecord, reported: BrokerOrder) -> None:
    """Name a replacement that works for more shares than it may, and ask for its end: the broker read its total anew.

    What was filled of the order it replaced counts toward the total that was asked for.
    """
    working = reported.qty - reported.filled_qty
    if stored.replaces is None or working <= stored.remaining:
        return
    replaced = account.ledger.orders.get(stored.replaces)
    if replaced is None or replaced.state is not OrderState.REPLACED:
        return  # it does not work yet, and how much it will work for follows from what the old one still fills
    order_id, symbol = stored.client_order_id, stored.intent.symbol
    why = f"{working:f} {symbol} work at the broker, of which {stored.remaining:f} were asked for: it is cancelled"
    account.ledger.sending.request_cancel(order_id)
    _alert(account, "replacement_larger", order_id, symbol, f"order {order_id}: {why}")
    try:
        account.broker.cancel(order_id)
    except (TransientError, OrderStateUnknown) as failure:
        log.warning("it could not be cancelled; the next sweep asks again", reason=str(failure))


def _foreign(account: TradingAccount, reported: BrokerOrder) -> None:
    key, symbol = f"foreign_order:{account.account}:{reported.broker_order_id}", reported.symbol
    if account.ledger.alerts.known(key):
        return
    message = f"{reported.side} {reported.qty} {symbol} is not an order of ours"
    log.warning("somebody else trades the account", symbol=symbol, what=message)
    if symbol not in account.ledger.books.quarantined(account.account):
        action = OperatorAction(operator=WATCHER, reason=f"{OF_OTHERS}{message}"[:LONGEST_REASON])
        record = account.ledger.books.quarantine(account.account, symbol, None, action)
        follow(account, record, lambda guard: guard.quarantine(symbol, None))
    account.ledger.alerts.record(key=key, kind="foreign_order", message=message, detail={"symbol": symbol})


def _late_arrival(account: TradingAccount, stored: OrderRecord, reported: BrokerOrder) -> None:
    order_id, symbol = stored.client_order_id, stored.intent.symbol
    alone = account.broker.find_many([order_id]).get(order_id)
    if alone is not None and alone.state.terminal:
        log.info("a list of the broker lags: the order has ended there", client_order_id=order_id, state=alone.state)
        return
    why = f"{reported.side} {reported.qty} {symbol} works at the broker, but is {stored.state} here ({stored.reason})"
    _alert(account, "late_arrival", order_id, symbol, why)
    try:
        account.broker.cancel(order_id)
    except (TransientError, OrderStateUnknown) as failure:
        log.warning("the late order could not be cancelled; the next settlement asks again", reason=str(failure))


def _alert(account: TradingAccount, kind: str, key: str, symbol: str, message: str) -> None:
    """Block the symbol, then write the alert: a crash in between repeats both.

    Once only: what a person has looked at, and let trade again, is not blocked for the same thing twice.
    """
    key = f"{kind}:{account.account}:{key}"
    if account.ledger.alerts.known(key):
        return
    log.warning("surprised by the broker", kind=kind, symbol=symbol, what=message)
    if symbol not in account.ledger.books.blocked(account.account):
        action = OperatorAction(operator=WATCHER, reason=f"{kind.replace('_', ' ')}: {message}"[:LONGEST_REASON])
        record = account.ledger.books.block(account.account, symbol, action)
        follow(account, record, lambda guard: guard.block(symbol))
    account.ledger.alerts.record(key=key, kind=kind, message=message, detail={"symbol": symbol})
