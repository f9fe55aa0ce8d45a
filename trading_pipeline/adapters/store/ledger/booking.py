"""Books executions: once each, in one transaction with the positions and the orders they change.

When the broker's cumulative figures are ahead of the executions we know, the difference is booked as a synthetic fill.
The executions that arrive later take its place: what is left of it is booked anew, and the symbol's positions are
replayed as if the executions had always stood there.

The guard is told of every fill once, under its own id, a superseded one too; of an execution that took the place of
synthetic shares it is told only what it adds. So it does not matter when it is told, how often, or between which
bookings.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.events import Report, append_events
from trading_pipeline.adapters.store.ledger.names import NAMED_FILLS, other_names_in, record_names_in
from trading_pipeline.adapters.store.ledger.positions import (
    executed_of,
    locked_positions_in,
    newest_moments_in,
    replay_positions_in,
    store_positions_in,
)
from trading_pipeline.adapters.store.rows import write_rows
from trading_pipeline.core.accounting import ZERO, Booking, Fill, Position, apply_fill
from trading_pipeline.core.executions import DIGITS, Cumulative, Executed, missing, replace_synthetic
from trading_pipeline.core.orders.states import TERMINAL, OrderState, Source
from trading_pipeline.errors import ExecutionConflict, OrderError

_ORDERS = """
select client_order_id, state, qty, carried_qty, filled_qty
  from ledger.orders where client_order_id = any(%s) order by client_order_id for update
"""
_KNOWN = f"select * from {NAMED_FILLS} known"  # noqa: S608 - the text is ours
_STANDING = "select * from ledger.effective_fills where client_order_id = any(%s) and kind = 'synthetic'"
_OF_ORDER = "select * from ledger.effective_fills where client_order_id = %s"
_INSERT = """
insert into ledger.fills (execution_id, account, client_order_id, symbol, side, qty, price, fee, session, executed_at,
                          position_after, average_after, cost_after, realised, kind, told_qty, posted)
select execution_id, account, client_order_id, symbol, side, qty, price, fee, session, executed_at, position_after,
       average_after, cost_after, realised, kind, told_qty, posted
  from json_populate_recordset(null::ledger.fills, %s)
"""
_SUPERSEDE = """
insert into ledger.superseded_fills (execution_id, superseded_by)
select execution_id, superseded_by from json_populate_recordset(null::ledger.superseded_fills, %s)
"""
_COUNT = """
update ledger.orders o
   set filled_qty = o.filled_qty + more.filled_qty, filled_notional = o.filled_notional + more.filled_notional
  from json_populate_recordset(null::ledger.orders, %s) more where o.client_order_id = more.client_order_id
"""
# What an order fills counts toward the totals of those that took its place.
_CARRY = """
with more as (
    select later.client_order_id, sum(more.filled_qty) as filled_qty
      from json_populate_recordset(null::ledger.orders, %s) more
      join ledger.orders o using (client_order_id)
      join ledger.orders later on later.chain = o.chain and later.place > o.place
     group by later.client_order_id
)
update ledger.orders o set carried_qty = o.carried_qty + more.filled_qty
  from more where o.client_order_id = more.client_order_id
"""
_FACTS = ("client_order_id", "symbol", "side", "qty", "price", "session")
NO_ORDER = ""
"""The order of an external fill."""
_UNCOUNTED = Booking(position=Position(symbol=""), realised=ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A fill about to be written. `told` are shares of it that the guard hears of as part of others."""

    executed: Executed
    kind: str = "execution"
    told: Decimal = ZERO


def book_in(connection: Connection[DictRow], account: str, executions: Sequence[Executed]) -> list[Booking | None]:
    """Book executions inside a transaction the caller holds; None stands for each that was booked before.

    One that is booked under another name is the same one, and its name is written down.

    Raises:
        OrderError: an order is not in the ledger.
        ExecutionConflict: an id was booked with other contents.
    """
    orders = _locked_orders(connection, executions)
    unbooked = _unbooked(connection, executions)
    names = other_names_in(connection, unbooked)
    fresh = {one: execution for one, execution in unbooked.items() if one not in names}
    if not unbooked:
        return [None for _ in executions]
    in_order = sorted(fresh.values(), key=lambda one: one.moment)
    entries, superseded = _entries(_standing(connection, orders), in_order)
    bookings = _write(connection, account, entries, superseded)
    record_names_in(connection, in_order, names)
    _count(connection, entries, superseded)
    _move(connection, orders, in_order, Source.BROKER)
    # A replay books anew what stood there already: only what is new is an answer.
    new = {one: bookings[one] for one in fresh}
    return [new.pop(one.fill.execution_id, None) for one in executions]


def book_reported_in(connection: Connection[DictRow], account: str, report: Cumulative) -> Executed | None:
    """Book what a report holds beyond the fills of its order, as a synthetic one; None when it holds no more.

    Raises:
        OrderError: the order is not in the ledger.
        ExecutionConflict: the fills contradict the broker's average.
    """
    orders = _locked_orders(connection, [report])
    known = [executed_of(row) for row in connection.execute(_OF_ORDER, (report.client_order_id,)).fetchall()]
    gap = missing(known, report)
    if gap is None:
        return None
    entries = [_Entry(executed=gap, kind="synthetic")]
    _write(connection, account, entries, {})
    _count(connection, entries, {})
    _move(connection, orders, [gap], Source.RECONCILIATION)
    return gap


def book_external_in(connection: Connection[DictRow], account: str, fill: Fill, at: datetime) -> None:
    """Book a change of the position that no order of ours made, inside a transaction the caller holds."""
    executed = Executed(client_order_id=NO_ORDER, fill=fill, executed_at=at)
    _write(connection, account, [_Entry(executed=executed, kind="external")], {})


def _entries(
    standing: dict[str, tuple[Executed, ...]], executions: Iterable[Executed]
) -> tuple[list[_Entry], dict[Executed, str]]:
    """Return the fills to write, and which synthetic ones (their shares and dollars) give way to which execution."""
    entries: list[_Entry] = []
    superseded: dict[Executed, str] = {}
    for execution in executions:
        done = replace_synthetic(standing.get(execution.client_order_id, ()), execution)
        standing[execution.client_order_id] = done.standing
        entries.append(_Entry(executed=execution, told=min(done.shares, execution.fill.qty)))
        if done.left is not None:
            entries.append(_Entry(executed=done.left, kind="synthetic", told=done.left.fill.qty))
        superseded |= dict.fromkeys(done.gone, execution.fill.execution_id)
    return entries, superseded


def _write(
    connection: Connection[DictRow], account: str, entries: Sequence[_Entry], superseded: Mapping[Executed, str]
) -> dict[str, Booking]:
    """Write fills and the positions that follow: on top of them, or by a replay when others happened after."""
    symbols = sorted({entry.executed.fill.symbol for entry in entries})
    if not symbols:
        return {}
    held = locked_positions_in(connection, account, symbols)
    newest = newest_moments_in(connection, account, symbols)
    replayed = {one.fill.symbol for one in superseded}
    bookings: dict[str, Booking] = {}
    for one in (entry.executed for entry in entries):
        symbol = one.fill.symbol
        if symbol in newest and newest[symbol] > one.moment:
            replayed.add(symbol)
        if symbol not in replayed:
            bookings[one.fill.execution_id] = booking = apply_fill(held[symbol], one.fill)
            held[symbol] = booking.position
    rows = [_row(account, entry, bookings.get(entry.executed.fill.execution_id, _UNCOUNTED)) for entry in entries]
    gone = [{"execution_id": one.fill.execution_id, "superseded_by": by} for one, by in superseded.items()]
    write_rows(connection, _INSERT, rows)
    write_rows(connection, _SUPERSEDE, gone)
    store_positions_in(connection, account, [held[symbol] for symbol in symbols if symbol not in replayed])
    return bookings | replay_positions_in(connection, account, sorted(replayed))


def _locked_orders(connection: Connection[DictRow], said: Iterable[Executed | Cumulative]) -> dict[str, DictRow]:
    wanted = {one.client_order_id: one for one in said}
    rows = connection.execute(_ORDERS, (sorted(wanted),)).fetchall() if wanted else []
    orders = {row["client_order_id"]: row for row in rows}
    for order_id, one in wanted.items():
        if order_id not in orders:
            what = f"execution {one.fill.execution_id}" if isinstance(one, Executed) else "a report"
            raise OrderError(
                f"{what} belongs to order {order_id}, which is not in the ledger", client_order_id=order_id
            )
    return orders


def _unbooked(connection: Connection[DictRow], executions: Sequence[Executed]) -> dict[str, Executed]:
    if not executions:
        return {}
    ids = [one.fill.execution_id for one in executions]
    # Not prepared: a plan of when the table was small would read the whole of it for ever.
    rows = connection.execute(_KNOWN, {"names": ids}, prepare=False).fetchall()
    known = {row["name"]: executed_of(row) for row in rows}
    fresh: dict[str, Executed] = {}
    for one in executions:
        present = known.get(one.fill.execution_id)
        if present is None:
            present = fresh.setdefault(one.fill.execution_id, one)
        _require_same(present, one)
    return fresh


def _require_same(known: Executed, offered: Executed) -> None:
    facts = [
        (one.client_order_id, one.fill.symbol, one.fill.side, one.fill.qty, one.fill.price, one.fill.session)
        for one in (known, offered)
    ]
    differing = [
        f"{name} {ours} and {theirs}" for name, ours, theirs in zip(_FACTS, *facts, strict=True) if ours != theirs
    ]
    if differing:
        execution_id = offered.fill.execution_id
        raise ExecutionConflict(
            f"execution {execution_id} was booked with other contents: {', '.join(differing)}; ask the broker",
            client_order_id=offered.client_order_id,
            execution_id=execution_id,
        )


def _standing(connection: Connection[DictRow], orders: Iterable[str]) -> dict[str, tuple[Executed, ...]]:
    standing: defaultdict[str, tuple[Executed, ...]] = defaultdict(tuple)
    for row in connection.execute(_STANDING, (list(orders),), prepare=False).fetchall():
        standing[row["client_order_id"]] += (executed_of(row),)
    return standing


def _row(account: str, entry: _Entry, booking: Booking) -> dict[str, Any]:
    fill, after = entry.executed.fill, booking.position
    return {
        "execution_id": fill.execution_id,
        "account": account,
        "client_order_id": entry.executed.client_order_id or None,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "qty": fill.qty,
        "price": fill.price,
        "fee": fill.fee,
        "session": fill.session,
        "executed_at": entry.executed.executed_at,
        "position_after": after.qty,
        "average_after": after.average_price,
        "cost_after": after.cost,
        "realised": booking.realised,
        "kind": entry.kind,
        "told_qty": entry.told,
        "posted": entry.told == fill.qty,
    }


def _count(connection: Connection[DictRow], entries: Iterable[_Entry], superseded: Iterable[Executed]) -> None:
    """Count what was written for the orders, less what gave way."""
    shares: defaultdict[str, Decimal] = defaultdict(Decimal)
    dollars: defaultdict[str, Decimal] = defaultdict(Decimal)
    counted = [(entry.executed, 1) for entry in entries] + [(one, -1) for one in superseded]
    with localcontext(prec=DIGITS):
        for one, sign in counted:
            shares[one.client_order_id] += sign * one.fill.qty
            dollars[one.client_order_id] += sign * one.fill.qty * one.fill.price
    rows = [{"client_order_id": one, "filled_qty": shares[one], "filled_notional": dollars[one]} for one in shares]
    write_rows(connection, _COUNT, rows)
    write_rows(connection, _CARRY, rows)


def _move(
    connection: Connection[DictRow], before: Mapping[str, DictRow], executions: Sequence[Executed], source: Source
) -> None:
    """Bring the orders that had not ended to where their fills take them; the last execution says why."""
    last = {one.client_order_id: one for one in executions}
    rows = connection.execute(_ORDERS, (sorted(last),)).fetchall() if last else []
    reports = [
        Report(
            client_order_id=row["client_order_id"],
            state=OrderState.FILLED if _complete(row) else OrderState.PARTIALLY_FILLED,
            reason=f"execution {last[row['client_order_id']].fill.execution_id}",
            detail={"filled": str(row["filled_qty"])},
            source=source,
            broker_at=last[row["client_order_id"]].executed_at,
        )
        for row in rows
        if OrderState(before[row["client_order_id"]]["state"]) not in TERMINAL
    ]
    if reports:
        append_events(connection, reports)


def _complete(order: DictRow) -> bool:
    return bool(order["carried_qty"] + order["filled_qty"] >= order["qty"])
