"""Books executions: once each, in one transaction with the position and the order they change.

When the broker's cumulative figures are ahead of the executions we know, the difference is booked as a synthetic fill.
The executions that arrive later take its place: what is left of it is booked anew, and the symbol's positions are
replayed as if the executions had always stood there.
"""

from decimal import Decimal, localcontext
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.events import Report, append_events
from trading_pipeline.core.accounting import ZERO, Booking, Fill, Position, apply_fill
from trading_pipeline.core.executions import DIGITS, Executed
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import TERMINAL, OrderState, Source
from trading_pipeline.errors import ExecutionConflict, OrderError

_ORDER = "select * from ledger.orders where client_order_id = %s for update"
_INSERT = """
insert into ledger.fills (execution_id, account, client_order_id, symbol, side, qty, price, fee, session, executed_at,
                          position_after, average_after, cost_after, realised, kind, told_qty, posted)
values (%(execution_id)s, %(account)s, %(client_order_id)s, %(symbol)s, %(side)s, %(qty)s, %(price)s, %(fee)s,
        %(session)s, %(executed_at)s, %(position_after)s, %(average_after)s, %(cost_after)s, %(realised)s, %(kind)s,
        %(told_qty)s, %(posted)s)
"""
_STORE_POSITION = """
insert into ledger.positions (account, symbol, qty, cost, average_price, realised, fees)
values (%(account)s, %(symbol)s, %(qty)s, %(cost)s, %(average_price)s, %(realised)s, %(fees)s)
on conflict (account, symbol) do update
   set qty = excluded.qty, cost = excluded.cost, average_price = excluded.average_price,
       realised = excluded.realised, fees = excluded.fees, updated_at = now()
"""
_STANDING_SYNTHETIC = """
select * from ledger.effective_fills where client_order_id = %s and kind = 'synthetic'
"""
_OF_SYMBOL = """
select * from ledger.effective_fills where account = %s and symbol = %s order by session, executed_at, execution_id
"""
_LATER = """
select 1 from ledger.fills
 where account = %(account)s and symbol = %(symbol)s
   and (session, executed_at, execution_id) > (%(session)s, %(executed_at)s, %(execution_id)s) limit 1
"""
_REPLAYED = """
update ledger.fills set position_after = %s, average_after = %s, cost_after = %s, realised = %s
 where execution_id = %s
"""
_OVERFILL = """
insert into ledger.alerts (key, kind, message, detail) values (%s, 'overfill', %s, '{}') on conflict (key) do nothing
"""
_FACTS = ("client_order_id", "symbol", "side", "qty", "price", "session")


def book_in(connection: Connection[DictRow], account: str, execution: Executed) -> Booking | None:
    """Book one execution inside a transaction the caller holds; None when its id was booked before.

    Raises:
        OrderError: the order is not in the ledger.
        ExecutionConflict: the id was booked with other contents.
    """
    fill = execution.fill
    order = _locked_order(connection, execution)
    known = connection.execute("select * from ledger.fills where execution_id = %s", (fill.execution_id,)).fetchone()
    if known is not None:
        _require_same(known, execution)
        return None
    standing = connection.execute(_STANDING_SYNTHETIC, (execution.client_order_id,)).fetchone()
    if standing is None:
        booking = _apply(connection, account, execution)
        _count(connection, order, fill.qty, fill.qty * fill.price)
    else:
        booking = _replace(connection, account, order, standing, execution)
    _move(connection, execution)
    return booking


def book_difference_in(
    connection: Connection[DictRow], account: str, execution: Executed, *, cumulative_qty: Decimal
) -> Booking | None:
    """Book the difference to the broker's cumulative figures, as `core.executions.missing` gives it.

    It must still be the difference once the order is locked: when another process has booked meanwhile, nothing is
    booked, and the answer is None.
    """
    order = _locked_order(connection, execution)
    if order["filled_qty"] + execution.fill.qty != cumulative_qty:
        return None
    booking = _apply(connection, account, execution, kind="synthetic")
    _count(connection, order, execution.fill.qty, execution.fill.qty * execution.fill.price)
    _move(connection, execution, Source.RECONCILIATION)
    return booking


def _apply(connection: Connection[DictRow], account: str, execution: Executed, *, kind: str = "execution") -> Booking:
    """Write a fill and what follows: on top of the position, or by a replay when others happened after it."""
    fill = execution.fill
    held = _locked_position(connection, account, fill.symbol)
    booking = apply_fill(held, fill)
    _write(connection, account, execution, booking, kind=kind)
    moment = dict(zip(("session", "executed_at", "execution_id"), execution.moment, strict=True))
    if connection.execute(_LATER, {"account": account, "symbol": fill.symbol, **moment}).fetchone() is not None:
        return replay_symbol_in(connection, account, fill.symbol)[fill.execution_id]
    _store_position(connection, account, booking.position)
    return booking


def _replace(
    connection: Connection[DictRow], account: str, order: DictRow, standing: DictRow, execution: Executed
) -> Booking:
    fill, told = execution.fill, standing["told_qty"]
    nothing = Booking(position=Position(symbol=fill.symbol), realised=ZERO)
    _locked_position(connection, account, fill.symbol)
    _write(connection, account, execution, nothing, told_qty=min(told, fill.qty))
    connection.execute(
        "insert into ledger.superseded_fills (execution_id, superseded_by) values (%s, %s)",
        (standing["execution_id"], fill.execution_id),
    )
    shares, dollars = fill.qty - standing["qty"], fill.qty * fill.price - standing["qty"] * standing["price"]
    if shares < 0:
        left = _left_over(standing, fill)
        again = Executed(client_order_id=execution.client_order_id, fill=left, executed_at=standing["executed_at"])
        told_left = max(told - fill.qty, ZERO)
        _write(connection, account, again, nothing, kind="synthetic", told_qty=told_left)
        shares, dollars = ZERO, dollars + left.qty * left.price
    _count(connection, order, shares, dollars)
    return replay_symbol_in(connection, account, fill.symbol)[fill.execution_id]


def replay_symbol_in(connection: Connection[DictRow], account: str, symbol: str) -> dict[str, Booking]:
    """Replay all effective fills of a symbol and store what follows: each fill's outcome, and the position."""
    position, bookings = Position(symbol=symbol), dict[str, Booking]()
    for row in connection.execute(_OF_SYMBOL, (account, symbol)).fetchall():
        bookings[row["execution_id"]] = booking = apply_fill(position, fill_of(row))
        position = booking.position
    outcomes = [
        (one.position.qty, one.position.average_price, one.position.cost, one.realised, key)
        for key, one in bookings.items()
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_REPLAYED, outcomes)
    _store_position(connection, account, position)
    return bookings


def fill_of(row: DictRow) -> Fill:
    """Build the fill from a row of `ledger.fills`."""
    return Fill(
        execution_id=row["execution_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        qty=row["qty"],
        price=row["price"],
        fee=row["fee"],
        session=row["session"],
    )


def executed_of(row: DictRow) -> Executed:
    """Build the execution from a row of `ledger.fills`."""
    return Executed(client_order_id=row["client_order_id"], fill=fill_of(row), executed_at=row["executed_at"])


def position_of(row: DictRow) -> Position:
    """Build the position from a row of `ledger.positions`."""
    return Position(
        symbol=row["symbol"],
        qty=row["qty"],
        cost=row["cost"],
        average_price=row["average_price"],
        realised=row["realised"],
        fees=row["fees"],
    )


def _left_over(standing: DictRow, fill: Fill) -> Fill:
    """What of a synthetic fill the execution does not account for; its price keeps the dollars of both together."""
    qty = standing["qty"] - fill.qty
    with localcontext(prec=DIGITS):
        price = (standing["qty"] * standing["price"] - fill.qty * fill.price) / qty
    return Fill(
        execution_id=f"{standing['execution_id']}/{fill.execution_id}",
        symbol=fill.symbol,
        side=fill.side,
        qty=qty,
        price=price if price > 0 else standing["price"],  # figures that contradict each other keep the shares right
        fee=max(standing["fee"] - fill.fee, ZERO),
        session=standing["session"],
    )


def _locked_order(connection: Connection[DictRow], execution: Executed) -> DictRow:
    order = connection.execute(_ORDER, (execution.client_order_id,)).fetchone()
    if order is None:
        execution_id = execution.fill.execution_id
        raise OrderError(
            f"execution {execution_id} belongs to order {execution.client_order_id}, which is not in the ledger",
            client_order_id=execution.client_order_id,
            execution_id=execution_id,
        )
    return order


def _require_same(known: DictRow, execution: Executed) -> None:
    fill = execution.fill
    offered = (execution.client_order_id, fill.symbol, fill.side.value, fill.qty, fill.price, fill.session)
    differing = [
        f"{name} {known[name]} and {value}" for name, value in zip(_FACTS, offered, strict=True) if known[name] != value
    ]
    if differing:
        raise ExecutionConflict(
            f"execution {fill.execution_id} was booked with other contents: {', '.join(differing)}; ask the broker",
            client_order_id=execution.client_order_id,
            execution_id=fill.execution_id,
        )


def _write(
    connection: Connection[DictRow],
    account: str,
    execution: Executed,
    booking: Booking,
    *,
    kind: str = "execution",
    told_qty: Decimal = ZERO,
) -> None:
    fill, after = execution.fill, booking.position
    row: dict[str, Any] = {
        "execution_id": fill.execution_id,
        "account": account,
        "client_order_id": execution.client_order_id,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "qty": fill.qty,
        "price": fill.price,
        "fee": fill.fee,
        "session": fill.session,
        "executed_at": execution.executed_at,
        "position_after": after.qty,
        "average_after": after.average_price,
        "cost_after": after.cost,
        "realised": booking.realised,
        "kind": kind,
        "told_qty": told_qty,
        "posted": told_qty == fill.qty,
    }
    connection.execute(_INSERT, row)


def _store_position(connection: Connection[DictRow], account: str, position: Position) -> None:
    connection.execute(
        _STORE_POSITION,
        {
            "account": account,
            "symbol": position.symbol,
            "qty": position.qty,
            "cost": position.cost,
            "average_price": position.average_price,
            "realised": position.realised,
            "fees": position.fees,
        },
    )


def _locked_position(connection: Connection[DictRow], account: str, symbol: str) -> Position:
    connection.execute(
        "insert into ledger.positions (account, symbol) values (%s, %s) on conflict do nothing", (account, symbol)
    )
    row = connection.execute(
        "select * from ledger.positions where account = %s and symbol = %s for update", (account, symbol)
    ).fetchone()
    return Position(symbol=symbol) if row is None else position_of(row)


def _count(connection: Connection[DictRow], order: DictRow, shares: Decimal, dollars: Decimal) -> None:
    filled = order["filled_qty"] + shares
    connection.execute(
        """update ledger.orders set filled_qty = %s, filled_notional = filled_notional + %s
            where client_order_id = %s""",
        (filled, dollars, order["client_order_id"]),
    )
    if filled > order["qty"]:
        key = f"overfill:{order['client_order_id']}:{filled}"
        message = (
            f"order {order['client_order_id']} of {order['qty']} {order['symbol']} has {filled} shares filled: "
            f"the excess is booked; compare with the broker (`trading-pipeline verify-book`)"
        )
        connection.execute(_OVERFILL, (key, message))


def _move(connection: Connection[DictRow], execution: Executed, source: Source = Source.BROKER) -> None:
    order = connection.execute(_ORDER, (execution.client_order_id,)).fetchone()
    if order is None or OrderState(order["state"]) in TERMINAL:
        return
    filled = order["filled_qty"]
    report = Report(
        client_order_id=execution.client_order_id,
        state=OrderState.FILLED if filled >= order["qty"] else OrderState.PARTIALLY_FILLED,
        reason=f"execution {execution.fill.execution_id}",
        detail={"filled": str(filled)},
        source=source,
        broker_at=execution.executed_at,
    )
    append_events(connection, [report])
