"""Who may send an order: the last check before the broker, the answer after it, and proof that it never arrived."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.events import Report, append_events, move_in
from trading_pipeline.adapters.store.ledger.orders import name_orders_in
from trading_pipeline.adapters.store.ledger.records import OrderRecord
from trading_pipeline.adapters.store.ledger.verdicts import decide_in
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.orders.model import Purpose
from trading_pipeline.core.orders.states import TERMINAL, UNSENT, OrderState, Source
from trading_pipeline.core.risk.clearance import Verdict, VerdictCode
from trading_pipeline.core.risk.halts import KillSwitch

_TAKE = """
with free as (
    select client_order_id from ledger.orders
     where client_order_id = any(%(ids)s) and state = any(%(states)s) and cancel_requested_at is null
       for update skip locked
)
update ledger.orders o set fence = fence + 1 from free where o.client_order_id = free.client_order_id
returning o.*
"""
_GET = "select * from ledger.orders where client_order_id = any(%s)"
_LAST_CHECK = "select * from ledger.last_check(%s, %s)"
_LOCKED = "select * from ledger.orders where client_order_id = %s for update skip locked"
_ABSENT = """
with noted as (
    insert into ledger.absences (client_order_id, fence) values (%(id)s, %(fence)s) returning at
)
select noted.at - min(earlier.at) as apart
  from noted left join ledger.absences earlier on earlier.client_order_id = %(id)s and earlier.fence = %(fence)s
 group by noted.at
"""
_REQUEST_CANCEL = """
update ledger.orders set cancel_requested_at = clock_timestamp()
 where client_order_id = %(id)s and cancel_requested_at is null and not state = any(%(ended)s)
"""
_NEXT_FENCE = "update ledger.orders set fence = fence + 1 where client_order_id = any(%s)"
_TAKEABLE = (*UNSENT, OrderState.CLEARED)
_UNSEEN = frozenset({OrderState.CLEARED, OrderState.SUBMITTED_UNCONFIRMED})


class Sending:
    """Statements about the moment an order leaves us. Each public method is one transaction."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def take(self, client_order_ids: Collection[str]) -> dict[str, OrderRecord]:
        """Take up orders that may still have to be sent, and return those that are now ours to send.

        Whoever took one of them up before can no longer send it. One that a process is busy with is left to it, and one
        whose cancellation was asked for is nobody's to send.
        """
        states = [state.value for state in _TAKEABLE]
        with self._pool.connection() as connection:
            rows = connection.execute(_TAKE, {"ids": list(client_order_ids), "states": states}).fetchall()
        return {row["client_order_id"]: OrderRecord.from_row(row) for row in rows}

    @contextmanager
    def batch(self) -> Iterator["Batch"]:
        """Hold the orders of a batch from their last check to their recorded answer, in one transaction.

        When it fails, or the process dies in it, nothing of it is recorded: its orders are cleared as before, and are
        looked up at the broker by their ids. While it is open nobody else can send them, or conclude that they are
        absent.
        """
        with self._pool.connection() as connection:
            batch = Batch(connection)
            yield batch
            batch.write()

    def absent(self, seen: OrderRecord, *, grace: timedelta, reason: str, end: OrderState) -> OrderRecord:
        """Record that the broker did not know an order, and end it when that is the second time after a grace time.

        An order that changed since `seen` was read, or that is being sent right now, stays as it is: the look-up says
        nothing about it. Times are the database's.
        """
        order_id = seen.client_order_id
        with self._pool.connection() as connection:
            row = connection.execute(_LOCKED, (order_id,)).fetchone()
            if row is None or (row["fence"], row["state"]) != (seen.fence, seen.state) or seen.state not in _UNSEEN:
                return seen if row is None else OrderRecord.from_row(row)
            noted = connection.execute(_ABSENT, {"id": order_id, "fence": seen.fence}).fetchone()
            apart = noted["apart"] if noted else None
            if apart is not None and apart >= grace:
                move_in(
                    connection,
                    order_id,
                    end,
                    reason,
                    {"absent_for_seconds": int(apart.total_seconds())},
                    Source.RECONCILIATION,
                )
            row = connection.execute(_GET, ([order_id],)).fetchone()
        return seen if row is None else OrderRecord.from_row(row)

    def request_cancel(self, client_order_id: str) -> OrderRecord | None:
        """Note that an order that has not ended is to be cancelled, and return it; None when it is unknown.

        A send that is under way is waited for. From this commit on no other begins: neither a process that has taken
        the order up already nor one that does later may send it.
        """
        with self._pool.connection() as connection:
            connection.execute(_REQUEST_CANCEL, {"id": client_order_id, "ended": [state.value for state in TERMINAL]})
            row = connection.execute(_GET, ([client_order_id],)).fetchone()
        return None if row is None else OrderRecord.from_row(row)

    def withdraw(self, client_order_id: str, reason: str, source: Source = Source.SYSTEM) -> OrderRecord | None:
        """End an order that was never sent, by a person (`Source.MANUAL`) or because its time has passed.

        One that was cleared meanwhile stays as it is; None when it is unknown.
        """
        with self._pool.connection() as connection:
            row = connection.execute(_GET + " for update", ([client_order_id],)).fetchone()
            if row is not None and OrderState(row["state"]) in UNSENT:
                move_in(connection, client_order_id, OrderState.EXPIRED, reason, {}, source)
                row = connection.execute(_GET, ([client_order_id],)).fetchone()
        return None if row is None else OrderRecord.from_row(row)

    def absences(self, client_order_id: str) -> list[DictRow]:
        """Return when the broker was asked for an order in vain, oldest first."""
        with self._pool.connection() as connection:
            return connection.execute(
                "select fence, at from ledger.absences where client_order_id = %s order by id", (client_order_id,)
            ).fetchall()


class Batch:
    """The open transaction of `Sending.batch`."""

    def __init__(self, connection: Connection[DictRow]) -> None:
        self._connection = connection
        self._answers: list[Report] = []
        self._broker_ids: dict[str, str | None] = {}

    def check(self, order: OrderRecord, verdict: Verdict, *, stale: str = "") -> Verdict | None:
        """Look at an order for the last time before it is sent, and hold it. None lets it go; a veto is recorded.

        One statement: nobody has taken it up since `order` was read (the fence), it is still cleared, nobody has asked
        to cancel it, the book is of the epoch it was cleared in, and no kill switch stands against it. `stale` says why
        the price it was judged at is too old by now, if it is.
        """
        row = self._connection.execute(_LAST_CHECK, (order.client_order_id, order.fence)).fetchone()
        refusal = _refusal(order, verdict, row) or ((VerdictCode.REFERENCE_STALE, stale) if stale else None)
        if refusal is None:
            return None
        code, detail = refusal
        veto = Verdict(code=code, epoch=verdict.epoch, sequence=verdict.sequence, detail=detail)
        decide_in(self._connection, [(order.client_order_id, veto)])
        return veto

    def record(
        self, order: OrderRecord, state: OrderState, *, reason: str = "", broker_order_id: str | None = None
    ) -> None:
        """Keep the broker's answer for the end of the batch, or that it was lost."""
        self._answers.append(Report(client_order_id=order.client_order_id, state=state, reason=reason))
        self._broker_ids[order.client_order_id] = broker_order_id

    def write(self) -> None:
        """Write all answers. After a lost one, what was looked up before says nothing any more: its fence is raised."""
        lost = [one.client_order_id for one in self._answers if one.state is OrderState.SUBMITTED_UNCONFIRMED]
        given = {order_id: name for order_id, name in self._broker_ids.items() if name is not None}
        if lost:
            self._connection.execute(_NEXT_FENCE, (lost,))
        name_orders_in(self._connection, given)
        if self._answers:
            append_events(self._connection, self._answers)


def _refusal(order: OrderRecord, verdict: Verdict, row: DictRow | None) -> tuple[VerdictCode, str] | None:
    if row is None or row["fence"] != order.fence:
        return VerdictCode.OVERTAKEN, "another process has taken the order up"
    if row["state"] != OrderState.CLEARED:
        return VerdictCode.ENDED, f"the order became {row['state']} before it was sent"
    if row["cancel_requested_at"] is not None:
        return VerdictCode.ENDED, "its cancellation was asked for before it was sent"
    if row["kill_switch"] == KillSwitch.ENGAGED and order.intent.purpose is not Purpose.FLATTEN:
        return VerdictCode.KILL_SWITCH_ENGAGED, "the kill switch was engaged before the order was sent"
    if verdict.clearance is None or row["epoch"] != verdict.clearance.epoch:
        return VerdictCode.BOOK_STALE, "an operator changed the book before the order was sent"
    return None
