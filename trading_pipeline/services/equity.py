"""What an account is worth at the close, or in the middle, of a session."""

from datetime import date

from trading_pipeline.core.pnl import SessionPnl, session_pnl
from trading_pipeline.errors import DataQualityError
from trading_pipeline.services.account import TradingAccount


def value_session(account: TradingAccount, session: date) -> SessionPnl:
    """Value the account in a session: all fills up to it, at the last prices known in it and in the one before.

    Raises:
        DataQualityError: a held symbol has no price, or the account has no valuation.
    """
    valuation = account.valuation
    if valuation is None:
        raise DataQualityError(f"account {account.account} was opened without prices and capital to value it by")
    history = [fill for fill, _ in account.ledger.fills.through(account.account, session)]
    symbols = {fill.symbol for fill in history}
    before = account.calendar.previous(session)
    return session_pnl(
        session,
        history,
        marks={symbol: quote.price for symbol, quote in valuation.quotes(session, symbols).items()},
        marks_before={symbol: quote.price for symbol, quote in valuation.quotes(before, symbols).items()},
        capital=valuation.capital,
    )
