"""The end of a session: ledger, book and broker agree to share and cent, or the account trades no further session.

A broker of real time has sessions whether we look or not: there the last one in which the account traded, or held
shares or orders, must have been tied out after its close before another is traded. The simulated exchange has a session
only when a run brings it there, and the asset `tie_out` of that run comes before its orders.
"""

from datetime import date
from typing import Any

from trading_pipeline.adapters.store.ledger.tie_outs import TieOut
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import NotReconciled, OperatorError, TieOutFailed, TieOutMissing
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.cash import accept_cash, compare_cash
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.verification import verify_book

MENDED_BY = "`trading-pipeline tie-out --operator WHO --reason WHY`"


def tie_out(account: TradingAccount, action: OperatorAction) -> TieOut:
    """Compare the three and seal the answer in the ledger, for the session that profit and loss count for now.

    Cash is compared when the shares agree: it follows from them. Shares that the broker has not restated by a recorded
    corporate action, which moves no cash, are named and fail nothing: their symbol's orders wait. An answer given while
    the session is open is not the one that its end wants: see `TieOut.final`.

    Raises:
        OperatorError: the account has not traded yet.
        DataQualityError: the broker's cash or what moved it cannot be read; nothing is written.
        ServerUnavailable: a server or the broker did not answer; nothing is written, and the answer before counts.
    """
    session, as_of = account.session(), account.instant()
    if session is None or as_of is None:
        raise OperatorError("the account has not traded yet: there is nothing to tie out", account=account.account)
    compared = verify_book(account)
    differences = [one.describe() for one in compared.unexplained]
    cash: dict[str, Any] | None = None
    if not differences:
        with account.ledger.lane(account.account):
            found = compare_cash(account, session, action)
        differences, cash = list(found.differences), found.comparison.as_document()
    held = {symbol: one.qty for symbol, one in account.ledger.fills.positions(account.account).items()}
    return account.ledger.tie_outs.record(
        account.account,
        session,
        held,
        differences,
        action.operator,
        as_of=as_of,
        final=as_of >= account.calendar.close_at(session),
        cash=cash,
        awaited={one.symbol: one.describe() for one in compared.awaited},
    )


def tie_out_session(account: TradingAccount, session: date, action: OperatorAction) -> TieOut | None:
    """Settle and tie out a session, or return its answer where the account has gone on since; None: it has none.

    Raises:
        ServerUnavailable: as `tie_out`.
    """
    settle(account, session)
    if account.session() == session:
        return tie_out(account, action)
    return account.ledger.tie_outs.of_session(account.account, session)


def accept_cash_difference(account: TradingAccount, action: OperatorAction) -> list[dict[str, Any]]:
    """Accept what the newest tie-out named of the cash, with a reason; the next one does not name it again.

    Raises:
        OperatorError: the newest tie-out named nothing of the cash, or its difference is another by now.
        ServerUnavailable: as `tie_out`.
    """
    failed = failed_tie_out(account)
    if failed is None or failed.cash is None:
        raise OperatorError(
            "the newest tie-out has no difference of cash that could be accepted: run `trading-pipeline tie-out` first",
            account=account.account,
        )
    dollars = accept_cash(account, failed.session, failed.cash, action)
    session = failed.session.isoformat()
    return [{"session": session, "accepted_dollars": f"{dollars:f}", "next": f"run {MENDED_BY}"}]


def failed_tie_out(account: TradingAccount) -> TieOut | None:
    """Return the newest tie-out of the account if it failed: until one succeeds no order but a flatten is sent."""
    newest = account.ledger.tie_outs.newest(account.account)
    return None if newest is None or newest.agrees else newest


def missing_tie_out(account: TradingAccount) -> date | None:
    """Return the session that wants a tie-out and has none after its close; None when there is no such session.

    An account without any fill, order or share has none; nor has one whose broker's time is not real.
    """
    through = account.broker.current_session
    if through is None or not account.broker.real_time:
        return None
    active = account.ledger.tie_outs.last_active(account.account, through)
    covered = account.ledger.tie_outs.tied_out_through(account.account)
    return None if active is None or (covered is not None and covered >= active) else active


def kept_back(account: TradingAccount) -> NotReconciled | None:
    """Return why no order but a flatten may be sent: the newest tie-out failed, or one is missing; else None."""
    failed = failed_tie_out(account)
    if failed is not None:
        return _failure(failed)
    missing = missing_tie_out(account)
    if missing is None:
        return None
    return TieOutMissing(
        f"session {missing} was not tied out after its close: run {MENDED_BY}", session=missing.isoformat()
    )


def require_tied_out(account: TradingAccount) -> None:
    """Check that the newest tie-out of the account did not fail, and that none is missing.

    Raises:
        TieOutFailed: it did; orders are kept back until one succeeds.
        TieOutMissing: the last session in which the account did anything has none.
    """
    reason = kept_back(account)
    if reason is not None:
        raise reason


def require_agreement(found: TieOut) -> None:
    """Check that a tie-out found nothing.

    Raises:
        TieOutFailed: it found differences.
    """
    if not found.agrees:
        raise _failure(found)


def _failure(found: TieOut) -> TieOutFailed:
    return TieOutFailed(f"{found.describe()}: reconcile, then run {MENDED_BY}", session=found.session.isoformat())
