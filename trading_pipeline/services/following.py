"""The ledger has decided; the book follows, or counts as stale."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from trading_pipeline.adapters.guards.book import EpochStep
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import BookRecord
from trading_pipeline.errors import OperatorError, TradingHalted, TransientError
from trading_pipeline.services.account import TradingAccount

log = structlog.get_logger(__name__)


def follow(account: TradingAccount, record: BookRecord, change: Callable[[RiskGuard], object]) -> BookRecord:
    """Make the ledger's change on the book of the epoch before it, which takes the book into the ledger's new epoch.

    Both are one step in Redis: of two changes that are under way at once, the one that comes out of turn finds another
    epoch and leaves the book as it is. A book that could not follow is stale and clears nothing until it is rebuilt. An
    account without a book has nothing to tell.
    """
    if not record.epoch:
        return record
    step = EpochStep(from_epoch=record.follows, to_epoch=record.epoch, min_sequence=record.high_sequence)
    try:
        change(account.guard.following(step))
    except (TransientError, TradingHalted, OperatorError) as failure:
        log.warning("the book could not follow the ledger", reason=str(failure), epoch=record.epoch)
        return replace(record, stale=f"{failure.message}; everything is refused until rebuild-risk-book")
    return record
