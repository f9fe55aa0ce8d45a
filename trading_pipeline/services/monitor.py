"""The risk monitor: reads the facts, judges every rule, remembers the equity peak, and trips the breaker.

`assess` only looks. `act_on` acts, ledger first: what trips here holds although Redis is away. `watch_fills` is what
settlement calls after booking, while it holds the account's lane; the whole look is in `watching`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog

from trading_pipeline.adapters.store.ledger.monitors import MonitorRecord
from trading_pipeline.core.risk.halts import Breaker, OperatorAction
from trading_pipeline.core.risk.monitor import Equity, MonitorFacts, Reading, Rule, judge
from trading_pipeline.core.risk.monitor_limits import MonitorLimits
from trading_pipeline.errors import DataQualityError, OperatorError, PipelineError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.equity import equity_in, value_session
from trading_pipeline.services.following import follow
from trading_pipeline.services.verification import Verification, verify_book

MONITOR = "risk monitor"
"""Who trips the breaker, in the audit trail."""

ON_FILLS = frozenset({Rule.DAILY_LOSS, Rule.DAILY_LOSS_PCT, Rule.DRAWDOWN, Rule.BROKER_ERRORS, Rule.REJECT_RATE})
"""What a fill can change. The other rules speak of time, or compare what is settled only after the fills are."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """One look at an account.

    Attributes:
        session: the exchange session profit and loss count for; None before the account's first.
        readings: every rule that could be judged.
        equity: dollars, None when unknown.
        unreachable: why a rule could not be judged, or not on all there is: a server was away, or said what cannot be
            read. Nothing is known against the account by that.
        verification: ledger, book and broker compared; None when this look did not.
        tripped: the reason, when this look tripped the breaker.
    """

    session: date | None
    readings: tuple[Reading, ...] = ()
    equity: Decimal | None = None
    unreachable: str = ""
    verification: Verification | None = None
    tripped: str = ""

    @property
    def breached(self) -> tuple[Reading, ...]:
        """The rules beyond their limit, or whose facts are unknown."""
        return tuple(one for one in self.readings if one.breached)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a rule: observed value, limit, headroom and share used."""
        return [one.as_row() for one in self.readings]


def assess(account: TradingAccount, *, settle: Callable[[], object] | None = None) -> Assessment:
    """Judge every rule as of now; change nothing but what `settle` does, for which see `verify_book`.

    Raises:
        ServerUnavailable: PostgreSQL did not answer. Of another server the assessment says so itself.
    """
    session = account.session()
    if session is None:
        return Assessment(session=None)
    verification, unreachable = _verified(account, settle)
    facts = _facts(account, session, verification)
    readings = judge(facts, account.ledger.books.get(account.account).limits.monitor)
    if verification is None:
        readings = tuple(one for one in readings if one.rule is not Rule.MISMATCH)
    return Assessment(
        session=session,
        readings=readings,
        equity=facts.equity.now if isinstance(facts.equity, Equity) else None,
        unreachable=unreachable,
        verification=verification,
    )


def watch_fills(account: TradingAccount) -> Assessment:
    """Judge what fills can change, and act on it. For settlement: it never waits for the account's lane."""
    session = account.session()
    if session is None or account.valuation is None:
        return Assessment(session=session)
    facts = _facts(account, session, None)
    readings = judge(facts, account.ledger.books.get(account.account).limits.monitor)
    equity = facts.equity.now if isinstance(facts.equity, Equity) else None
    judged = tuple(one for one in readings if one.rule in ON_FILLS)
    return act_on(account, Assessment(session=session, readings=judged, equity=equity))


def reset_equity_peak(account: TradingAccount, action: OperatorAction) -> dict[str, Any]:
    """Let the drawdown count from the present equity on; the peak so far stays in the audit trail.

    Raises:
        OperatorError: the account has not traded yet, or its equity is unknown.
    """
    session = account.session()
    if session is None:
        raise OperatorError("the account has not traded yet: there is no equity peak")
    try:
        equity = equity_in(account, session)
    except DataQualityError as unknown:
        raise OperatorError(f"the equity is unknown, so it can be no peak: {unknown.message}") from unknown
    monitors = account.ledger.monitors
    before = monitors.get(account.account).peak_equity
    detail = {"from": str(before), "to": str(equity), "session": session.isoformat()}
    account.ledger.books.record_action(account.account, "reset_equity_peak", action, detail)
    monitors.reset_peak(account.account, equity, session)
    return {"account": account.account, "peak_before": str(before or ""), "peak_now": str(equity)}


def act_on(account: TradingAccount, assessment: Assessment) -> Assessment:
    """Remember a new equity peak, and trip the breaker if a rule is breached."""
    if assessment.equity is not None and assessment.session is not None:
        account.ledger.monitors.raise_peak(account.account, assessment.equity, assessment.session)
    for one in assessment.readings:
        if one.near:
            log.warning("a limit of the risk monitor is nearly used, or exceeded", reading=one.describe())
    if not assessment.breached:
        return assessment
    return _trip(account, assessment)


def _trip(account: TradingAccount, assessment: Assessment) -> Assessment:
    record = account.ledger.books.get(account.account)
    if record.breaker is Breaker.TRIPPED or not record.epoch:
        return assessment
    reason = assessment.breached[0].describe()
    action = OperatorAction(operator=MONITOR, reason=reason)
    record = account.ledger.books.trip_breaker(account.account, reason, action)
    follow(account, record, lambda guard: guard.trip(reason))
    account.ledger.alerts.record(
        key=f"trip:{account.account}:{record.epoch}",
        kind="breaker_tripped",
        message=reason,
        detail={"rules": [one.describe() for one in assessment.breached], "session": str(assessment.session)},
    )
    log.error("the risk monitor tripped the breaker", reason=reason, rules=[one.rule for one in assessment.breached])
    return replace(assessment, tripped=reason)


def _facts(account: TradingAccount, session: date, verification: Verification | None) -> MonitorFacts:
    record = account.ledger.monitors.get(account.account)
    limits = account.ledger.books.get(account.account).limits.monitor
    mark, age = _oldest_mark(account, session)
    order, waited = _oldest_unconfirmed(account)
    answered, rejected = _answers(account, limits)
    return MonitorFacts(
        session=session,
        equity=_equity(account, session, record),
        mark_age_minutes=age,
        oldest_mark=mark,
        broker_errors=record.broker_errors,
        last_broker_error=record.last_broker_error,
        answered=answered,
        rejected=rejected,
        sessions_without_freshness=_without_freshness(account, session),
        unconfirmed_seconds=waited,
        oldest_unconfirmed=order,
        differences=() if verification is None else tuple(one.describe() for one in verification.mismatches),
    )


def _equity(account: TradingAccount, session: date, record: MonitorRecord) -> Equity | str:
    try:
        pnl = value_session(account, session)
    except DataQualityError as unknown:
        return unknown.message
    before = pnl.equity - pnl.change
    peak = max(pnl.equity, before) if record.peak_equity is None else max(pnl.equity, record.peak_equity)
    return Equity(now=pnl.equity, before=before, peak=peak)


def _oldest_mark(account: TradingAccount, session: date) -> tuple[str, int | str]:
    held = set(account.ledger.fills.positions(account.account))
    if not held:
        return "", 0
    quotes = {} if account.valuation is None else account.valuation.quotes(session, held)
    missing = sorted(held - set(quotes))
    if missing:
        return "", f"no price of {', '.join(missing)} near {session}"
    now = account.instant()
    if now is None:
        return "", f"no time to judge {session} at"
    ages = {name: _minutes(account, quote.as_of, now) for name, quote in quotes.items()}
    oldest = max(sorted(ages), key=lambda name: ages[name])
    return f"{oldest}: {quotes[oldest].source} at {quotes[oldest].as_of.isoformat()}", ages[oldest]


def _minutes(account: TradingAccount, since: datetime, now: datetime) -> int:
    return account.calendar.open_minutes(since, now) if since < now else 0


def _oldest_unconfirmed(account: TradingAccount) -> tuple[str, int]:
    waiting = account.ledger.monitors.oldest_unconfirmed(account.account)
    if waiting is None:
        return "", 0
    order, since = waiting
    return order, max(0, int((account.clock.now() - since).total_seconds()))


def _answers(account: TradingAccount, limits: MonitorLimits) -> tuple[int, int]:
    since = account.clock.now() - timedelta(minutes=limits.reject_rate_window_minutes)
    return account.ledger.monitors.answers_since(account.account, since)


def _without_freshness(account: TradingAccount, session: date) -> int | str:
    judged = account.broker.current_session if account.broker.real_time else session
    if judged is None:
        return 0
    newest = None if account.valuation is None else account.valuation.newest_fresh(judged)
    if newest is None:
        return f"no session near {judged} has data judged fresh"
    return len(account.calendar.between(newest, judged)) - 1


def _verified(account: TradingAccount, settle: Callable[[], object] | None) -> tuple[Verification | None, str]:
    try:
        verification = verify_book(account, settle=settle)
    except PipelineError as unknown:
        log.warning("ledger, book and broker could not be compared", reason=unknown.message)
        return None, unknown.message
    return verification, verification.why_unsettled
