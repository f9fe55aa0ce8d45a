"""What a corporate action changes is restated before any order of the session, or locked until a person has looked.

Splits, stock dividends and changes of symbol restate the ledger; the lock ends when the broker agrees. Of other kinds
no number here is known: what is held over one is locked for an operator, and so is a large order sized before.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import structlog

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.restating import TO_DO, Restatement
from trading_pipeline.core.risk.halts import LONGEST_REASON, OperatorAction
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.following import follow
from trading_pipeline.services.restating import LOCKER, actions_near, finish, lock_key, record
from trading_pipeline.services.twap import planned_shares

OF_ACTIONS = "corporate action: "
_ZERO = Decimal(0)
_LARGE_ORDER = "a large order was sized before it: cancel-twap it, then release-symbol"

log = structlog.get_logger(__name__)


def restate_or_lock(
    account: TradingAccount, lake: Lake, session: date, pending: Mapping[str, Decimal], targets: frozenset[str]
) -> dict[str, str]:
    """Restate or lock what is held over an action; return the symbols that get no order, and why.

    Each action counts once: a release by an operator holds. A crash anywhere has the next call finish. A symbol of an
    action effective on the session the orders are for gets no order, held or not: its target was sized in shares of
    before. The caller holds the account's lane.

    Args:
        account: the account.
        lake: for the actions, as known now. One that became known late is found for `LATE_SESSIONS` sessions.
        session: the session whose close targets were sized at.
        pending: signed shares under way by symbol.
        targets: the symbols orders are wanted for.

    Raises:
        DataQualityError: an action of one of these symbols has a ratio that is no fraction of whole shares, or changes
            of symbol go in a circle.
    """
    trade_session = account.calendar.next(session)
    held = {symbol: one.qty for symbol, one in account.ledger.fills.positions(account.account).items()}
    under_way = {symbol for symbol, shares in pending.items() if shares}
    planned = {symbol for symbol, shares in planned_shares(account).items() if shares}
    out: dict[str, str] = {}
    for action in actions_near(account, lake, session, held.keys() | under_way | targets):
        if not action.changes_shares and action.kind not in TO_DO:
            continue
        if action.session == trade_session:
            out |= dict.fromkeys(action.symbols, f"{action.describe()}: its target was sized before")
        if action.changes_shares:
            new = record(account, action) or action.session == trade_session
            if new and planned.intersection(action.symbols):
                _lock(account, action, held.get(action.symbol, _ZERO), _LARGE_ORDER)
        elif _over(account, action, trade_session, held, under_way).intersection(action.symbols):
            _lock(account, action, held.get(action.symbol, _ZERO), TO_DO[action.kind])
    finish(account)
    return out


def _over(
    account: TradingAccount, action: Restatement, trade_session: date, held: Mapping[str, Decimal], under_way: set[str]
) -> set[str]:
    if action.session == trade_session:
        return held.keys() | under_way
    before = account.ledger.fills.positions_at(account.account, account.calendar.previous(action.session))
    return {symbol for symbol, one in before.items() if one.qty and symbol in held}


def _lock(account: TradingAccount, action: Restatement, qty: Decimal, to_do: str) -> None:
    key = lock_key(account, action)
    if account.ledger.alerts.known(key):
        return
    reason = f"{OF_ACTIONS}{action.describe()}; the ledger has {qty:f}: {to_do}"
    cause = OperatorAction(operator=LOCKER, reason=reason[:LONGEST_REASON])
    for symbol in action.symbols:
        log.warning("a symbol is kept from trading", symbol=symbol, reason=reason)
        locked = account.ledger.books.quarantine(account.account, symbol, None, cause)
        follow(account, locked, lambda guard, symbol=symbol: guard.quarantine(symbol, None))  # type: ignore[misc]
    detail = {"action_id": action.action_id, "symbols": list(action.symbols), "session": action.session.isoformat()}
    account.ledger.alerts.record(key=key, kind="corporate_action", message=reason, detail=detail)
