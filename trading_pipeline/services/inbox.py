"""Applies what the stream told to the ledger: in any order, any number of times, from any crash.

A letter is settled after what it says is committed, so a crash in between applies it again, which changes nothing. An
end that the stream told before its executions waits for them: an order never ends short of a share the broker filled.
The broker is not asked: a sweep does that, and either of the two is enough.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from trading_pipeline.adapters.broker.protocol import Execution, TradeUpdate
from trading_pipeline.adapters.store.ledger import Letter, LetterState
from trading_pipeline.core.orders.states import Source
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import DataQualityError, ExecutionConflict, IllegalTransition
from trading_pipeline.services.account import LATE_SESSIONS, TradingAccount
from trading_pipeline.services.settlement import book, pass_on
from trading_pipeline.services.surprises import report_conflict, report_dead_letter, report_fills

STREAM_SOURCE = "stream"
PATIENCE_SECONDS = 5
"""How long applying waits for whoever works on the account; letters wait in the inbox meanwhile."""
LETTERS_TOGETHER = 1_000

Reads = Callable[[bytes], TradeUpdate]
"""Reads one frame; raises DataQualityError when it cannot."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What one pass over the inbox did: letters by what became of them, and the executions booked."""

    applied: int = 0
    ignored: int = 0
    dead: int = 0
    waiting: int = 0
    booked: tuple[Execution, ...] = ()


@dataclass(frozen=True, slots=True)
class _Fate:
    state: LetterState
    reason: str = ""
    booked: tuple[Execution, ...] = ()


def apply_inbox(account: TradingAccount, read: Reads) -> Applied:
    """Apply the letters that wait, alone on the account, and tell the guard.

    Raises:
        ServerUnavailable: another process has been working on the account for too long; nothing is lost.
    """
    inbox = account.ledger.inbox
    if not inbox.pending(account.account, limit=1):
        return Applied()
    with account.ledger.lane(account.account, seconds=PATIENCE_SECONDS):
        fates = _apply_all(account, read)
        pass_on(account)
        _report_fills(account)
    count = {state: sum(fate.state is state for fate in fates) for state in LetterState}
    return Applied(
        applied=count[LetterState.APPLIED],
        ignored=count[LetterState.IGNORED],
        dead=count[LetterState.DEAD],
        waiting=count[LetterState.NEW],
        booked=tuple(one for fate in fates for one in fate.booked),
    )


def redrive_inbox(account: TradingAccount, action: OperatorAction) -> dict[str, int]:
    """Let every dead letter be applied again by whoever listens to the stream; tell how many there were."""
    account.ledger.books.record_action(account.account, "redrive_inbox", action, {})
    return {"letters": account.ledger.inbox.redrive(account.account)}


def _apply_all(account: TradingAccount, read: Reads) -> list[_Fate]:
    """Pass over the letters until a pass settles none: what one of them waited for may have come behind it."""
    fates: dict[int, _Fate] = {}
    after = 0
    while letters := account.ledger.inbox.pending(account.account, after=after, limit=LETTERS_TOGETHER):
        waiting = letters
        while waiting:
            told = {letter.id: _apply(account, letter, read) for letter in waiting}
            settled = [(one, fate) for one, fate in told.items() if fate.state is not LetterState.NEW]
            account.ledger.inbox.settle([(one, fate.state, fate.reason) for one, fate in settled])
            fates |= told
            still = [letter for letter in waiting if told[letter.id].state is LetterState.NEW]
            if len(still) == len(waiting):
                break
            waiting = still
        after = letters[-1].id
    return list(fates.values())


def _apply(account: TradingAccount, letter: Letter, read: Reads) -> _Fate:
    try:
        update = read(letter.raw)
    except DataQualityError as unreadable:
        return _dead(account, letter, unreadable.message)
    stored = account.ledger.orders.get(update.order.client_order_id)
    if stored is None or stored.intent.account != account.account:
        return _Fate(LetterState.IGNORED, f"{update.event} of {update.order.client_order_id}: no order of ours")
    if update.order.symbol != stored.intent.symbol or update.order.side is not stored.intent.side:
        order = update.order
        return _dead(
            account, letter, f"{order.side} {order.symbol} is not what order {stored.client_order_id} asked for"
        )
    try:
        booked = tuple(book(account, [update.execution])) if update.execution else ()
        state = _report(account, stored.client_order_id, update)
    except ExecutionConflict as conflict:
        report_conflict(account, conflict.fields.get("execution_id", str(letter.id)), stored.intent.symbol, conflict)
        return _dead(account, letter, conflict.message)
    except IllegalTransition as impossible:
        return _dead(account, letter, impossible.message)
    return _Fate(state, booked=booked)


def _report(account: TradingAccount, client_order_id: str, update: TradeUpdate) -> LetterState:
    """Bring an order to where an update has it; one that ends before its executions came waits."""
    reported = update.order
    stored = account.ledger.orders.get(client_order_id)
    if reported.state.terminal and (stored is None or stored.filled_qty < reported.filled_qty):
        return LetterState.NEW
    account.ledger.orders.move(
        client_order_id,
        reported.state,
        reason=reported.reason,
        broker_order_id=reported.broker_order_id,
        source=Source.BROKER,
        broker_at=update.at,
        event=update.event,
    )
    return LetterState.APPLIED


def _report_fills(account: TradingAccount) -> None:
    session = account.session()
    if session is not None:
        report_fills(account, account.calendar.shift(session, -LATE_SESSIONS))


def _dead(account: TradingAccount, letter: Letter, why: str) -> _Fate:
    report_dead_letter(account, letter.id, why)
    return _Fate(LetterState.DEAD, why)
