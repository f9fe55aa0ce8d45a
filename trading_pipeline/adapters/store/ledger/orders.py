"""Orders, their events and the guard's verdicts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.chains import link_in
from trading_pipeline.adapters.store.ledger.events import Report, append_events, record_intents
from trading_pipeline.adapters.store.ledger.records import Exposure, NewOrder, OrderRecord, Standing
from trading_pipeline.adapters.store.ledger.verdicts import (
    decide_in,
    lost_clearance,
    remember_in,
    report_of,
    veto_of,
)
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.adapters.store.rows import write_rows
from trading_pipeline.core.orders.states import HOLDING, TERMINAL, UNSENT, OrderState, Source
from trading_pipeline.core.risk.clearance import Verdict
from trading_pipeline.errors import OrderConflict

_INSERT = """
insert into ledger.orders (client_order_id, account, strategy_id, session, trade_session, symbol, side, qty, order_type,
                           time_in_force, limit_price, stop_price, purpose, repeat, payload_digest, reference_price,
                           reference_source, reference_as_of, state, origin, parent_id)
select client_order_id, account, strategy_id, session, trade_session, symbol, side, qty, order_type, time_in_force,
       limit_price, stop_price, purpose, repeat, payload_digest, reference_price, reference_source, reference_as_of,
       state, origin, parent_id
  from json_populate_recordset(null::ledger.orders, %s)
on conflict (client_order_id) do nothing
returning client_order_id
"""

_EXPOSURE = """
with held as (
    select symbol, side, greatest(max(qty) - max(carried_qty + filled_qty), 0) as qty
      from ledger.orders where account = %(account)s and state = any(%(states)s)
     group by coalesce(chain, client_order_id), symbol, side
), pending as (
    select symbol, sum(qty * case side when 'buy' then 1 else -1 end) as pending from held group by symbol
)
select symbol, coalesce(p.qty, 0) as position, coalesce(q.pending, 0) as pending
  from (select symbol, qty from ledger.positions where account = %(account)s and qty <> 0) p
  full join pending q using (symbol)
 order by symbol
"""

_BY_IDS = "select * from ledger.orders where client_order_id = any(%s) order by client_order_id"
_LOCK_BOOK = "select epoch, rebuilt_epoch, kill_switch from ledger.books where account = %s for update"
_BROKER_ID = """
update ledger.orders o set broker_order_id = given.name
  from unnest(%s::text[], %s::text[]) as given (order_id, name) where o.client_order_id = given.order_id
"""

_LIVE = """
select client_order_id from ledger.orders
 where account = %(account)s and state = any(%(states)s) order by created_at, client_order_id
"""
_UNRELEASED = """
select client_order_id from ledger.orders o
 where account = %(account)s and state = any(%(states)s) and not released and chain is null
   and not exists (select from ledger.fills f where f.client_order_id = o.client_order_id and not f.posted)
 order by created_at, client_order_id
"""
_STANDINGS = """
select client_order_id, filled_qty, filled_notional, state, fence, cancel_requested_at, updated_at from ledger.orders
 where client_order_id = any(%s) order by created_at, client_order_id
"""
_RECENTLY_ENDED = """
select client_order_id from ledger.orders
 where account = %(account)s and state = any(%(states)s) and trade_session >= %(since)s and guard_sequence is not null
 order by created_at, client_order_id
"""


class Orders:
    """Statements about `ledger.orders`. A change of state and its event commit together."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(self, new: NewOrder) -> tuple[OrderRecord, bool]:
        """Write the intent unless its id is known; return the stored order and whether it is new.

        Raises:
            OrderConflict: the id is known with another payload.
        """
        return self.record_many([new])[0]

    def record_many(self, news: Sequence[NewOrder]) -> list[tuple[OrderRecord, bool]]:
        """Write intents whose ids are not known, in one transaction; return each stored order and whether it is new.

        Raises:
            OrderConflict: an id is known with another payload; nothing is written.
        """
        with self._pool.connection() as connection:
            return insert_orders(connection, news)

    def get(self, client_order_id: str) -> OrderRecord | None:
        """Return the order, or None."""
        return self.get_many([client_order_id]).get(client_order_id)

    def get_many(self, client_order_ids: Collection[str]) -> dict[str, OrderRecord]:
        """Return those of these orders that are in the ledger."""
        return _records(self._pool.rows(_BY_IDS, (list(client_order_ids),)))

    def standings(self, client_order_ids: Collection[str]) -> dict[str, Standing]:
        """Return where those of these orders stand that are in the ledger, the oldest order first."""
        rows = self._pool.rows(_STANDINGS, (list(client_order_ids),))
        return {row.pop("client_order_id"): Standing(**row | {"state": OrderState(row["state"])}) for row in rows}

    def record_verdict(self, order: OrderRecord, verdict: Verdict) -> tuple[OrderRecord, Verdict | None]:
        """Write the guard's verdict on one order: see `record_verdicts`."""
        return self.record_verdicts([(order, verdict)])[0]

    def record_verdicts(
        self, verdicts: Sequence[tuple[OrderRecord, Verdict]]
    ) -> list[tuple[OrderRecord, Verdict | None]]:
        """Write the guard's verdicts on orders of one account and move each to cleared or refused, in one transaction.

        The row of the book is locked here, so this is where a clearance meets an operator: when the epoch has changed
        or the kill switch was engaged since the guard answered, the order stays cleared (its exposure reserved) but
        the veto, returned with it, says that it may not be sent. When the book was written anew since, from what was
        recorded by then, it does not hold the order: the order is refused, and may be asked for again.
        """
        if not verdicts:
            return []
        ids = [order.client_order_id for order, _ in verdicts]
        with self._pool.connection() as connection:
            book = connection.execute(_LOCK_BOOK, (verdicts[0][0].intent.account,)).fetchone()
            stored = _by_id(connection, ids, lock=True)
            lost = {order.client_order_id: lost_clearance(verdict, book) for order, verdict in verdicts}
            vetoes = [
                lost[order.client_order_id] or veto_of(stored[order.client_order_id], verdict, book)
                for order, verdict in verdicts
            ]
            decide_in(connection, [(order.client_order_id, verdict) for order, verdict in verdicts])
            decide_in(connection, [(one, veto) for one, veto in zip(ids, vetoes, strict=True) if veto is not None])
            remember_in(connection, [(order, one) for order, one in verdicts if not lost[order.client_order_id]])
            unsent = [(order, verdict) for order, verdict in verdicts if stored[order.client_order_id].state in UNSENT]
            told = [report_of(order, lost[order.client_order_id] or verdict) for order, verdict in unsent]
            append_events(connection, told)
            after = _by_id(connection, ids)
        return [(after[one], veto) for one, veto in zip(ids, vetoes, strict=True)]

    def move(
        self,
        client_order_id: str,
        wanted: OrderState,
        *,
        reason: str = "",
        broker_order_id: str | None = None,
        source: Source | None = None,
        broker_at: datetime | None = None,
        **detail: Any,
    ) -> OrderRecord:
        """Report a state of the order and return the order as it stands then; being there already is no change.

        A report that comes late is written down and changes nothing. What is not given keeps its value.

        Raises:
            OrderError: the order is not in the ledger.
            IllegalTransition: the broker is said to have done something with an order that was never sent.
        """
        with self._pool.connection() as connection:
            report = Report(
                client_order_id=client_order_id,
                state=wanted,
                reason=reason,
                detail=detail,
                source=source,
                broker_at=broker_at,
            )
            append_events(connection, [report])
            if broker_order_id is not None:
                name_orders_in(connection, {client_order_id: broker_order_id})
            return _by_id(connection, [client_order_id])[client_order_id]

    def move_many(self, reports: Sequence[Report], broker_order_ids: Mapping[str, str]) -> dict[str, OrderRecord]:
        """Do what `move` does for many orders in one transaction, all or none; return each as it stands then.

        Raises:
            OrderError, IllegalTransition: as `move`; nothing is written.
        """
        with self._pool.connection() as connection:
            append_events(connection, reports)
            name_orders_in(connection, broker_order_ids)
            return _by_id(connection, [one.client_order_id for one in reports])

    def live(self, account: str) -> list[OrderRecord]:
        """Return the orders that are, or may be, at the broker."""
        return self._select("account = %(account)s and state = any(%(states)s)", account=account, states=list(HOLDING))

    def live_ids(self, account: str) -> list[str]:
        """Return the ids of the orders that are, or may be, at the broker."""
        return self._ids(_LIVE, account=account, states=list(HOLDING))

    def unsent(self, account: str) -> list[OrderRecord]:
        """Return the orders recorded or refused but never sent."""
        states = list(UNSENT)
        return self._select("account = %(account)s and state = any(%(states)s)", account=account, states=states)

    def of_session(self, account: str, session: date) -> list[OrderRecord]:
        """Return the orders decided from a session."""
        return self._select("account = %(account)s and session = %(session)s", account=account, session=session)

    def unreleased(self, account: str) -> list[str]:
        """Return the ids of ended orders of which the guard was not told, without those with fills it does not know.

        Those of chains of replacements are left to `Chains.unsettled`. Giving back a reservation before its fills are
        posted would free exposure that is held.
        """
        return self._ids(_UNRELEASED, account=account, states=list(TERMINAL))

    def recently_ended(self, account: str, since: date) -> list[str]:
        """Return the ids of the orders that ended and worked in this trade session or later, oldest first.

        The broker may still surprise us with them.
        """
        return self._ids(_RECENTLY_ENDED, account=account, states=list(TERMINAL), since=since)

    def last_references(self, account: str) -> dict[str, Decimal]:
        """Return the newest reference price of each symbol ever ordered, dollars."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                """select distinct on (symbol) symbol, reference_price from ledger.orders
                    where account = %s order by symbol, created_at desc""",
                (account,),
            ).fetchall()
        return {row["symbol"]: row["reference_price"] for row in rows}

    def mark_released(self, client_order_ids: Collection[str]) -> None:
        """Remember that the guard holds nothing for these orders any more."""
        with self._pool.connection() as connection:
            connection.execute(
                "update ledger.orders set released = true where client_order_id = any(%s)", (list(client_order_ids),)
            )

    def exposure(self, account: str) -> dict[str, Exposure]:
        """Return position and pending shares by symbol, both signed, as of one instant.

        One statement reads both: a fill booked in between would otherwise be counted twice or not at all.
        """
        with self._pool.connection() as connection:
            rows = connection.execute(_EXPOSURE, {"account": account, "states": list(HOLDING)}).fetchall()
        return {row["symbol"]: Exposure(position=row["position"], pending=row["pending"]) for row in rows}

    def events(self, client_order_id: str) -> list[DictRow]:
        """Return the order's events, oldest first."""
        return self._rows("select * from ledger.order_events where client_order_id = %s order by id", client_order_id)

    def decisions(self, client_order_id: str) -> list[DictRow]:
        """Return the guard's verdicts on the order, oldest first."""
        return self._rows("select * from ledger.risk_decisions where client_order_id = %s order by id", client_order_id)

    def _rows(self, sql: str, client_order_id: str) -> list[DictRow]:
        with self._pool.connection() as connection:
            return connection.execute(sql.encode(), (client_order_id,)).fetchall()

    def _ids(self, sql: str, **parameters: Any) -> list[str]:
        return [row["client_order_id"] for row in self._pool.rows(sql, parameters)]

    def _select(self, condition: str, **parameters: Any) -> list[OrderRecord]:
        sql = f"select * from ledger.orders where {condition} order by created_at, client_order_id"  # noqa: S608 - conditions are ours
        return [OrderRecord.from_row(row) for row in self._pool.rows(sql, parameters)]


def insert_orders(connection: Connection[DictRow], news: Sequence[NewOrder]) -> list[tuple[OrderRecord, bool]]:
    """Do what `Orders.record_many` does inside a transaction the caller holds."""
    columns = [_columns(new) for new in sorted(news, key=lambda one: one.intent.client_order_id)]
    inserted = {row["client_order_id"] for row in write_rows(connection, _INSERT, columns)}
    record_intents(connection, sorted(inserted))
    link_in(connection, [new for new in news if new.intent.client_order_id in inserted])
    stored = _by_id(connection, [new.intent.client_order_id for new in news])
    for new in news:
        _require_payload(stored[new.intent.client_order_id], new)
    return [(stored[one], one in inserted) for one in (new.intent.client_order_id for new in news)]


def name_orders_in(connection: Connection[DictRow], broker_order_ids: Mapping[str, str]) -> None:
    """Write the broker's ids of orders, by client order id, inside a transaction the caller holds."""
    if broker_order_ids:
        connection.execute(_BROKER_ID, (list(broker_order_ids), list(broker_order_ids.values())))


def _by_id(
    connection: Connection[DictRow], client_order_ids: Collection[str], *, lock: bool = False
) -> dict[str, OrderRecord]:
    return _records(connection.execute(_BY_IDS + (" for update" if lock else ""), (list(client_order_ids),)).fetchall())


def _records(rows: Iterable[DictRow]) -> dict[str, OrderRecord]:
    return {row["client_order_id"]: OrderRecord.from_row(row) for row in rows}


def _require_payload(stored: OrderRecord, new: NewOrder) -> None:
    intent = new.intent
    if stored.payload_digest != intent.payload_digest:
        raise OrderConflict(
            f"order {intent.client_order_id} is in the ledger with another payload",
            client_order_id=intent.client_order_id,
            stored=stored.payload_digest,
            offered=intent.payload_digest,
        )


def _columns(new: NewOrder) -> dict[str, Any]:
    intent = new.intent
    return {
        "client_order_id": intent.client_order_id,
        "account": intent.account,
        "strategy_id": intent.strategy_id,
        "session": intent.session,
        "trade_session": intent.trade_session,
        "symbol": intent.symbol,
        "side": intent.side.value,
        "qty": intent.qty,
        "order_type": intent.order_type.value,
        "time_in_force": intent.time_in_force.value,
        "limit_price": intent.limit_price,
        "stop_price": intent.stop_price,
        "purpose": intent.purpose.value,
        "repeat": intent.repeat,
        "payload_digest": intent.payload_digest,
        "reference_price": intent.reference.price,
        "reference_source": intent.reference.source,
        "reference_as_of": intent.reference.as_of,
        "state": OrderState.PENDING_NEW.value,
        "origin": new.origin,
        "parent_id": intent.parent_id,
    }
