"""Order events: appended, never changed; the state kept with each order is the one that follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.rows import write_rows
from trading_pipeline.core.orders.states import (
    UNSENT,
    OrderState,
    Source,
    StateEvent,
    require_move,
    supersedes,
)
from trading_pipeline.errors import OrderError

_OWN = frozenset({*UNSENT, OrderState.CLEARED, OrderState.SUBMITTED_UNCONFIRMED})
_LOCK = """
select client_order_id, state, state_source, state_at, clock_timestamp() as instant
  from ledger.orders where client_order_id = any(%s) order by client_order_id for update
"""
_KNOWN = """
select 1 from ledger.order_events
 where client_order_id = %s and to_state = %s and source = %s and broker_at is not distinct from %s
"""
_INSERT = """
insert into ledger.order_events (client_order_id, from_state, to_state, reason, detail, source, broker_at, at)
select client_order_id, from_state, to_state, reason, detail, source, broker_at, at
  from json_populate_recordset(null::ledger.order_events, %s)
"""
_RECORD = """
insert into ledger.order_events (client_order_id, to_state, reason, source)
select unnest(%s::text[]), 'pending_new', 'intent recorded', 'system'
"""
_UPDATE = """
update ledger.orders o
   set state = told.state, state_source = told.state_source, state_at = told.state_at, reason = told.reason,
       updated_at = clock_timestamp()
  from json_populate_recordset(null::ledger.orders, %s) told where o.client_order_id = told.client_order_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What somebody says of an order. Without a source, it is the system's of its own steps, the broker's otherwise."""

    client_order_id: str
    state: OrderState
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    source: Source | None = None
    broker_at: datetime | None = None

    @property
    def said_by(self) -> Source:
        """Who says so."""
        return self.source or (Source.SYSTEM if self.state in _OWN else Source.BROKER)


def record_intents(connection: Connection[DictRow], client_order_ids: Sequence[str]) -> None:
    """Write the first event of orders inserted in this transaction."""
    connection.execute(_RECORD, (list(client_order_ids),))


def append_events(connection: Connection[DictRow], reports: Sequence[Report]) -> None:
    """Append reports in the caller's transaction, and bring each order to the state that follows.

    The orders are locked in the order of their ids. A report of the present state says nothing new and is left out; so
    is one that was written down before. A late one is written down, and the order stays where it is.

    Raises:
        OrderError: an order is not in the ledger.
        IllegalTransition: the broker is said to have done something with an order that was never sent.
    """
    ids = sorted({report.client_order_id for report in reports})
    present = {row["client_order_id"]: row for row in connection.execute(_LOCK, (ids,)).fetchall()}
    events: list[dict[str, Any]] = []
    changes: dict[str, dict[str, Any]] = {}
    for report in reports:
        row = present.get(report.client_order_id)
        if row is None:
            raise OrderError(
                f"order {report.client_order_id} is not in the ledger", client_order_id=report.client_order_id
            )
        stands = StateEvent(state=OrderState(row["state"]), source=Source(row["state_source"]), at=row["state_at"])
        require_move(report.client_order_id, stands.state, report.state)
        said = StateEvent(state=report.state, source=report.said_by, at=report.broker_at or row["instant"])
        moves = supersedes(said, stands)
        if stands.state is said.state or (not moves and _known(connection, report)):
            continue
        events.append(
            {
                "client_order_id": report.client_order_id,
                "from_state": stands.state.value,
                "to_state": said.state.value,
                "reason": report.reason,
                "detail": dict(report.detail),
                "source": said.source.value,
                "broker_at": report.broker_at,
                "at": row["instant"],
            }
        )
        if moves:
            row |= {"state": said.state.value, "state_source": said.source.value, "state_at": said.at}
            changes[report.client_order_id] = row | {"reason": report.reason}
    write_rows(connection, _INSERT, events)
    write_rows(connection, _UPDATE, list(changes.values()))


def move_in(
    connection: Connection[DictRow],
    client_order_id: str,
    wanted: OrderState,
    reason: str,
    detail: Mapping[str, Any],
    source: Source | None = None,
) -> None:
    """Report one order's state inside a transaction the caller holds; being there already is no change."""
    append_events(
        connection,
        [Report(client_order_id=client_order_id, state=wanted, reason=reason, detail=detail, source=source)],
    )


def _known(connection: Connection[DictRow], report: Report) -> bool:
    key = (report.client_order_id, report.state.value, report.said_by.value, report.broker_at)
    return connection.execute(_KNOWN, key).fetchone() is not None
