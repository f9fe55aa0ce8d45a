"""Which symbols need a price in session: those held or under way, those wanted, and those that a person named."""

from collections.abc import Callable, Collection, Mapping

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.twap import planned_shares


def quote_needs(
    account: TradingAccount, lake: Lake, manual: Collection[str]
) -> Mapping[str, Callable[[], Collection[str]]]:
    """Return the sources of symbols, the most pressing first."""
    return {
        "position": lambda: _held(account),
        "target": lambda: _wanted(account, lake),
        "manual": lambda: manual,
    }


def _held(account: TradingAccount) -> Collection[str]:
    exposure = account.ledger.orders.exposure(account.account)
    return {symbol for symbol, one in exposure.items() if one.position or one.pending}


def _wanted(account: TradingAccount, lake: Lake) -> Collection[str]:
    """Return the symbols of the newest target, and of large orders that have slices left."""
    sessions = lake.sessions(Dataset.TARGET_PORTFOLIO)
    wanted = set(planned_shares(account))
    if sessions:
        wanted.update(lake.read_session(Dataset.TARGET_PORTFOLIO, sessions[-1])["symbol"])
    return wanted
