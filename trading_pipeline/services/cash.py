"""The account's cash: activities brought home, the balance compared to the cent, differences accepted.

All of it may be repeated at any time: an activity is recorded once, and what a crash left unrecorded is read again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import structlog

from trading_pipeline.core.cash import CashActivity, CashBalance, CashComparison, dollars
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import OperatorError, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.verification import compare, unawaited

LOOK_BACK: Final = timedelta(days=30)
"""How much older than what is known an activity may be that is posted late."""
ACCEPTED_BY: Final = "`trading-pipeline accept-cash --operator WHO --reason WHY`"
_LOOKS: Final = 3

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CashFinding:
    """What a look at the cash found: the comparison, and each difference as a line."""

    comparison: CashComparison
    differences: tuple[str, ...]


def record_cash(account: TradingAccount, session: date) -> int:
    """Record what moved the broker's cash beside fills, alone on the account; return how many activities were new.

    Raises:
        DataQualityError: an activity cannot be read; none is recorded.
        ServerUnavailable: a server or the broker did not answer.
    """
    with account.ledger.lane(account.account):
        return account.ledger.cash.record(account.account, _activities(account, session))


def compare_cash(account: TradingAccount, session: date, action: OperatorAction) -> CashFinding:
    """Compare the cash of ledger and broker while the caller holds the account's lane; take the opening cash first.

    The shares must agree already: cash follows from fills. What rounding explains is recorded, and expected from then
    on. A difference is one only when a second look finds it too.

    Raises:
        TransientError: cash is moving meanwhile; nothing but activities is written.
        DataQualityError: cash or an activity cannot be read.
    """
    changed, balance = _read(account, session)
    if account.ledger.cash.expected(account.account) is None:
        _open(account, session, action, balance)
    found = _compared(account, balance)
    if not found.agrees:
        changed, balance = _read(account, session)
        found = _compared(account, balance)
    if found.agrees and (found.rounding or found.expected.new_rounded_fills):
        said = OperatorAction(operator=action.operator, reason="rounding by the broker, within its allowance")
        account.ledger.cash.round(account.account, found.rounding, session, said)
    return CashFinding(comparison=found, differences=(*_apart(found, changed), *_unknown(account)))


def accept_cash(account: TradingAccount, session: date, sealed: Mapping[str, Any], action: OperatorAction) -> Decimal:
    """Accept the cash difference that a tie-out sealed, and activities of unknown types; return the dollars accepted.

    Raises:
        OperatorError: nothing waits to be accepted, or the difference is another by now.
        ServerUnavailable: a server or the broker did not answer; repeat it.
    """
    with account.ledger.lane(account.account):
        found = _compared(account, _read(account, session)[1])
        unknown = _unknown(account)
        if found.agrees and not unknown:
            raise OperatorError("the cash is explained: nothing waits to be accepted", account=account.account)
        seen = Decimal(sealed["difference"]) + Decimal(sealed["pending_fees"])
        if not found.agrees and found.rounding != seen:
            raise OperatorError(
                f"{dollars(found.rounding)} dollars are not explained now, and {dollars(seen)} were at the tie-out: "
                "run `trading-pipeline tie-out` again, then accept what it names",
                account=account.account,
            )
        amount = Decimal(0) if found.agrees else found.rounding
        detail = {"dollars": f"{amount:f}", "session": session.isoformat(), "activities": list(unknown)}
        account.ledger.books.record_action(account.account, "accept_cash", action, detail)
        account.ledger.cash.accept(account.account, amount, session, action)
    return amount


def _open(account: TradingAccount, session: date, action: OperatorAction, balance: CashBalance) -> None:
    if unawaited(account, compare(account)):
        raise TransientError(
            "orders are being filled: where the cash began is recorded when nothing moves; run the tie-out again"
        )
    source = OperatorAction(
        operator=action.operator, reason=f"cash of the {account.broker.name} at its first tie-out, less all fills"
    )
    account.ledger.cash.open(account.account, balance.cash, session, source)
    log.info("the opening cash was recorded", account=account.account, broker_cash=str(balance.cash))


def _compared(account: TradingAccount, balance: CashBalance) -> CashComparison:
    expected = account.ledger.cash.expected(account.account)
    if expected is None:
        raise OperatorError(
            "the cash of the account was never taken: run `trading-pipeline tie-out`", account=account.account
        )
    return CashComparison(expected=expected, broker=balance)


def _read(account: TradingAccount, session: date) -> tuple[tuple[str, ...], CashBalance]:
    """Read the balance, then record activities, until none of them is new: what moved the balance is recorded then."""
    cash = account.ledger.cash
    for _ in range(_LOOKS):
        balance = account.broker.cash()
        shown = _activities(account, session)
        if not cash.record(account.account, shown):
            return _changed(account, shown), balance
    raise TransientError("activities keep arriving while the cash is read: run the tie-out again")


def _activities(account: TradingAccount, session: date) -> list[CashActivity]:
    known = account.ledger.cash.newest_session(account.account) or session
    return account.broker.cash_activities(min(known, session) - LOOK_BACK)


def _changed(account: TradingAccount, shown: list[CashActivity]) -> tuple[str, ...]:
    recorded = account.ledger.cash.recorded(account.account, [one.activity_id for one in shown])
    return tuple(
        f"activity {one.activity_id} was {was['type']} of {dollars(was['amount'])} "
        f"and is {one.type} of {dollars(one.amount)} now"
        for one in shown
        if (was := recorded[one.activity_id]) and (was["type"], was["amount"]) != (one.type, one.amount)
    )


def _apart(found: CashComparison, changed: tuple[str, ...]) -> tuple[str, ...]:
    if found.agrees:
        return ()
    return ("; ".join((found.describe(), *changed)) + f" (once a person knows why: {ACCEPTED_BY})",)


def _unknown(account: TradingAccount) -> tuple[str, ...]:
    return tuple(
        f"cash: activity {row['activity_id']} of session {row['session']} moved {dollars(row['amount'])} dollars "
        f"and has a type that is not known, {row['type']} (once a person knows what it is: {ACCEPTED_BY})"
        for row in account.ledger.cash.unknown(account.account)
    )
