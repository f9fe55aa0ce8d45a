"""Every session was traded or explained: what became of each, from what runs wrote down and from the orders themselves.

A run that decides a session's orders writes what became of them, also when it was refused; a run that failed before it
could is written down by what watches runs. A process that was killed after it had sent orders leaves the orders, which
say that the session was traded. What leaves neither is found when the next session opens, and an alert says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import structlog

from trading_pipeline.adapters.store.ledger.session_records import Outcome, SessionRecord
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import PipelineError
from trading_pipeline.services.account import TradingAccount

LOOK_BACK = 20
"""How many sessions back are looked at."""
_STANDING = (Outcome.TRADED, Outcome.NOTHING_TO_DO)
"""What a later failure of the same session does not undo."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What became of a session; `outcome` is None when nothing tells."""

    session: date
    outcome: Outcome | None
    reason: str
    orders: int = 0
    at_the_broker: int = 0
    refused: int = 0
    at: datetime | None = None

    def row(self) -> dict[str, Any]:
        """Return it as one row of a table."""
        return {
            "session": self.session.isoformat(),
            "outcome": self.outcome.value if self.outcome else "UNEXPLAINED",
            "orders": self.orders,
            "at_the_broker": self.at_the_broker,
            "refused": self.refused,
            "reason": self.reason,
            "at": self.at.isoformat(timespec="seconds") if self.at else "",
        }


def record_refusal(account: TradingAccount, session: date, refusal: PipelineError, run_id: str) -> None:
    """Write why a session's orders were not decided or sent. What goes wrong here must not hide the refusal itself."""
    reason = f"{type(refusal).__name__}: {refusal.message}"
    try:
        account.ledger.session_records.record(account.account, session, Outcome.REFUSED, reason, run_id=run_id)
    except PipelineError as lost:
        log.warning("why the session was not traded could not be recorded", session=str(session), reason=lost.message)


def explain_session(account: TradingAccount, session: date, action: OperatorAction) -> Story:
    """Write an operator's word on why a session was not traded.

    Raises:
        NotASession: the exchange had none that day.
    """
    account.calendar.require(session)
    reason = f"{action.operator}: {action.reason}"
    account.ledger.books.record_action(account.account, "explain_session", action, {"session": session.isoformat()})
    account.ledger.session_records.record(account.account, session, Outcome.EXPLAINED, reason)
    return stories(account, [session])[0]


def stories(account: TradingAccount, sessions: Sequence[date]) -> list[Story]:
    """Return what became of sessions, in their order.

    That orders were sent, or none was wanted, stands whatever came later; else the newest statement counts.
    """
    records: dict[date, SessionRecord] = {}
    for one in account.ledger.session_records.of_sessions(account.account, sessions):
        if one.session not in records or records[one.session].outcome not in _STANDING or one.outcome in _STANDING:
            records[one.session] = one
    counts = account.ledger.session_records.order_counts(account.account, sessions)
    return [_story(session, records.get(session), counts.get(session, {})) for session in sessions]


def last_stories(account: TradingAccount, count: int = LOOK_BACK) -> list[Story]:
    """Return what became of the newest sessions that could have been traded by now, newest last."""
    return stories(account, _due(account)[-count:])


def unexplained(account: TradingAccount) -> list[Story]:
    """Return the sessions of the last weeks that were neither traded nor explained.

    Only where the broker's time is real: the simulated exchange has a session when a run brings it there.
    """
    if not account.broker.real_time:
        return []
    return [one for one in last_stories(account) if one.outcome is None]


def alert_unexplained(account: TradingAccount) -> list[Story]:
    """Write an alert for each session that was neither traded nor explained, once, and return them all."""
    found = unexplained(account)
    for one in found:
        log.error("a session was neither traded nor explained", session=str(one.session))
        account.ledger.alerts.record(
            key=f"session_unexplained:{account.account}:{one.session}",
            kind="session_unexplained",
            message=f"session {one.session} was neither traded nor explained: no run left orders or a reason",
            detail={"session": one.session.isoformat()},
        )
    return found


def _story(session: date, record: SessionRecord | None, counts: dict[str, int]) -> Story:
    sent = counts.get("at_the_broker", 0)
    outcome = Outcome.TRADED if sent else record.outcome if record else None
    if record is not None and record.outcome is outcome:
        reason = record.reason
    elif sent:
        reason = "its orders are at the broker; the run that sent them left no word"
    else:
        reason = "no run left orders or a reason: look for it in the UI, then trade it or `explain-session`"
    return Story(session=session, outcome=outcome, reason=reason, at=record.at if record else None, **counts)


def _due(account: TradingAccount) -> list[date]:
    """Return the sessions since the account began whose orders were wanted by now: the next session has opened."""
    calendar, now = account.calendar, account.instant()
    first = _first(account)
    if now is None or first is None:
        return []
    last = calendar.latest_closed(now)
    if account.broker.real_time and calendar.open_at(calendar.next(last)) > now:
        last = calendar.previous(last)
    if last < first:
        return []
    return calendar.between(max(first, calendar.shift_within(last, 1 - LOOK_BACK)), last)


def _first(account: TradingAccount) -> date | None:
    begun = account.ledger.session_records.beginning(account.account)
    known = [day for day in (begun.recorded, begun.ordered) if day is not None]
    if begun.initialised is not None and account.broker.real_time:
        calendar = account.calendar
        closed = calendar.latest_closed(begun.initialised)
        late = calendar.open_at(calendar.next(closed)) <= begun.initialised
        known.append(calendar.next(closed) if late else closed)
    return min(known) if known else None
