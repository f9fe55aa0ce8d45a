"""Symbols whose shares a corporate action changes are kept from trading until compared with the broker by a person.

Nothing here restates the ledger. A broker that has changed its shares and one that has not look the same until its
positions are read, so what is held over the action is locked either way, before any order of the session.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import polars as pl
import structlog

from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.restating import TO_DO, Restatement, restated_shares, restatements_of
from trading_pipeline.core.risk.halts import LONGEST_REASON, OperatorAction
from trading_pipeline.services.account import LATE_SESSIONS, TradingAccount
from trading_pipeline.services.following import follow

LOCKER = "corporate-actions"
OF_ACTIONS = "corporate action: "
_ZERO = Decimal(0)
_COMPARE = "compare with the broker's shares, reconcile, accept-external what it changed, then release-symbol"

log = structlog.get_logger(__name__)


def lock_restated(
    account: TradingAccount, lake: Lake, session: date, pending: Mapping[str, Decimal], targets: frozenset[str]
) -> dict[str, str]:
    """Quarantine what is held over an action that changes its shares; return the symbols that get no order, and why.

    Each action locks once: a release by an operator holds. A crash between the quarantine and the alert that remembers
    it has the next call quarantine again. A symbol of an action effective on the session the orders are for gets no
    order, held or not: its target was sized in shares of before. The caller holds the account's lane.

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
    out: dict[str, str] = {}
    for action in _actions(account, lake, session, held.keys() | under_way | targets):
        symbols = [one for one in (action.symbol, action.new_symbol) if one]
        if action.session == trade_session:
            out |= dict.fromkeys(symbols, f"{action.describe()}: its target was sized before")
            over = held.keys() | under_way
        else:
            before = account.ledger.fills.positions_at(account.account, account.calendar.previous(action.session))
            over = {symbol for symbol, one in before.items() if one.qty and symbol in held}
        if over.intersection(symbols):
            _lock(account, action, symbols, held.get(action.symbol, _ZERO))
    return out


def _actions(account: TradingAccount, lake: Lake, session: date, symbols: set[str]) -> list[Restatement]:
    calendar = account.calendar
    first, last = calendar.shift(session, -LATE_SESSIONS), calendar.next(session)
    # A day without trading counts for the session after it: those after the session before `first` are read too.
    known = read_actions(lake, start=calendar.previous(first), end=last)
    concerned = known.filter(pl.any_horizontal(pl.col("symbol", "other_symbol").is_in(sorted(symbols))))
    found = restatements_of(concerned.iter_rows(named=True), calendar)
    return [one for one in found if (one.changes_shares or one.kind in TO_DO) and first <= one.session <= last]


def _lock(account: TradingAccount, action: Restatement, symbols: list[str], qty: Decimal) -> None:
    key = f"corporate_action:{account.account}:{action.action_id}:{action.session}"
    if account.ledger.alerts.known(key):
        return
    reason = f"{OF_ACTIONS}{action.describe()}; the ledger has {qty:f}"
    if action.ratio != 1:
        reason += f", {restated_shares(qty, action.ratio):f} after it"
    reason = f"{reason}: {TO_DO.get(action.kind, _COMPARE)}"
    cause = OperatorAction(operator=LOCKER, reason=reason[:LONGEST_REASON])
    for symbol in symbols:
        log.warning("a symbol is kept from trading", symbol=symbol, reason=reason)
        record = account.ledger.books.quarantine(account.account, symbol, None, cause)
        follow(account, record, lambda guard, symbol=symbol: guard.quarantine(symbol, None))  # type: ignore[misc]
    detail = {"action_id": action.action_id, "symbols": symbols, "session": action.session.isoformat()}
    account.ledger.alerts.record(key=key, kind="corporate_action", message=reason, detail=detail)
