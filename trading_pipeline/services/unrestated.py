"""Orders in shares that the broker was not seen to restate are refused: it and the ledger count them differently."""

from collections.abc import Sequence

from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.orders.model import Purpose
from trading_pipeline.core.risk.clearance import Verdict, VerdictCode
from trading_pipeline.services.account import TradingAccount


def refuse_unrestated(account: TradingAccount, orders: Sequence[OrderRecord], epoch: int) -> dict[str, Verdict]:
    """Return the refusals, by order, of orders that a corporate action keeps back until the broker has booked it.

    The symbol is in quarantine meanwhile; here it is kept back also where somebody has released it. A flatten is not.
    """
    awaited = account.ledger.restatements.awaiting(account.account)
    return {
        order.client_order_id: Verdict(
            code=VerdictCode.SYMBOL_QUARANTINED,
            epoch=epoch,
            sequence=None,
            detail=f"{symbol}: {awaited[symbol].describe()}, not booked by the broker yet: reconcile when it has",
        )
        for order in orders
        if (symbol := order.intent.symbol) in awaited and order.intent.purpose is not Purpose.FLATTEN
    }
