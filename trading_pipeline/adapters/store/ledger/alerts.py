"""Alerts: what an operator should know."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.orders.states import TERMINAL, OrderState

# Late is what was booked after the order had ended. What takes the place of a synthetic fill was no surprise.
_LATE = """
select f.execution_id, o.client_order_id, o.symbol, o.qty, o.filled_qty, o.state, o.reason
  from ledger.orders o join ledger.effective_fills f using (client_order_id)
 where o.account = %(account)s and o.trade_session >= %(since)s and o.state = any(%(ended)s)
   and f.kind = 'execution'
   and f.booked_at > (select min(e.at) from ledger.order_events e
                       where e.client_order_id = o.client_order_id and e.to_state = o.state)
   and not exists (select from ledger.superseded_fills s where s.superseded_by = f.execution_id)
   and not exists (select from ledger.alerts a where a.key = 'late_fill:' || o.account || ':' || f.execution_id)
 order by f.seq
"""
_OVERFILLED = """
select o.client_order_id, o.symbol, o.qty, o.carried_qty + o.filled_qty as filled_qty, o.state
  from ledger.orders o
 where o.account = %(account)s and o.trade_session >= %(since)s and o.filled_qty > 0
   and o.carried_qty + o.filled_qty > o.qty
   and not exists (select from ledger.alerts a
                    where a.key = 'overfill:' || o.account || ':' || o.client_order_id || ':'
                                  || (o.carried_qty + o.filled_qty))
 order by o.created_at, o.client_order_id
"""
_ENDED_SHORT = [state.value for state in TERMINAL if state is not OrderState.FILLED]


class Alerts:
    """Statements about `ledger.alerts`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(self, *, key: str, kind: str, message: str, detail: Mapping[str, Any]) -> None:
        """Write an alert; one whose key is known is left as it is."""
        with self._pool.connection() as connection:
            connection.execute(
                """insert into ledger.alerts (key, kind, message, detail) values (%s, %s, %s, %s)
                   on conflict (key) do nothing""",
                (key, kind, message, Jsonb(dict(detail))),
            )

    def known(self, key: str) -> bool:
        """Tell whether an alert was written."""
        with self._pool.connection() as connection:
            return connection.execute("select from ledger.alerts where key = %s", (key,)).fetchone() is not None

    def late_fills(self, account: str, since: date) -> list[DictRow]:
        """Return the fills booked after their order had ended that have no alert, with the order as it stands.

        `since` is the first trade session looked at.
        """
        return self._unreported(_LATE, account, since)

    def overfilled(self, account: str, since: date) -> list[DictRow]:
        """Return the orders with more filled than was ordered, unless this much of it has an alert already."""
        return self._unreported(_OVERFILLED, account, since)

    def _unreported(self, sql: str, account: str, since: date) -> list[DictRow]:
        with self._pool.connection() as connection:
            parameters = {"account": account, "since": since, "ended": _ENDED_SHORT}
            return connection.execute(sql.encode(), parameters).fetchall()

    def latest(self, limit: int = 10) -> list[DictRow]:
        """Return the newest alerts, newest first."""
        with self._pool.connection() as connection:
            return connection.execute("select * from ledger.alerts order by at desc limit %s", (limit,)).fetchall()
