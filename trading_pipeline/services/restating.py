"""Corporate actions on what is held: the ledger restated before the open, the symbol locked until the broker agrees.

Each step is looked for before it is made, so a crash anywhere leaves what the next call finishes:
    record      one transaction in the ledger; from it on the symbols are locked, and the book clears nothing
    make anew   the risk book, from the ledger
    compare     with the broker: the lock ends when both hold the same shares, and says both numbers while they do not
Cash that an action pays is none of this: the broker's activities say it.
"""

from collections.abc import Collection, Mapping
from datetime import date
from decimal import Decimal

import polars as pl
import structlog

from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.ledger.restatements import RESTATED
from trading_pipeline.core.accounting import Position
from trading_pipeline.core.restating import Restatement, apply_restatement, restatements_of
from trading_pipeline.core.risk.halts import LONGEST_REASON, OperatorAction
from trading_pipeline.services.account import LATE_SESSIONS, TradingAccount
from trading_pipeline.services.following import follow
from trading_pipeline.services.rebuilding import rebuild_book
from trading_pipeline.services.verification import apart_from_broker

LOCKER = "corporate-actions"
_ZERO = Decimal(0)

log = structlog.get_logger(__name__)


def restate_as_the_broker(account: TradingAccount, lake: Lake) -> None:
    """Restate what the broker shows restated already, before its shares are compared with the ledger's.

    Where the broker has not, the next session's orders do it. An account without a session has nothing to restate.

    Raises:
        DataQualityError: as `actions_near`.
        ServerUnavailable: a server or the broker did not answer; repeat it.
    """
    session = account.session()
    if session is None or not account.broker.real_time:
        return
    with account.ledger.lane(account.account):
        held = account.ledger.fills.positions(account.account)
        actions = [one for one in actions_near(account, lake, session, held.keys()) if one.changes_shares]
        there = account.broker.positions() if actions else {}
        for action in actions:
            if _shows(there, held, action):
                record(account, action)
        finish(account)


def actions_near(account: TradingAccount, lake: Lake, session: date, symbols: Collection[str]) -> list[Restatement]:
    """Return the actions of symbols that are effective up to the session after this one, late ones among them.

    Raises:
        DataQualityError: one has a ratio that is no fraction of whole shares, or changes of symbol go in a circle.
    """
    calendar = account.calendar
    first, last = calendar.shift(session, -LATE_SESSIONS), calendar.next(session)
    # A day without trading counts for the session after it: those after the session before `first` are read too.
    known = read_actions(lake, start=calendar.previous(first), end=last)
    concerned = known.filter(pl.any_horizontal(pl.col("symbol", "other_symbol").is_in(sorted(symbols))))
    found = restatements_of(concerned.iter_rows(named=True), calendar)
    return [one for one in found if first <= one.session <= last]


def record(account: TradingAccount, action: Restatement) -> bool:
    """Record what an action does to what was held or ordered over it; False when there is nothing new to record.

    One that an operator was told to settle by hand is left to the operator.
    """
    if account.ledger.alerts.known(lock_key(account, action)):
        return False
    cause = OperatorAction(operator=LOCKER, reason=action.describe())
    row = account.ledger.restatements.record(account.account, action, cause)
    if row is not None:
        log.warning("restated", action=action.describe(), before=row["before"], after=row["after"])
    return row is not None


def lock_key(account: TradingAccount, action: Restatement) -> str:
    """Return what the alert of an action is known by that an operator settles by hand."""
    return f"corporate_action:{account.account}:{action.action_id}:{action.session}"


def finish(account: TradingAccount) -> None:
    """Do what is left of every recorded action: the exchange of simulated time, the book, the comparison.

    Raises:
        ServerUnavailable: a server or the broker did not answer; the symbols stay locked, and the next call goes on.
    """
    restatements, name = account.ledger.restatements, account.account
    for action in dict.fromkeys(restatements.awaiting(name).values()):
        account.broker.restate(action)
    if outside := restatements.outside_book(name):
        if account.ledger.books.get(name).epoch:
            cause = OperatorAction(operator=LOCKER, reason="positions were restated by a corporate action")
            rebuild_book(account, cause, cause=RESTATED)
        restatements.in_book(outside)
    release_agreed(account)


def release_agreed(account: TradingAccount) -> dict[str, str]:
    """End the locks of actions whose shares ledger and broker agree on; return the others, each with both numbers."""
    restatements, name = account.ledger.restatements, account.account
    awaiting = restatements.awaiting(name)
    if not awaiting:
        return {}
    apart = apart_from_broker(account)
    open_orders = {one.intent.symbol for one in account.ledger.orders.live(name) if one.cancel_requested_at}
    kept: dict[str, str] = {}
    for action in dict.fromkeys(awaiting.values()):
        numbers = [
            f"{one}: the ledger has {apart[one][0]:f}, the broker {apart[one][1]:f}"
            for one in action.symbols
            if one in apart
        ]
        waits = [f"{one}: an order sized before it is still live" for one in action.symbols if one in open_orders]
        if numbers or waits or restatements.outside_book(name):
            why = "; ".join([*numbers, *waits]) or "the risk book was not made anew"
            kept |= dict.fromkeys(action.symbols, f"{action.describe()}; {why}")
    for symbol in sorted(awaiting.keys() - kept.keys()):
        if symbol in account.ledger.books.quarantined_because(name, RESTATED):
            over = OperatorAction(operator=LOCKER, reason=f"{awaiting[symbol].describe()}: ledger and broker agree")
            ended = account.ledger.books.release(name, symbol, over)
            follow(account, ended, lambda guard, symbol=symbol: guard.release(symbol))  # type: ignore[misc]
    # Last: what is not remembered as agreed is released by the next call.
    agreed = [one for one in dict.fromkeys(awaiting.values()) if not kept.keys() & set(one.symbols)]
    restatements.agree(name, [symbol for one in agreed for symbol in one.symbols])
    for symbol, why in kept.items():
        _tell(account, symbol, why)
    return kept


def _tell(account: TradingAccount, symbol: str, why: str) -> None:
    """Say both numbers in the reason of the lock and in an alert, once for each pair; a lock that is gone begins again.

    One that somebody else began stays theirs.
    """
    key = f"restated:{account.account}:{symbol}:{why}"
    books, known = account.ledger.books, account.ledger.alerts.known(key)
    present = books.quarantined(account.account)
    locked = symbol in present and present[symbol] is None
    if known and locked:
        return
    reason = f"{RESTATED}{why}: wait until the broker has booked it, or accept-external what it has"[:LONGEST_REASON]
    if not locked or symbol in books.quarantined_because(account.account, RESTATED):
        log.warning("a symbol is kept from trading", symbol=symbol, reason=reason)
        changed = books.quarantine(account.account, symbol, None, OperatorAction(operator=LOCKER, reason=reason))
        follow(account, changed, lambda guard: guard.quarantine(symbol, None))
    if not known:
        account.ledger.alerts.record(key=key, kind="corporate_action", message=reason, detail={"symbol": symbol})


def _shows(there: Mapping[str, Decimal], held: Mapping[str, Position], action: Restatement) -> bool:
    """Tell whether the broker has what the action makes of the present position."""
    after = apply_restatement(held, action)
    return bool(after) and all(there.get(symbol, _ZERO) == one.position.qty for symbol, one in after.items())
