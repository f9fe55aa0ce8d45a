"""Opens a trading account inside a sensor's body: Dagster would open it before, also when there is nothing to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from resources import TradingResource
from trading_pipeline.errors import TransientError
from trading_pipeline.services.account import TradingAccount


@contextmanager
def opened_account(trading: TradingResource) -> Iterator[TradingAccount]:
    """Give the account of a resource.

    Raises:
        TransientError: a server is away, whether it was needed to open the account or by what was done with it.
    """
    away: TransientError | None = None
    try:
        with dg.build_resources({"trading": trading}) as opened:
            yield opened.trading.account
    except dg.DagsterResourceFunctionError as error:
        away = _away(error)
        if away is None:
            raise
    if away is not None:
        # Not inside the handler: it is what Dagster wrapped, and must not have the wrapping for a cause.
        raise away


def _away(error: BaseException) -> TransientError | None:
    """Return what a server that is away said, however deep Dagster has wrapped it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, TransientError):
        cause = cause.__cause__
    return cause
