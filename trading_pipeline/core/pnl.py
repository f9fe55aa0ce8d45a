"""Profit and loss of one session, exact in Decimal.

change(S) = realised(S) - fees(S) + unrealised(close of S) - unrealised(close of the session before)
equity(S) = capital + all realised - all fees + unrealised(close of S)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from trading_pipeline.core.accounting import ZERO, Fill, Position, replay
from trading_pipeline.core.money import cents
from trading_pipeline.errors import DataQualityError


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPnl:
    """Dollars of one session, rounded to the cent, and the positions at its close."""

    session: date
    realised: Decimal
    fees: Decimal
    unrealised: Decimal
    change: Decimal
    equity: Decimal
    positions: Mapping[str, Position]


def session_pnl(
    session: date,
    fills: Sequence[tuple[Fill, Decimal]],
    *,
    marks: Mapping[str, Decimal],
    marks_before: Mapping[str, Decimal],
    capital: Decimal,
) -> SessionPnl:
    """Compute the P&L of a session.

    `fills` are all fills through the session in order of booking, each with the dollars it realised. `marks` are
    closing prices of the session, `marks_before` those of the session before.

    Raises:
        DataQualityError: a held symbol has no mark.
    """
    now = replay(fill for fill, _ in fills)
    before = replay(fill for fill, _ in fills if fill.session < session)
    unrealised = unrealised_total(now, marks, session)
    today = [(fill, realised) for fill, realised in fills if fill.session == session]
    realised = sum((realised for _, realised in today), ZERO)
    fees = sum((fill.fee for fill, _ in today), ZERO)
    booked = sum((realised for _, realised in fills), ZERO) - sum((fill.fee for fill, _ in fills), ZERO)
    change = realised - fees + unrealised - unrealised_total(before, marks_before, session)
    return SessionPnl(
        session=session,
        realised=cents(realised),
        fees=cents(fees),
        unrealised=cents(unrealised),
        change=cents(change),
        equity=cents(capital + booked + unrealised),
        positions={symbol: position for symbol, position in now.items() if position.qty},
    )


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
