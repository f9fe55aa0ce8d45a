"""What an account is worth at the close, or in the middle, of a session."""

from collections.abc import Collection, Mapping
from datetime import date
from decimal import Decimal
from typing import Final

from trading_pipeline.core.accounting import Position
from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.core.pnl import SessionPnl, equity_of, session_pnl
from trading_pipeline.errors import DataQualityError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.valuation import Quotes, Valuation

AMOUNTS: Final = (
    "realised",
    "fees",
    "dividends",
    "interest",
    "other",
    "transfers",
    "unrealised",
    "change",
    "equity",
)
"""What is recorded of a session, dollars."""


def record_sessions(account: TradingAccount, sessions: Collection[date]) -> list[SessionPnl]:
    """Value sessions and record their profit and loss; return them in their order.

    Those before them that were recorded before something was booked that counts for them, a fee charged the next day or
    a fill that came late, are recorded anew and returned too: so the changes of all sessions add up. The lane is held
    for each, so that nothing is booked between its valuation and its record.

    Raises:
        DataQualityError: as `value_session`.
    """
    outdated = account.ledger.fills.outdated_pnl(account.account, max(sessions))
    results = []
    for session in sorted({*sessions, *outdated}):
        with account.ledger.lane(account.account):
            valued = value_session(account, session)
            amounts = {name: getattr(valued, name) for name in AMOUNTS}
            account.ledger.fills.record_session_pnl(account.account, session, **amounts)
        results.append(valued)
    return results


def value_session(account: TradingAccount, session: date) -> SessionPnl:
    """Value the account in a session: its positions at the close of it and of the one before, at their last prices.

    Raises:
        DataQualityError: a held symbol has no price, or the account has no valuation.
    """
    valuation = _valuation(account)
    day_before = account.calendar.previous(session)
    fills = account.ledger.fills
    now, before = fills.positions_at(account.account, session), fills.positions_at(account.account, day_before)
    return session_pnl(
        session,
        now=now,
        before=before,
        marks=_marks(account, valuation, session, now),
        marks_before=_marks(account, valuation, day_before, before),
        capital=valuation.capital,
        cash=account.ledger.cash.income(account.account, session),
        cash_before=account.ledger.cash.income(account.account, day_before),
    )


def equity_in(account: TradingAccount, session: date) -> Decimal:
    """Return what the account is worth in a session, dollars: as `value_session` has it, and as it fails.

    Raises:
        DataQualityError: a held symbol has no price, or the account has no valuation.
    """
    valuation = _valuation(account)
    held = account.ledger.fills.positions_at(account.account, session)
    return equity_of(
        held,
        marks=_marks(account, valuation, session, held),
        capital=valuation.capital,
        session=session,
        cash=account.ledger.cash.income(account.account, session),
    )


def marks_in(
    account: TradingAccount, quotes: Quotes, session: date, positions: Mapping[str, Position]
) -> dict[str, ReferencePrice]:
    """Return the last price known in a session of what is held, dollars a share, in the shares that are held.

    A price from before a recorded action is restated by it, as the position was: a symbol may have no bar on the day
    of its split. A symbol without a price is absent.
    """
    held = {symbol for symbol, one in positions.items() if one.qty}
    restatements = account.ledger.restatements
    closes = quotes(session, restatements.names_of(account.account, held))
    marks = restatements.marks(account.account, session, closes)
    return {symbol: mark for symbol, mark in marks.items() if symbol in held}


def _marks(
    account: TradingAccount, valuation: Valuation, session: date, positions: Mapping[str, Position]
) -> dict[str, Decimal]:
    return {symbol: mark.price for symbol, mark in marks_in(account, valuation.quotes, session, positions).items()}


def _valuation(account: TradingAccount) -> Valuation:
    if account.valuation is None:
        raise DataQualityError(f"account {account.account} was opened without prices and capital to value it by")
    return account.valuation
