"""The checks before the open: all that orders of a session depend on, looked at by what the submission itself asks.

A check that fails keeps no order back: whoever submits asks the same functions again and is refused by them. It says so
early enough for somebody to do something, and writes the reason down for the session.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import structlog

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.ledger.session_records import Outcome
from trading_pipeline.core.risk.halts import Gate, TradingState
from trading_pipeline.errors import (
    ClockUnreliable,
    DataQualityError,
    NotReconciled,
    OperatorError,
    PipelineError,
    TradingHalted,
)
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.session_gate import session_gate
from trading_pipeline.services.status import trading_state
from trading_pipeline.services.tie_out import require_tied_out

CHECK_COLUMNS = ("check", "where", "result", "found", "remedy")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreOpenCheck:
    """One check: what was looked at and where, whether it passed, what was found, and what to do if it did not.

    Orders are refused while a blocking one fails.
    """

    name: str
    where: str
    passed: bool
    found: str
    remedy: str
    blocking: bool = True

    def row(self) -> dict[str, str]:
        """Return it as one row of a table."""
        result = "passed" if self.passed else "FAILED" if self.blocking else "warning"
        remedy = "" if self.passed else self.remedy
        return dict(zip(CHECK_COLUMNS, (self.name, self.where, result, self.found, remedy), strict=True))

    def describe(self) -> str:
        """Say what failed, where, and what to do."""
        return f"{self.name} ({self.where}): {self.found}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreOpen:
    """All checks before the open in which orders decided from `session` work."""

    session: date
    trade_session: date
    checks: tuple[PreOpenCheck, ...]

    @property
    def failed(self) -> list[PreOpenCheck]:
        """The blocking checks that did not pass."""
        return [one for one in self.checks if one.blocking and not one.passed]

    def rows(self) -> list[dict[str, str]]:
        """Return one row a check."""
        return [one.row() for one in self.checks]

    def describe(self) -> str:
        """Say in one sentence how they went."""
        if not self.failed:
            return f"the checks before the open of {self.trade_session} passed"
        why = ". ".join(one.describe() for one in self.failed)
        return f"{len(self.failed)} check(s) before the open of {self.trade_session} failed: {why}"


def check_before_open(account: TradingAccount, lake: Lake, *, run_id: str = "") -> PreOpen:
    """Look at everything that orders decided from the newest session depend on; what is unknown fails.

    A failure of a blocking check is written down as the reason why the session is not traded; that it was traded, or
    that nothing was to do, stands all the same. Checks that pass explain nothing and are not written.

    Raises:
        OperatorError: the broker has not traded yet.
    """
    session = account.broker.current_session
    if session is None:
        raise OperatorError("the broker has not traded yet: there is no session to check for", account=account.account)
    checks = (
        _look("ledger", "PostgreSQL", "start it; look at DATABASE_URL", lambda: _ledger(account)),
        *_account_and_clock(account, session),
        _look("risk book", "Redis", "see `trading-pipeline status` and the runbook", lambda: _book(account)),
        _look("reconciliation", "ledger", "run `trading-pipeline reconcile`", lambda: _gate(account)),
        _look("data", "lake", "materialise what is named", lambda: _data(lake, session)),
        _look("features", "lake", "materialise `features`", lambda: _features(lake, session)),
        _look("tie-out", "ledger", "run `trading-pipeline tie-out`", lambda: _tie_out(account)),
        _look("quarantine", "ledger", "judge, then `release-symbol`", lambda: _quarantine(account), blocking=False),
    )
    told = PreOpen(session=session, trade_session=account.calendar.next(session), checks=checks)
    _tell(account, told, run_id)
    return told


def _tell(account: TradingAccount, told: PreOpen, run_id: str) -> None:
    for one in told.checks:
        say = log.info if one.passed else log.error if one.blocking else log.warning
        say("checked before the open", session=str(told.session), **one.row())
    if not told.failed:
        return
    try:
        account.ledger.session_records.record(
            account.account, told.session, Outcome.REFUSED, told.describe(), run_id=run_id
        )
    except PipelineError as lost:
        log.warning("the failed checks could not be recorded", session=str(told.session), reason=lost.message)


def _look(name: str, where: str, remedy: str, look: Callable[[], str], *, blocking: bool = True) -> PreOpenCheck:
    """Look, and take an error for a check that failed: what is unknown is no."""
    told: dict[str, Any] = {"name": name, "where": where, "remedy": remedy, "blocking": blocking}
    try:
        return PreOpenCheck(passed=True, found=look(), **told)
    except PipelineError as failure:
        return PreOpenCheck(passed=False, found=f"{type(failure).__name__}: {failure.message}", **told)


def _account_and_clock(account: TradingAccount, session: date) -> tuple[PreOpenCheck, PreOpenCheck]:
    """Ask the broker once. It looks at the account first: a clock that is refused belongs to an account that may trade.

    Unknown time is as bad as a wrong one, so without an account the clock fails too.
    """
    refusal: PipelineError | None = None
    try:
        account.broker.require_tradable(session)
    except PipelineError as said:
        refusal = said
    why = "" if refusal is None else f"{type(refusal).__name__}: {refusal.message}"
    only_time = isinstance(refusal, ClockUnreliable)
    ours = PreOpenCheck(
        name="account",
        where=account.broker.name,
        passed=refusal is None or only_time,
        found="the pinned account, and it takes orders" if refusal is None or only_time else why,
        remedy="look at keys, ALPACA_ACCOUNT_ID and the account at the broker",
    )
    clock = PreOpenCheck(
        name="clock",
        where=account.broker.name,
        passed=refusal is None,
        found="the broker's time and hours are ours" if refusal is None else why if only_time else "not looked at",
        remedy="synchronise this machine's clock, or correct the calendar" if only_time else "see to the account first",
    )
    return ours, clock


def _ledger(account: TradingAccount) -> str:
    record = account.ledger.books.get(account.account)
    if not record.epoch:
        raise OperatorError("the account never had a risk book: run `trading-pipeline initialize-risk-book`")
    return f"the book of epoch {record.epoch}"


def _book(account: TradingAccount) -> str:
    state, why = trading_state(account)
    if state is not TradingState.ACTIVE:
        raise TradingHalted(f"trading is {state}: {why}")
    return f"present, of the ledger's epoch, trading is {state}"


def _gate(account: TradingAccount) -> str:
    record = account.ledger.books.get(account.account)
    if record.gate is not Gate.OPEN:
        raise NotReconciled(f"the gate is closed: {record.gate_reason}")
    return f"the gate is open: {record.gate_reason}" if record.gate_reason else "the gate is open"


def _data(lake: Lake, session: date) -> str:
    gate = session_gate(lake, session)
    return f"{len(gate.fresh)} symbol(s) of {session} fresh, {len(gate.excluded)} excluded"


def _features(lake: Lake, session: date) -> str:
    if not lake.sessions(Dataset.FEATURES, start=session, end=session):
        raise DataQualityError(f"the lake has no features of session {session}")
    return f"those of {session}"


def _tie_out(account: TradingAccount) -> str:
    require_tied_out(account)
    newest = account.ledger.tie_outs.newest(account.account)
    return "none is wanted yet" if newest is None else f"{newest.describe()}, signed by {newest.operator}"


def _quarantine(account: TradingAccount) -> str:
    books, externals = account.ledger.books, account.ledger.externals
    held = sorted({*books.quarantined(account.account), *externals.unresolved(account.account)})
    if held:
        raise OperatorError(f"kept from trading: {', '.join(held)}")
    return "no symbol"
