"""Proves that the ledger is what it was: every sealed row unchanged, none missing or added, and what is kept derived.

It reads one snapshot, row by row, in memory that does not grow with the ledger, and changes nothing.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.positions import IN_ORDER, executed_of, fill_of, restatement_of
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.accounting import Position, apply_fill
from trading_pipeline.core.orders.states import OrderState, Source, StateEvent, derive_state
from trading_pipeline.core.restating import Event, Restatement, replay_events

ROWS_AT_ONCE: Final = 2_000
LISTED: Final = 100
"""So many problems are named; all are counted."""
_FIRST: Final = bytes(32)

_LINKS = "select seq, table_name, row_key, content::text as content, hash from ledger.chain order by seq"
_TABLES = "select table_name, key_column, changing from ledger.chained_tables order by table_name"
_CHANGED = """
select c.seq, c.row_key, t.{key} is null as gone,
       (select array_agg(one.key order by one.key) from (
            select coalesce(was.key, now.key) as key
              from jsonb_each(c.content) was
              full join jsonb_each(ledger.facts_of(to_jsonb(t), %(changing)s)) now using (key)
             where was.value is distinct from now.value) one) as fields
  from ledger.chain c left join ledger.{table} t on t.{key}::text = c.row_key
 where c.table_name = %(table)s
   and (t.{key} is null or ledger.facts_of(to_jsonb(t), %(changing)s) <> c.content)
 order by c.seq
"""
_UNSEALED = """
select t.{key}::text as row_key from ledger.{table} t
 where not exists (select 1 from ledger.chain c where c.table_name = %(table)s and c.row_key = t.{key}::text)
 order by t.{key}
"""
_EVENTS = """
select o.client_order_id, o.state, e.to_state, e.source, coalesce(e.broker_at, e.at) as at
  from ledger.orders o left join ledger.order_events e using (client_order_id) order by o.client_order_id, e.id
"""
_FILLED = """
select o.client_order_id, o.filled_qty, coalesce(sum(f.qty), 0) as qty,
       o.filled_notional, coalesce(sum(f.qty * f.price), 0) as notional
  from ledger.orders o left join ledger.effective_fills f using (client_order_id)
 group by o.client_order_id
having o.filled_qty <> coalesce(sum(f.qty), 0) or abs(o.filled_notional - coalesce(sum(f.qty * f.price), 0)) > 0.000001
 order by o.client_order_id
"""
_FILLS = f"select * from ledger.effective_fills order by account, symbol, {IN_ORDER}"  # noqa: S608 - the order is ours
_RESTATEMENTS = "select * from ledger.restatements order by account, id"
_POSITIONS = "select * from ledger.positions order by account, symbol"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest link: its number, and the hash (hex) that everything before it went into."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is not as it was, or not as it follows. `seq` is the link it belongs to, if there is one."""

    table: str
    key: str
    what: str
    seq: int | None = None


@dataclass(slots=True, kw_only=True)
class LedgerCheck:
    """What a verification found."""

    head: Head
    links: int = 0
    rows_by_table: dict[str, int] = field(default_factory=dict)
    orders: int = 0
    positions: int = 0
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """True when nothing is wrong."""
        return not self.problem_count

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it while there is room."""
        self.problem_count += 1
        if len(self.problems) < LISTED:
            self.problems.append(problem)


class Seals:
    """Statements about the chain."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def head(self) -> Head:
        """Return the newest link, to be written down where nobody who can change the ledger can reach it."""
        with self._pool.connection() as connection:
            return _head(connection)

    def verify(self, written_down: Head | None = None) -> LedgerCheck:
        """Check every link, every sealed row, and all that is derived from them.

        Args:
            written_down: a head noted earlier: a chain cut off after it, or built anew, does not hold that link.
        """
        with self._snapshot() as connection:
            check = LedgerCheck(head=_head(connection))
            _check_links(connection, check, written_down)
            for row in connection.execute(_TABLES).fetchall():
                _check_table(connection, check, row)
            _check_states(connection, check)
            _check_filled(connection, check)
            _check_positions(connection, check)
        return check

    @contextmanager
    def _snapshot(self) -> Iterator[Connection[DictRow]]:
        with self._pool.connection() as connection:
            connection.execute("set transaction isolation level repeatable read")
            connection.execute("set local statement_timeout = 0")
            yield connection


def _check_links(connection: Connection[DictRow], check: LedgerCheck, written_down: Head | None) -> None:
    before, at = _FIRST, 0
    seen = written_down is None
    for row in _stream(connection, "links", _LINKS):
        table, key, seq = row["table_name"], row["row_key"], row["seq"]
        if seq != at + 1:
            check.add(Problem(seq=seq, table=table, key=key, what=f"links {at + 1} to {seq - 1} are missing before it"))
        expected = hashlib.sha256(before + f"{seq}\n{table}\n{key}\n{row['content']}\n".encode()).digest()
        if seq == at + 1 and row["hash"] != expected:
            check.add(Problem(seq=seq, table=table, key=key, what="the link does not follow from the one before"))
        if written_down is not None and seq == written_down.seq:
            seen = row["hash"].hex() == written_down.hash
        before, at = row["hash"], seq
        check.links += 1
        check.rows_by_table[table] = check.rows_by_table.get(table, 0) + 1
    if (check.head.seq, check.head.hash) != (at, before.hex()):
        what = f"the chain ends at {at}, its head is {check.head.seq}: the tail was cut off or added"
        check.add(Problem(table="chain", key=str(check.head.seq), what=what))
    if written_down is not None and not seen:
        what = "the link that was written down is not in the chain: it was cut off or built anew"
        check.add(Problem(table="chain", key=str(written_down.seq), what=what))


def _check_table(connection: Connection[DictRow], check: LedgerCheck, table: DictRow) -> None:
    name = table["table_name"]
    parts = {"table": sql.Identifier(name), "key": sql.Identifier(table["key_column"])}
    parameters = {"table": name, "changing": table["changing"]}
    for row in _stream(connection, "changed", sql.SQL(_CHANGED).format(**parts), parameters):
        what = "the row is gone" if row["gone"] else f"changed since it was written: {', '.join(row['fields'])}"
        check.add(Problem(seq=row["seq"], table=name, key=row["row_key"], what=what))
    for row in _stream(connection, "unsealed", sql.SQL(_UNSEALED).format(**parts), parameters):
        check.add(Problem(table=name, key=row["row_key"], what="a row that was never sealed"))


def _check_states(connection: Connection[DictRow], check: LedgerCheck) -> None:
    for order_id, rows in groupby(_stream(connection, "events", _EVENTS), key=lambda row: row["client_order_id"]):
        told = list(rows)
        check.orders += 1
        events = [
            StateEvent(state=OrderState(row["to_state"]), source=Source(row["source"]), at=row["at"])
            for row in told
            if row["to_state"] is not None
        ]
        derived = derive_state(events).state if events else None
        if derived != told[0]["state"]:
            what = f"kept as {told[0]['state']}, but its events say {derived}"
            check.add(Problem(table="orders", key=order_id, what=what))


def _check_filled(connection: Connection[DictRow], check: LedgerCheck) -> None:
    for row in _stream(connection, "filled", _FILLED):
        kept = f"{row['filled_qty']} shares for {row['filled_notional']}"
        what = f"kept as {kept}, but its fills are {row['qty']} shares for {row['notional']}"
        check.add(Problem(table="orders", key=row["client_order_id"], what=what))


def _check_positions(connection: Connection[DictRow], check: LedgerCheck) -> None:
    kept = {(row["account"], row["symbol"]): row for row in connection.execute(_POSITIONS).fetchall()}
    check.positions = len(kept)
    actions: dict[str, list[Restatement]] = {}
    for row in connection.execute(_RESTATEMENTS).fetchall():
        actions.setdefault(row["account"], []).append(restatement_of(row))
    # Of companies whose shares changed; those of others are never all in memory.
    touched = {(account, symbol) for account, some in actions.items() for one in some for symbol in one.symbols}
    events: dict[str, list[Event]] = {account: list(some) for account, some in actions.items()}
    fills = _stream(connection, "fills", _FILLS)
    for (account, symbol), rows in groupby(fills, key=lambda row: (row["account"], row["symbol"])):
        if (account, symbol) in touched:
            events[account] += map(executed_of, rows)
            continue
        position = Position(symbol=symbol)
        for row in rows:
            position = apply_fill(position, fill_of(row)).position
        _compare(check, account, position, kept.pop((account, symbol), None))
    for account, some in events.items():
        for symbol, position in replay_events(some).items():
            _compare(check, account, position, kept.pop((account, symbol), None))
    for (account, symbol), row in kept.items():
        _compare(check, account, Position(symbol=symbol), row)


def _compare(check: LedgerCheck, account: str, position: Position, row: DictRow | None) -> None:
    names = ("qty", "cost", "average_price", "realised", "fees")
    follows = {name: getattr(position, name) for name in names}
    differing = [name for name in names if row is None or row[name] != follows[name]]
    if differing:
        told = ", ".join(f"{name} {row[name] if row else 'absent'} instead of {follows[name]}" for name in differing)
        check.add(Problem(table="positions", key=f"{account} {position.symbol}", what=f"kept as {told}"))


def _head(connection: Connection[DictRow]) -> Head:
    row = connection.execute("select seq, hash from ledger.chain_head").fetchone()
    return Head(seq=row["seq"], hash=row["hash"].hex()) if row else Head(seq=0, hash=_FIRST.hex())


def _stream(
    connection: Connection[DictRow], name: str, query: str | sql.Composed, parameters: dict[str, Any] | None = None
) -> Iterator[DictRow]:
    with connection.cursor(name=name) as cursor:
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(query.encode() if isinstance(query, str) else query, parameters)
        yield from cursor
