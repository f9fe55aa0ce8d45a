"""Orders with a life, made through the ledger's own methods."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from support.trading import ACCOUNT, ACTION, SESSION, order

from trading_pipeline.adapters.store.ledger import Ledger, OrderRecord
from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.executions import Executed
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import Verdict, VerdictCode
from trading_pipeline.core.risk.halts import Gate
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.sessions import xnys

TRADED = xnys().next(SESSION)
FIRST = datetime(TRADED.year, TRADED.month, TRADED.day, 13, 30, tzinfo=UTC)
REFUSED = Verdict(code=VerdictCode.ORDER_SHARES, epoch=1, sequence=1, limit=5)


def live_order(ledger: Ledger, qty: int = 100, *, symbol: str = "AAPL", side: Side = Side.BUY) -> OrderRecord:
    """An order that was refused once, cleared then, and accepted by the broker."""
    if not ledger.books.get(ACCOUNT).epoch:
        ledger.books.begin_epoch(
            ACCOUNT,
            limits=RiskLimits(),
            action=ACTION,
            verb="initialize_risk_book",
            only_first=True,
            gate=Gate.OPEN,
            gate_reason="",
        )
    stored, _ = ledger.orders.record(order(symbol, side, qty))
    order_id = stored.client_order_id
    ledger.orders.record_verdict(stored, REFUSED)
    ledger.orders.move(order_id, OrderState.CLEARED)
    return ledger.orders.move(order_id, OrderState.ACCEPTED, broker_order_id=f"b-{order_id}")


def arrival(
    of: OrderRecord,
    execution_id: str,
    qty: str,
    price: str = "100",
    *,
    fee: str = "0",
    session: date = TRADED,
    minutes: int = 0,
) -> Executed:
    """One execution of an order."""
    fill = Fill(
        execution_id=execution_id,
        symbol=of.intent.symbol,
        side=of.intent.side,
        qty=Decimal(qty),
        price=Decimal(price),
        fee=Decimal(fee),
        session=session,
    )
    return Executed(client_order_id=of.client_order_id, fill=fill, executed_at=FIRST + timedelta(minutes=minutes))


def busy_ledger(ledger: Ledger) -> list[OrderRecord]:
    """Three orders, three executions, an operator's action: something in every table."""
    orders = [
        live_order(ledger, 100),
        live_order(ledger, 60, symbol="MSFT"),
        live_order(ledger, 40, side=Side.SELL),
    ]
    ledger.fills.book_many(
        ACCOUNT,
        [
            arrival(orders[0], "e1", "60", "101.5", fee="1"),
            arrival(orders[1], "e2", "60", "300.25", minutes=1),
            arrival(orders[2], "e3", "10.5", "102", minutes=2),
        ],
    )
    ledger.books.record_action(ACCOUNT, "cancel_all_orders", ACTION, {"orders": 3})
    return orders
