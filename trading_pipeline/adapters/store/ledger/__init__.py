"""The ledger: PostgreSQL tables of orders, events, verdicts, fills and halts. The record of truth."""

from trading_pipeline.adapters.store.ledger.chains import Chain, chains_of
from trading_pipeline.adapters.store.ledger.cleared import ClearedSession
from trading_pipeline.adapters.store.ledger.events import Report
from trading_pipeline.adapters.store.ledger.externals import ExternalOrder
from trading_pipeline.adapters.store.ledger.inbox import Letter, LetterState
from trading_pipeline.adapters.store.ledger.ledger import Ledger
from trading_pipeline.adapters.store.ledger.migrations import migrate
from trading_pipeline.adapters.store.ledger.records import BookRecord, NewOrder, OrderRecord, Standing
from trading_pipeline.adapters.store.ledger.sending import Batch

__all__ = [
    "Batch",
    "BookRecord",
    "Chain",
    "ClearedSession",
    "ExternalOrder",
    "Ledger",
    "Letter",
    "LetterState",
    "NewOrder",
    "OrderRecord",
    "Report",
    "Standing",
    "chains_of",
    "migrate",
]
