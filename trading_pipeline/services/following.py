"""The ledger has decided; the book follows, or counts as stale."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from trading_pipeline.adapters.store.ledger import BookRecord
from trading_pipeline.errors import OperatorError, TradingHalted, TransientError
from trading_pipeline.services.account import TradingAccount

log = structlog.get_logger(__name__)


def follow(account: TradingAccount, record: BookRecord, change: Callable[[], object]) -> BookRecord:
    """Tell the book what the ledger has decided, and take it into the ledger's new epoch.

    The ledger's epoch has moved on already: a book that cannot follow is stale and clears nothing until it is
    rebuilt. An account without a book has nothing to tell.
    """
    if not record.epoch:
        return record
    try:
        change()
        account.guard.renew(from_epoch=record.epoch - 1, to_epoch=record.epoch, min_sequence=record.high_sequence)
    except (TransientError, TradingHalted, OperatorError) as failure:
        log.warning("the book could not follow the ledger", reason=str(failure), epoch=record.epoch)
        return replace(record, stale=f"{failure.message}; everything is refused until rebuild-risk-book")
    return record
