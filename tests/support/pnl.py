"""The P&L of a session by a replay of all its fills: what the ledger's own figures have to come to."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

from trading_pipeline.core.accounting import Fill, replay
from trading_pipeline.core.pnl import SessionPnl, session_pnl


def pnl_of_fills(
    session: date,
    fills: Iterable[Fill],
    *,
    marks: Mapping[str, Decimal],
    marks_before: Mapping[str, Decimal],
    capital: Decimal,
) -> SessionPnl:
    """Replay fills, session by session, to the close of this one and of the one before."""
    ordered = sorted(fills, key=lambda fill: fill.session)
    return session_pnl(
        session,
        now=replay(ordered),
        before=replay(fill for fill in ordered if fill.session < session),
        marks=marks,
        marks_before=marks_before,
        capital=capital,
    )
