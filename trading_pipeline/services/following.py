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


def follow(account: TradingAccount, record: BookRecord, change: Callable[[RiskGuard], int]) -> BookRecord:
    """Make the ledger's change on the book of the epoch before it, which takes the book into the ledger's new epoch.

    Both are one step in Redis: of two changes that are under way at once, the one that comes out of turn finds another
    epoch and leaves the book as it is. A book that could not follow is stale and clears nothing until it is made anew:
    by the next reconciliation if it has lost nothing else, or by an operator. An account without a book has nothing to
    tell.
    """
    if not record.epoch:
        return record
    step = EpochStep(from_epoch=record.follows, to_epoch=record.epoch, min_sequence=record.high_sequence)
    try:
        sequence = change(account.guard.following(step))
    except (TransientError, TradingHalted, OperatorError) as failure:
        log.warning("the book could not follow the ledger", reason=str(failure), epoch=record.epoch)
        until = "until a reconciliation finds that it lost nothing else, or rebuild-risk-book"
        return replace(record, stale=f"{failure.message}; everything is refused {until}")
    try:
        account.ledger.books.saw_book(account.account, record.epoch, sequence)
    except TransientError as away:
        log.warning("the book has followed, which the ledger could not be told", reason=away.message)
    return record
