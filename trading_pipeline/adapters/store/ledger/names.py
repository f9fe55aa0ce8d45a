"""One execution under two ids: the stream and the REST API of a broker need not call it the same.

The shares of an order only grow, so what an order had got with an execution names it as well. Where a broker gives
that total, an execution of the same order, total, quantity and price as a booked one is that one.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.rows import write_rows
from trading_pipeline.core.executions import Executed

NAMED_FILLS = """(
    select f.execution_id as name, f.* from ledger.fills f where f.execution_id = any(%(names)s)
     union all
    select n.name, f.* from ledger.execution_names n join ledger.fills f using (execution_id)
     where n.name = any(%(names)s)
)"""
"""The fills that these ids name, each with the `name` it was asked by."""
_TOTALS = """
select f.execution_id, f.client_order_id, t.filled_qty, f.qty, f.price
  from ledger.execution_totals t join ledger.fills f using (execution_id) where f.client_order_id = any(%s)
"""
_INSERT_TOTALS = """
insert into ledger.execution_totals (execution_id, filled_qty)
select execution_id, filled_qty from json_populate_recordset(null::ledger.execution_totals, %s)
"""
_INSERT_NAMES = """
insert into ledger.execution_names (name, execution_id)
select name, execution_id from json_populate_recordset(null::ledger.execution_names, %s)
"""

_Facts = tuple[str, Decimal | None, Decimal, Decimal]


def other_names_in(connection: Connection[DictRow], executions: Mapping[str, Executed]) -> dict[str, str]:
    """Return which of these ids are other names of an execution, and of which: a booked one, or one of these.

    Who books holds their orders, so that nobody else does meanwhile.
    """
    orders = sorted({one.client_order_id for one in executions.values() if one.filled_after is not None})
    # Not prepared, as the look-up of the executions themselves.
    rows = connection.execute(_TOTALS, (orders,), prepare=False).fetchall() if orders else []
    known: dict[_Facts, str] = {
        (row["client_order_id"], row["filled_qty"], row["qty"], row["price"]): row["execution_id"] for row in rows
    }
    names: dict[str, str] = {}
    for execution_id, one in executions.items():
        facts = (one.client_order_id, one.filled_after, one.fill.qty, one.fill.price)
        if one.filled_after is not None and (same := known.setdefault(facts, execution_id)) != execution_id:
            names[execution_id] = same
    return names


def record_names_in(
    connection: Connection[DictRow], booked: Iterable[Executed], other_names: Mapping[str, str]
) -> None:
    """Write what tells the executions booked in this transaction apart, and the other names that were found."""
    totals = [
        {"execution_id": one.fill.execution_id, "filled_qty": one.filled_after}
        for one in booked
        if one.filled_after is not None
    ]
    write_rows(connection, _INSERT_TOTALS, totals)
    names = [{"name": name, "execution_id": execution_id} for name, execution_id in other_names.items()]
    write_rows(connection, _INSERT_NAMES, names)
