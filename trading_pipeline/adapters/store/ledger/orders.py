"""Orders, their events and the guard's verdicts."""

from collections.abc import Collection
from datetime import date
from decimal import Decimal
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.ledger.records import Exposure, NewOrder, OrderRecord
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.orders.model import Purpose
from trading_pipeline.core.orders.states import HOLDING, TERMINAL, UNSENT, OrderState, require_move
from trading_pipeline.core.risk.clearance import Verdict, VerdictCode
from trading_pipeline.core.risk.halts import KillSwitch
from trading_pipeline.errors import OrderConflict, OrderError

_INSERT = """
insert into ledger.orders (client_order_id, account, strategy_id, session, trade_session, symbol, side, qty, order_type,
                           time_in_force, limit_price, stop_price, purpose, repeat, payload_digest, reference_price,
                           reference_source, reference_as_of, state, origin)
values (%(client_order_id)s, %(account)s, %(strategy_id)s, %(session)s, %(trade_session)s, %(symbol)s, %(side)s,
        %(qty)s, %(order_type)s, %(time_in_force)s, %(limit_price)s, %(stop_price)s, %(purpose)s, %(repeat)s,
        %(payload_digest)s, %(reference_price)s, %(reference_source)s, %(reference_as_of)s, %(state)s, %(origin)s)
on conflict (client_order_id) do nothing
returning client_order_id
"""

_EXPOSURE = """
with pending as (
    select symbol, sum((qty - filled_qty) * case side when 'buy' then 1 else -1 end) as pending
      from ledger.orders where account = %(account)s and state = any(%(states)s) group by symbol
)
select symbol, coalesce(p.qty, 0) as position, coalesce(q.pending, 0) as pending
  from (select symbol, qty from ledger.positions where account = %(account)s and qty <> 0) p
  full join pending q using (symbol)
 order by symbol
"""

_BY_ID = "select * from ledger.orders where client_order_id = %s"
_TOUCH = "update ledger.orders set updated_at = clock_timestamp() where client_order_id = %s"
_LOCKED = "select * from ledger.orders where client_order_id = %s for update"


class Orders:
    """Statements about `ledger.orders`. A change of state and its event commit together."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(self, new: NewOrder) -> tuple[OrderRecord, bool]:
        """Write the intent unless its id is known; return the stored order and whether it is new.

        Raises:
            OrderConflict: the id is known with another payload.
        """
        intent = new.intent
        with self._pool.connection() as connection:
            inserted = connection.execute(_INSERT, _columns(new)).fetchone()
            if inserted is not None:
                _event(connection, intent.client_order_id, None, OrderState.PENDING_NEW, "intent recorded", {})
            stored = _require(connection, intent.client_order_id)
        if stored.payload_digest != intent.payload_digest:
            raise OrderConflict(
                f"order {intent.client_order_id} is in the ledger with another payload",
                client_order_id=intent.client_order_id,
                stored=stored.payload_digest,
                offered=intent.payload_digest,
            )
        return stored, inserted is not None

    def get(self, client_order_id: str) -> OrderRecord | None:
        """Return the order, or None."""
        with self._pool.connection() as connection:
            row = connection.execute(_BY_ID, (client_order_id,)).fetchone()
        return None if row is None else OrderRecord.from_row(row)

    def record_verdict(self, order: OrderRecord, verdict: Verdict) -> tuple[OrderRecord, Verdict | None]:
        """Write the guard's verdict and move the order to cleared or refused; return it and a veto, if there is one.

        The row of the book is locked here, so this is where a clearance meets an operator: when the epoch has changed
        or the kill switch was engaged since the guard answered, the order stays cleared (its exposure reserved) but
        the veto says that it may not be sent.
        """
        order_id = order.client_order_id
        with self._pool.connection() as connection:
            book = connection.execute(
                "select epoch, kill_switch from ledger.books where account = %s for update", (order.intent.account,)
            ).fetchone()
            stored = _require(connection, order_id, lock=True)
            decide_in(connection, order_id, verdict)
            veto = _veto(stored, verdict, book)
            if veto is not None:
                decide_in(connection, order_id, veto)
            if verdict.cleared:
                _remember_clearance(connection, order, verdict)
            wanted = OrderState.CLEARED if verdict.cleared else OrderState.REFUSED
            # A fresh time says that somebody is at it: a cancellation waits for the answer.
            connection.execute(_TOUCH, (order_id,))
            if stored.state in UNSENT and stored.state is not wanted:
                _move(connection, stored, wanted, verdict.detail or verdict.code.value, verdict.as_fields())
            return _require(connection, order_id), veto

    def move(
        self,
        client_order_id: str,
        wanted: OrderState,
        *,
        reason: str = "",
        broker_order_id: str | None = None,
        **detail: Any,
    ) -> OrderRecord:
        """Move the order to a state and write the event; being there already is no change.

        Raises:
            IllegalTransition: the state cannot follow the present one.
        """
        with self._pool.connection() as connection:
            stored = _require(connection, client_order_id, lock=True)
            if broker_order_id is not None:
                connection.execute(
                    "update ledger.orders set broker_order_id = %s where client_order_id = %s",
                    (broker_order_id, client_order_id),
                )
            if stored.state is not wanted:
                _move(connection, stored, wanted, reason, detail)
            return _require(connection, client_order_id)

    def live(self, account: str) -> list[OrderRecord]:
        """Return the orders that are, or may be, at the broker."""
        return self._select("account = %(account)s and state = any(%(states)s)", account=account, states=list(HOLDING))

    def unsent(self, account: str) -> list[OrderRecord]:
        """Return the orders recorded or refused but never sent."""
        states = list(UNSENT)
        return self._select("account = %(account)s and state = any(%(states)s)", account=account, states=states)

    def of_session(self, account: str, session: date) -> list[OrderRecord]:
        """Return the orders decided from a session."""
        return self._select("account = %(account)s and session = %(session)s", account=account, session=session)

    def unreleased(self, account: str) -> list[OrderRecord]:
        """Return the ended orders of which the guard has not been told, those with fills it does not know left out.

        Giving back a reservation before its fills are posted would free exposure that is held.
        """
        return self._select(
            """account = %(account)s and state = any(%(states)s) and not released and not exists (
                   select 1 from ledger.fills f where f.client_order_id = orders.client_order_id and not f.posted)""",
            account=account,
            states=list(TERMINAL),
        )

    def recently_ended(self, account: str, since: date) -> list[OrderRecord]:
        """Return the orders that ended and worked in this trade session or later: the broker may still surprise us."""
        return self._select(
            """account = %(account)s and state = any(%(states)s) and trade_session >= %(since)s
                   and guard_sequence is not null""",
            account=account,
            states=list(TERMINAL),
            since=since,
        )

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

    def cleared_by_session(self, account: str) -> dict[date, int]:
        """Return how many orders were ever cleared for the latest trade session: the only counter still in use."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                """select trade_session, count(*) as cleared from ledger.orders
                    where account = %(account)s and guard_sequence is not null
                      and trade_session = (select max(trade_session) from ledger.orders where account = %(account)s)
                    group by trade_session""",
                {"account": account},
            ).fetchall()
        return {row["trade_session"]: row["cleared"] for row in rows}

    def events(self, client_order_id: str) -> list[DictRow]:
        """Return the order's events, oldest first."""
        return self._rows("select * from ledger.order_events where client_order_id = %s order by id", client_order_id)

    def decisions(self, client_order_id: str) -> list[DictRow]:
        """Return the guard's verdicts on the order, oldest first."""
        return self._rows("select * from ledger.risk_decisions where client_order_id = %s order by id", client_order_id)

    def _rows(self, sql: str, client_order_id: str) -> list[DictRow]:
        with self._pool.connection() as connection:
            return connection.execute(sql.encode(), (client_order_id,)).fetchall()

    def _select(self, condition: str, **parameters: Any) -> list[OrderRecord]:
        sql = f"select * from ledger.orders where {condition} order by created_at, client_order_id"  # noqa: S608 - conditions are ours
        with self._pool.connection() as connection:
            return [OrderRecord.from_row(row) for row in connection.execute(sql.encode(), parameters).fetchall()]


def move_in(
    connection: Connection[DictRow], client_order_id: str, wanted: OrderState, reason: str, detail: dict[str, Any]
) -> None:
    """Move an order inside a transaction the caller holds; being there already is no change."""
    stored = _require(connection, client_order_id, lock=True)
    if stored.state is not wanted:
        _move(connection, stored, wanted, reason, detail)


def decide_in(connection: Connection[DictRow], client_order_id: str, verdict: Verdict) -> None:
    """Write a verdict inside a transaction the caller holds."""
    connection.execute(
        """insert into ledger.risk_decisions (client_order_id, code, observed, limit_value, epoch, sequence, detail)
           values (%s, %s, %s, %s, %s, %s, %s)""",
        (
            client_order_id,
            verdict.code.value,
            verdict.observed,
            verdict.limit,
            verdict.epoch,
            verdict.sequence,
            verdict.detail,
        ),
    )


def _veto(order: OrderRecord, verdict: Verdict, book: DictRow | None) -> Verdict | None:
    if not verdict.cleared:
        return None
    if order.state not in UNSENT and order.state is not OrderState.CLEARED:
        code, detail = VerdictCode.ENDED, f"the order became {order.state} while it was being cleared"
    elif book is not None and book["kill_switch"] == KillSwitch.ENGAGED and order.intent.purpose is not Purpose.FLATTEN:
        code, detail = VerdictCode.KILL_SWITCH_ENGAGED, "the kill switch was engaged while the order was being cleared"
    elif book is None or book["epoch"] != verdict.epoch:
        code, detail = VerdictCode.BOOK_STALE, "an operator changed the book while the order was being cleared"
    else:
        return None
    return Verdict(code=code, epoch=verdict.epoch, sequence=verdict.sequence, detail=detail)


def _remember_clearance(connection: Connection[DictRow], order: OrderRecord, verdict: Verdict) -> None:
    own = verdict.clearance.sequence if verdict.clearance else verdict.sequence
    connection.execute(
        """update ledger.books set high_sequence = greatest(high_sequence, %s) where account = %s and epoch = %s""",
        (verdict.sequence, order.intent.account, verdict.epoch),
    )
    connection.execute(
        "update ledger.orders set guard_epoch = %s, guard_sequence = %s where client_order_id = %s",
        (verdict.epoch, own, order.client_order_id),
    )


def _move(
    connection: Connection[DictRow], stored: OrderRecord, wanted: OrderState, reason: str, detail: dict[str, Any]
) -> None:
    require_move(stored.client_order_id, stored.state, wanted)
    connection.execute(
        """update ledger.orders set state = %s, reason = %s, updated_at = clock_timestamp()
            where client_order_id = %s""",
        (wanted.value, reason, stored.client_order_id),
    )
    _event(connection, stored.client_order_id, stored.state, wanted, reason, detail)


def _event(
    connection: Connection[DictRow],
    client_order_id: str,
    present: OrderState | None,
    wanted: OrderState,
    reason: str,
    detail: dict[str, Any],
) -> None:
    connection.execute(
        """insert into ledger.order_events (client_order_id, from_state, to_state, reason, detail)
           values (%s, %s, %s, %s, %s)""",
        (client_order_id, present, wanted, reason, Jsonb(detail)),
    )


def _require(connection: Connection[DictRow], client_order_id: str, *, lock: bool = False) -> OrderRecord:
    row = connection.execute(_LOCKED if lock else _BY_ID, (client_order_id,)).fetchone()
    if row is None:
        raise OrderError(f"order {client_order_id} is not in the ledger", client_order_id=client_order_id)
    return OrderRecord.from_row(row)


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
        "origin": Jsonb(new.origin),
    }
