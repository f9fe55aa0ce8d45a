"""Dagster's PostgreSQL event log, with the events of a range run written in one statement, not one by one.

A run over 2,700 sessions of four assets plans 10,800 materialisations before it starts. Stock storage opens two
connections for each, which takes minutes. Of each check it plans, stock storage writes a row a partition, and into each
of them all partitions: 2,700 times 2,700. `dagster.yaml` names this class; it adds no table.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from dagster import DagsterEventType, EventLogEntry
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_shared.serdes import serialize_value
from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    DateTime,
    Insert,
    TableClause,
    Text,
    cast,
    column,
    func,
    literal,
    select,
    table,
)

from trading_pipeline.instance.connections import arguments_of, keep_connections

_EVENTS = table(
    "event_logs",
    column("id", BigInteger),
    *(column(name, Text) for name in ("run_id", "event", "dagster_event_type", "step_key", "asset_key", "partition")),
    column("timestamp", DateTime),
)
_CHECKS = table(
    "asset_check_executions",
    *(column(name, Text) for name in ("asset_key", "check_name", "partition", "run_id", "execution_status")),
    column("evaluation_event", Text),
    column("evaluation_event_timestamp", DateTime),
    column("evaluation_event_storage_id", BigInteger),
)


class BatchedEventLogStorage(PostgresEventLogStorage):
    """Stores batches of planned materialisations at once, over a pooled connection. Everything else is inherited."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._columns: set[str] = set()
        super().__init__(*args, **kwargs)
        keep_connections(self)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        """Build the storage from `dagster.yaml`."""
        return cls(**arguments_of(inst_data, config_value))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of one batch, planned materialisations in one statement."""
        planned = [event for event in events if _is_planned(event)]
        others = [event for event in events if not _is_planned(event)]
        if planned:
            self._store_planned(planned)
        if others:
            super().store_event_batch(others)

    def prepare_insert_event_batch(self, events: Sequence[EventLogEntry]) -> Any:
        """Return the statement that inserts a batch, all of it as one parameter: binding each value takes longer."""
        return _insert(_EVENTS, [self._event_to_row(event) for event in events])

    def store_asset_check_event(self, event: EventLogEntry, event_id: int | None) -> None:
        """Store what a run plans or finds of a check; a plan for many partitions in one statement.

        Each row names its partition in its own column, so that the event in it need not name them all.
        """
        planned: Any = event.get_dagster_event().event_specific_data
        told = _without_partitions(event)
        if told is event:
            super().store_asset_check_event(event, event_id)
            return
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": "PLANNED",
            "evaluation_event": serialize_value(told),
            "evaluation_event_timestamp": datetime.fromtimestamp(event.timestamp, UTC).replace(tzinfo=None),
            "evaluation_event_storage_id": event_id,
        }
        keys = planned.partitions_subset.get_partition_keys()
        with self.index_connection() as connection:
            connection.execute(_insert(_CHECKS, [row | {"partition": key} for key in keys]))

    def _event_to_row(self, event: EventLogEntry) -> dict[str, Any]:
        return super()._event_to_row(_without_partitions(event))

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        # Asked for every event, of the catalog of PostgreSQL. A migration may add a column, none goes.
        if column_name not in self._columns and super()._has_asset_key_col_on_connection(conn, column_name):
            self._columns.add(column_name)
        return column_name in self._columns

    def _store_planned(self, planned: Sequence[EventLogEntry]) -> None:
        insert = self.prepare_insert_event_batch(planned).returning(_EVENTS.c.id)
        with self.index_transaction() as connection:
            ids = list(connection.execute(insert).scalars())
        last = {
            event.get_dagster_event().asset_key: (event, int(event_id))
            for event, event_id in zip(planned, ids, strict=True)
        }
        for event, event_id in last.values():
            self.store_asset_event(event, event_id)


def _without_partitions(event: EventLogEntry) -> EventLogEntry:
    """Leave out of a planned check the partitions it is planned for: they name the whole calendar."""
    whole = event.dagster_event
    if whole is None or whole.event_type is not DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
        return event
    planned: Any = whole.event_specific_data
    if not planned.partitions_subset:
        return event
    short = type(planned)(asset_key=planned.asset_key, check_name=planned.check_name)
    return event._replace(dagster_event=whole._replace(event_specific_data=short))


def _insert(into: TableClause, rows: Sequence[Mapping[str, Any]]) -> Insert:
    names = list(rows[0])
    text = cast(literal(json.dumps(list(rows), default=str), Text), JSON)
    source = func.json_to_recordset(text).table_valued(*(column(name, into.c[name].type) for name in names))
    return into.insert().from_select(names, select(source.render_derived(name="rows", with_types=True)))


def _is_planned(event: EventLogEntry) -> bool:
    return event.get_dagster_event().event_type is DagsterEventType.ASSET_MATERIALIZATION_PLANNED
