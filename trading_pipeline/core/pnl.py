"""Profit and loss of one session, exact in Decimal.

change(S) = realised(S) - fees(S) + dividends(S) + interest(S) + other(S)
            + unrealised(close of S) - unrealised(close of the session before)
equity(S) = capital + all realised - all fees + all dividends, interest and other + unrealised(close of S)

Fees are those of fills and those charged apart. Dividends, interest and other are cash that the broker's activities
say, each counted there and nowhere else. Transfers, cash paid in or out, are no profit or loss and not in equity.

Both hold to the cent for what is returned, and sessions add up to the whole: a running total is rounded, and a session
gets the difference of two running totals, so no rounding is ever added twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from trading_pipeline.core.accounting import ZERO, Position
from trading_pipeline.core.cash import NO_CASH, CashIncome
from trading_pipeline.core.money import cents
from trading_pipeline.errors import DataQualityError


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPnl:
    """Dollars of one session, rounded to the cent, and the positions at its close."""

    session: date
    realised: Decimal
    fees: Decimal
    dividends: Decimal
    interest: Decimal
    other: Decimal
    transfers: Decimal
    unrealised: Decimal
    change: Decimal
    equity: Decimal
    positions: Mapping[str, Position]


def session_pnl(
    session: date,
    *,
    now: Mapping[str, Position],
    before: Mapping[str, Position],
    marks: Mapping[str, Decimal],
    marks_before: Mapping[str, Decimal],
    capital: Decimal,
    cash: CashIncome = NO_CASH,
    cash_before: CashIncome = NO_CASH,
) -> SessionPnl:
    """Compute the P&L of a session.

    `now` are the positions at its close, `before` those at the close of the session before, flat ones too. Both follow
    from the fills by the session they happened in: one that was booked late counts there. `marks` are closing prices
    of the session, `marks_before` those of the session before. `cash` and `cash_before`
    are what cash beside fills earned up to the two closes.

    Raises:
        DataQualityError: a held symbol has no mark.
    """
    realised, realised_before = _cents_of(now, "realised"), _cents_of(before, "realised")
    fees = _cents_of(now, "fees") + cents(cash.fees)
    fees_before = _cents_of(before, "fees") + cents(cash_before.fees)
    unrealised = cents(unrealised_total(now, marks, session))
    unrealised_before = cents(unrealised_total(before, marks_before, session))
    gained, paid = realised - realised_before, fees - fees_before
    dividends = cents(cash.dividends) - cents(cash_before.dividends)
    interest = cents(cash.interest) - cents(cash_before.interest)
    other = cents(cash.other) - cents(cash_before.other)
    return SessionPnl(
        session=session,
        realised=gained,
        fees=paid,
        dividends=dividends,
        interest=interest,
        other=other,
        transfers=cents(cash.transfers) - cents(cash_before.transfers),
        unrealised=unrealised,
        change=gained - paid + dividends + interest + other + unrealised - unrealised_before,
        equity=equity_of(now, marks=marks, capital=capital, session=session, cash=cash),
        positions={symbol: position for symbol, position in now.items() if position.qty},
    )


def equity_of(
    positions: Mapping[str, Position],
    *,
    marks: Mapping[str, Decimal],
    capital: Decimal,
    session: date,
    cash: CashIncome = NO_CASH,
) -> Decimal:
    """Return what an account is worth with these positions, flat ones among them, in dollars rounded to the cent.

    `cash` is what cash beside fills has earned.

    Raises:
        DataQualityError: a held symbol has no mark.
    """
    earned = _cents_of(positions, "realised") - _cents_of(positions, "fees") + cash.earned
    return cents(capital) + earned + cents(unrealised_total(positions, marks, session))


def unrealised_total(positions: Mapping[str, Position], marks: Mapping[str, Decimal], session: date) -> Decimal:
    """Sum the unrealised dollars of all open positions.

    Raises:
        DataQualityError: a held symbol has no mark.
    """
    held = [position for position in positions.values() if position.qty]
    missing = sorted(position.symbol for position in held if position.symbol not in marks)
    if missing:
        raise DataQualityError(
            f"no price near {session} to value {', '.join(missing)}: import their bars, then run again",
            session=session,
            symbols=missing,
        )
    return sum((position.unrealised(marks[position.symbol]) for position in held), ZERO)


def _cents_of(positions: Mapping[str, Position], name: str) -> Decimal:
    return cents(sum((getattr(position, name) for position in positions.values()), ZERO))
