"""Parents and their slices: written with the plan, and only added to afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from psycopg import Connection, IntegrityError
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.ledger.orders import insert_orders
from trading_pipeline.adapters.store.ledger.records import NewOrder, OrderRecord
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.adapters.store.rows import write_rows
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.orders.twap import TwapPlan, WhenLate
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import OrderConflict, OrderError

PLANNED: Final = "planned"
WAITING: Final = "waiting"
CARRIED: Final = "carried"
_UNDECIDED: Final = (PLANNED, WAITING)
UNFINISHED: Final = (
    OrderState.PENDING_NEW,
    OrderState.REFUSED,
    OrderState.CLEARED,
    OrderState.SUBMITTED_UNCONFIRMED,
)
"""States of a slice's order in which somebody of us has to go on with it."""

_INSERT_PARENT = """
insert into ledger.parents (parent_id, request_digest, account, strategy_id, session, trade_session, symbol, side, qty,
                            unplanned, interval_microseconds, adv_shares, max_adv_bps, max_volume_bps,
                            max_slice_shares, min_slice_shares, when_late, grace_seconds, repeat, warnings, operator,
                            reason, run_id)
values (%(parent_id)s, %(request_digest)s, %(account)s, %(strategy_id)s, %(session)s, %(trade_session)s, %(symbol)s,
        %(side)s, %(qty)s, %(unplanned)s, %(interval_microseconds)s, %(adv_shares)s, %(max_adv_bps)s,
        %(max_volume_bps)s, %(max_slice_shares)s, %(min_slice_shares)s, %(when_late)s, %(grace_seconds)s, %(repeat)s,
        %(warnings)s, %(operator)s, %(reason)s, %(run_id)s)
on conflict (parent_id) do nothing
returning parent_id
"""
_INSERT_SLICES = """
insert into ledger.slices (parent_id, number, qty, due_at)
select parent_id, number, qty, due_at from json_populate_recordset(null::ledger.slices, %s) order by number
"""
_PARENTS = """
select p.*, coalesce(c.operator || ': ' || c.reason, '') as canceled
  from ledger.parents p left join ledger.parent_cancellations c using (parent_id)
"""
_BY_ID = _PARENTS + " where p.parent_id = %s"
_LATEST = _PARENTS + " where p.account = %s order by p.created_at desc, p.parent_id limit %s"
_TO_DO = (
    _PARENTS
    + """
 where p.account = %(account)s and p.trade_session >= %(since)s
   and exists (select from ledger.slice_states s
                where s.parent_id = p.parent_id and (s.state = any(%(undecided)s) or
                      s.client_order_id is not null and s.state = any(%(unfinished)s)))
 order by p.created_at, p.parent_id
"""
)
_SLICES = "select * from ledger.slice_states where parent_id = %s order by number"
_EVENT = """
insert into ledger.slice_events (parent_id, number, kind, qty, client_order_id, reason, volume, volume_until, retry_at,
                                 at)
values (%(parent_id)s, %(number)s, %(kind)s, %(qty)s, %(client_order_id)s, %(reason)s, %(volume)s, %(volume_until)s,
        %(retry_at)s, %(at)s)
"""
_CANCEL = """
insert into ledger.parent_cancellations (parent_id, operator, reason) values (%s, %s, %s)
on conflict (parent_id) do nothing
"""
_PENDING = """
select p.symbol, sum(s.qty * case p.side when 'buy' then 1 else -1 end) as shares
  from ledger.parents p join ledger.slice_states s using (parent_id)
 where p.account = %(account)s and p.trade_session >= %(since)s and s.state = any(%(undecided)s)
 group by p.symbol
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewParent:
    """A plan about to be recorded: `session` is the one decided from."""

    plan: TwapPlan
    session: date
    adv_shares: int
    action: OperatorAction
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentRecord:
    """A parent as the ledger holds it. Shares are whole; `canceled` says by whom and why, empty when it is not."""

    parent_id: str
    request_digest: str
    account: str
    strategy_id: str
    session: date
    trade_session: date
    symbol: str
    side: Side
    qty: int
    unplanned: int
    interval: timedelta
    adv_shares: int
    max_adv_bps: int
    max_volume_bps: int | None
    max_slice_shares: int
    min_slice_shares: int
    when_late: WhenLate
    grace: timedelta
    warnings: tuple[str, ...]
    operator: str
    reason: str
    canceled: str
    created_at: datetime

    @classmethod
    def from_row(cls, row: DictRow) -> "ParentRecord":
        """Build the record from a row of `ledger.parents` with its cancellation."""
        same = ("parent_id", "request_digest", "account", "strategy_id", "session", "trade_session", "symbol", "qty")
        more = ("unplanned", "adv_shares", "max_adv_bps", "max_volume_bps", "max_slice_shares", "min_slice_shares")
        said = ("operator", "reason", "canceled", "created_at")
        return cls(
            **{name: row[name] for name in (*same, *more, *said)},
            side=Side(row["side"]),
            interval=timedelta(microseconds=row["interval_microseconds"]),
            when_late=WhenLate(row["when_late"]),
            grace=timedelta(seconds=row["grace_seconds"]),
            warnings=tuple(row["warnings"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRecord:
    """Where a slice stands.

    Attributes:
        qty: shares planned.
        state: planned, waiting, carried, expired, canceled, or the state of its order.
        ordered: shares of its order, 0 without one.
        decided_at: when it was ordered, carried or expired, by the sender's clock.
        sent_at: when its order left us, by the sender's clock.
        volume_until: up to when traded volume has been counted with it.
        retry_at: before which a waiting slice is not tried again.
        waited_for: what it waited for last; empty when it never did.
    """

    parent_id: str
    number: int
    qty: int
    due_at: datetime
    state: str
    ordered: int
    filled: Decimal
    client_order_id: str | None
    reason: str
    decided_at: datetime | None
    volume: int | None
    volume_until: datetime | None
    sent_at: datetime | None
    retry_at: datetime | None
    waited_for: str

    @property
    def undecided(self) -> bool:
        """True while nothing became of it."""
        return self.state in _UNDECIDED

    @property
    def unfinished(self) -> bool:
        """True while its order is one that somebody of us has to go on with."""
        return self.client_order_id is not None and self.state in UNFINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Traded:
    """What was traded until an instant, shares; `shares` is None where that is not known."""

    shares: int | None
    until: datetime | None


UNKNOWN_VOLUME: Final = Traded(shares=None, until=None)


class Slices:
    """Statements about `ledger.parents` and `ledger.slices`. Each public method is one transaction."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(self, new: NewParent) -> tuple[ParentRecord, bool]:
        """Write a parent and all its slices unless its id is known; return the stored one and whether it is new.

        Raises:
            OrderConflict: the id is known with another request.
        """
        plan = new.plan
        with self._pool.connection() as connection:
            is_new = connection.execute(_INSERT_PARENT, _columns(new)).fetchone() is not None
            if is_new:
                rows = [
                    {"parent_id": plan.parent_id, "number": one.number, "qty": one.qty, "due_at": one.due_at}
                    for one in plan.slices
                ]
                write_rows(connection, _INSERT_SLICES, rows)
            stored = ParentRecord.from_row(_one(connection, plan.parent_id))
        if stored.request_digest != plan.request.digest:
            raise OrderConflict(
                f"parent {plan.parent_id} is in the ledger with another request: it works {stored.qty} "
                f"{stored.symbol} already. Cancel it, or give a wanted repeat its number",
                parent_id=plan.parent_id,
            )
        return stored, is_new

    def get(self, parent_id: str) -> ParentRecord | None:
        """Return a parent, or None."""
        rows = self._pool.rows(_BY_ID, (parent_id,))
        return ParentRecord.from_row(rows[0]) if rows else None

    def latest(self, account: str, count: int) -> list[ParentRecord]:
        """Return the newest parents of an account, newest first."""
        return [ParentRecord.from_row(row) for row in self._pool.rows(_LATEST, (account, count))]

    def to_do(self, account: str, *, since: date) -> list[ParentRecord]:
        """Return the parents of trade sessions since this one of which a slice is undecided or an order unfinished."""
        found = self._pool.rows(
            _TO_DO,
            {"account": account, "since": since, "undecided": list(_UNDECIDED), "unfinished": list(UNFINISHED)},
        )
        return [ParentRecord.from_row(row) for row in found]

    def of_parent(self, parent_id: str) -> list[SliceRecord]:
        """Return the slices of a parent in order, each as it stands now."""
        return [SliceRecord(**row) for row in self._pool.rows(_SLICES, (parent_id,))]

    def undecided_shares(self, account: str, *, since: date) -> dict[str, Decimal]:
        """Return the signed shares of slices not decided yet, by symbol, of trade sessions since this one."""
        rows = self._pool.rows(_PENDING, {"account": account, "since": since, "undecided": list(_UNDECIDED)})
        return {row["symbol"]: row["shares"] for row in rows}

    def order(self, new: NewOrder, *, volume: Traded, at: datetime) -> OrderRecord:
        """Decide that a slice becomes this order, and record both at once.

        Raises:
            OrderConflict: the slice was decided already, the parent was cancelled, or the order does not fit it;
                nothing is written.
        """
        intent = new.intent
        with _decided_once(), self._pool.connection() as connection:
            _write_event(
                connection,
                parent_id=intent.parent_id,
                number=intent.repeat,
                kind="ordered",
                at=at,
                qty=intent.qty,
                client_order_id=intent.client_order_id,
                volume=volume.shares,
                volume_until=volume.until,
            )
            return insert_orders(connection, [new])[0][0]

    def wait(self, one: SliceRecord, reason: str, *, retry_at: datetime, at: datetime) -> None:
        """Record that a slice is not sent now, why, and before when it is not tried again."""
        self._note(one, kind="waiting", reason=reason, retry_at=retry_at, at=at)

    def sent(self, one: SliceRecord, *, at: datetime) -> None:
        """Record that the order of a slice has left us."""
        self._note(one, kind="sent", at=at)

    def carry(self, one: SliceRecord, reason: str, *, volume: Traded, at: datetime) -> None:
        """Record that a slice becomes no order and its shares go on to later ones."""
        self._note(one, kind="carried", reason=reason, volume=volume.shares, volume_until=volume.until, at=at)

    def expire(self, one: SliceRecord, reason: str, *, at: datetime) -> None:
        """Record that a slice becomes no order, for good."""
        self._note(one, kind="expired", reason=reason, at=at)

    def cancel(self, parent_id: str, action: OperatorAction) -> bool:
        """Record that no order is made of a parent's slices any more; False when that was so already.

        Waits for a slice that is being decided right now, for nothing else.

        Raises:
            OrderError: there is no such parent.
        """
        with self._pool.connection() as connection:
            _one(connection, parent_id)
            return connection.execute(_CANCEL, (parent_id, action.operator, action.reason)).rowcount == 1

    def events(self, parent_id: str) -> list[DictRow]:
        """Return what was recorded of a parent's slices, oldest first."""
        return self._pool.rows("select * from ledger.slice_events where parent_id = %s order by id", (parent_id,))

    def _note(self, one: SliceRecord, **event: Any) -> None:
        with _decided_once(), self._pool.connection() as connection:
            _write_event(connection, parent_id=one.parent_id, number=one.number, **event)


@contextmanager
def _decided_once() -> Iterator[None]:
    """Turn what the database refuses about slices and their orders into a conflict."""
    try:
        yield
    except IntegrityError as refused:
        raise OrderConflict(f"a slice is decided once, within its parent: {str(refused).splitlines()[0]}") from refused


def _write_event(connection: Connection[DictRow], **event: Any) -> None:
    empty = {"qty": 0, "client_order_id": None, "reason": "", "volume": None, "volume_until": None, "retry_at": None}
    connection.execute(_EVENT, empty | event)


def _one(connection: Connection[DictRow], parent_id: str) -> DictRow:
    row = connection.execute(_BY_ID, (parent_id,)).fetchone()
    if row is None:
        raise OrderError(
            f"there is no parent {parent_id}: `trading-pipeline twap status` lists them", parent_id=parent_id
        )
    return row


def _columns(new: NewParent) -> dict[str, Any]:
    plan, request = new.plan, new.plan.request
    return {
        "parent_id": plan.parent_id,
        "request_digest": request.digest,
        "account": request.account,
        "strategy_id": request.strategy_id,
        "session": new.session,
        "trade_session": plan.trade_session,
        "symbol": request.symbol,
        "side": request.side.value,
        "qty": request.qty,
        "unplanned": plan.unplanned,
        "interval_microseconds": plan.interval // timedelta(microseconds=1),
        "adv_shares": new.adv_shares,
        "max_adv_bps": request.max_adv_bps,
        "max_volume_bps": request.max_volume_bps,
        "max_slice_shares": plan.max_slice_shares,
        "min_slice_shares": request.min_slice_shares,
        "when_late": request.when_late.value,
        "grace_seconds": request.grace_seconds,
        "repeat": request.repeat,
        "warnings": Jsonb([one.message for one in plan.warnings]),
        "operator": new.action.operator,
        "reason": new.action.reason,
        "run_id": new.run_id,
    }
