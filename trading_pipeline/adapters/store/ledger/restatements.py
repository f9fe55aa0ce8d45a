"""Corporate actions on what is held: recorded once, with all they change, in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import ROUND_UP, Decimal
from math import floor
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.ledger.books import (
    change_book_in,
    change_text,
    limit_columns,
    locked_book_in,
    log_limit_change_in,
)
from trading_pipeline.adapters.store.ledger.positions import (
    locked_positions_in,
    positions_before_in,
    replay_positions_in,
    restatement_of,
    shares_before_awaited_in,
)
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.accounting import Position
from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.core.orders.states import TERMINAL
from trading_pipeline.core.restating import Restatement, apply_restatement
from trading_pipeline.core.risk.halts import LONGEST_REASON, OperatorAction
from trading_pipeline.core.risk.limits import LimitChange, LimitSet, limit_as_text

RESTATED: Final = "corporate action restated: "
"""How the reason of a quarantine begins that a restatement starts and that ends when the broker agrees."""
_IN_SHARES: Final = frozenset({"max_order_shares", "max_position_shares"})

_KNOWN = "select * from ledger.restatements where account = %s and action_id = %s"
# Those sized before the action: what was decided from its session on is in shares of after.
_ORDERS = """
update ledger.orders set cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
 where account = %(account)s and symbol = any(%(symbols)s) and session < %(session)s and not state = any(%(ended)s)
returning client_order_id, side, qty, filled_qty, limit_price, stop_price, time_in_force, state
"""
_INSERT = """
insert into ledger.restatements (account, action_id, kind, symbol, new_symbol, ratio_new, ratio_old, session,
                                 executed_at, rank, before, after, orders, limits)
values (%(account)s, %(action_id)s, %(kind)s, %(symbol)s, %(new_symbol)s, %(ratio_new)s, %(ratio_old)s, %(session)s,
        %(executed_at)s, %(rank)s, %(before)s, %(after)s, %(orders)s, %(limits)s)
returning *
"""
_OUTCOMES = """
insert into ledger.restated_positions (restatement_id, account, symbol, session, executed_at, execution_id)
select %(id)s, %(account)s, unnest(%(symbols)s::text[]), %(session)s, %(executed_at)s, %(execution_id)s
"""
_MOMENTS = """
select distinct on (symbol) symbol, session, executed_at from ledger.restated_positions where account = %s
 order by symbol, session desc, executed_at desc
"""
_SINCE_ORDERS = """
select symbol, new_symbol, ratio_new, ratio_old from ledger.restatements r
 where account = %s and not exists (
       select from ledger.orders o where o.account = r.account and o.session >= r.session
          and o.symbol = coalesce(nullif(r.new_symbol, ''), r.symbol))
 order by session, executed_at, rank, action_id
"""
_RENAMED = """
select symbol, new_symbol from ledger.restatements where account = %s and new_symbol <> ''
 order by session desc, executed_at desc, rank desc, action_id desc
"""
_BETWEEN = """
select symbol, new_symbol, ratio_new, ratio_old, executed_at from ledger.restatements
 where account = %(account)s and session <= %(session)s and executed_at > %(since)s
 order by session, executed_at, rank, action_id
"""
_TICK: Final = Decimal("0.0001")
_QUARANTINE = """
insert into ledger.quarantined_symbols (account, symbol, reason, until)
select %(account)s, unnest(%(symbols)s::text[]), %(reason)s, null
    on conflict (account, symbol) do update set reason = excluded.reason, until = null, at = now()
 where quarantined_symbols.until is not null
"""


class Restatements:
    """Statements about `ledger.restatements`. An action and all it changes commit together."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(self, account: str, action: Restatement, cause: OperatorAction) -> DictRow | None:
        """Restate what is held or ordered over an action, and keep its symbols from trading until the broker agrees.

        In one transaction: the action with positions before and after; every later fill replayed; the symbol's own
        limits in shares, each in the log of changes; the cancellation of live orders sized before it asked for; the
        quarantine; and a new epoch, so that the risk book clears nothing until it is made anew.

        Returns:
            The row; None when the action is recorded already, or nothing was held or ordered over it.
        """
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
            if connection.execute(_KNOWN, (account, action.action_id)).fetchone():
                return None
            locked_positions_in(connection, account, action.symbols)
            before = positions_before_in(connection, account, action)
            after = {symbol: one.position for symbol, one in apply_restatement(before, action).items()}
            orders = _withdrawn_in(connection, account, action)
            if not after and not orders:
                return None
            changes = _limit_changes(present.limit_set, action)
            limits = present.limit_set
            for change in changes:
                old = limits.effective(present.read_at, change.symbol).value(change.limit)
                log_limit_change_in(connection, account, change, limit_as_text(old), cause)
                limits = limits.changed(change)
            row = connection.execute(
                _INSERT,
                {
                    "account": account,
                    "action_id": action.action_id,
                    "kind": action.kind.value,
                    "symbol": action.symbol,
                    "new_symbol": action.new_symbol,
                    "ratio_new": action.ratio.numerator,
                    "ratio_old": action.ratio.denominator,
                    "session": action.session,
                    "executed_at": action.at,
                    "rank": action.rank,
                    "before": Jsonb(_told(before, action.symbols)),
                    "after": Jsonb(_told(before | after, action.symbols)),
                    "orders": Jsonb(orders),
                    "limits": Jsonb([change_text(one) for one in changes]),
                },
            ).fetchone()
            if row is None:
                return None
            where = {"account": account, "symbols": list(action.symbols)}
            moment = {"session": action.session, "executed_at": action.at, "execution_id": action.key}
            connection.execute(_OUTCOMES, where | moment | {"id": row["id"]})
            replay_positions_in(connection, account, action.symbols)
            connection.execute(_QUARANTINE, where | {"reason": f"{RESTATED}{cause.reason}"[:LONGEST_REASON]})
            detail = {"action_id": action.action_id, "symbols": list(action.symbols)}
            change_book_in(connection, present, "restate_position", cause, detail=detail, **limit_columns(limits))
        return row

    def outside_book(self, account: str) -> list[int]:
        """Return the numbers of those the risk book was not made anew after."""
        rows = self._pool.rows(
            "select id from ledger.restatements where account = %s and not in_book order by id", (account,)
        )
        return [row["id"] for row in rows]

    def in_book(self, numbers: Sequence[int]) -> None:
        """Remember that the risk book was made anew after these."""
        with self._pool.connection() as connection:
            connection.execute("update ledger.restatements set in_book = true where id = any(%s)", (list(numbers),))

    def awaiting(self, account: str) -> dict[str, Restatement]:
        """Return the symbols whose shares the broker was not seen to hold as restated, with the newest action."""
        rows = self._pool.rows(
            "select * from ledger.restatements where account = %s and agreed_at is null order by id", (account,)
        )
        return {symbol: one for one in map(restatement_of, rows) for symbol in one.symbols}

    def before_awaited(self, account: str, symbol: str) -> list[dict[str, Decimal]]:
        """Return what the broker may hold of a symbol meanwhile: as `shares_before_awaited_in`."""
        with self._pool.connection() as connection:
            return shares_before_awaited_in(connection, account, symbol)

    def agree(self, account: str, symbols: Sequence[str]) -> None:
        """Remember that ledger and broker agree in these symbols, or that an operator accepted that they do not."""
        with self._pool.connection() as connection:
            connection.execute(
                """update ledger.restatements set agreed_at = clock_timestamp()
                    where account = %s and agreed_at is null and (symbol = any(%s) or new_symbol = any(%s))""",
                (account, list(symbols), list(symbols)),
            )

    def moments(self, account: str) -> dict[str, tuple[date, datetime]]:
        """Return the session and the instant of the newest action of each symbol."""
        rows = self._pool.rows(_MOMENTS, (account,))
        return {row["symbol"]: (row["session"], row["executed_at"]) for row in rows}

    def restated_prices(self, account: str, prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """Return prices of orders as they are after the actions since; dollars a share, rounded up to 1/10,000.

        The shares that moved to a new symbol take their price along.
        """
        restated = dict(prices)
        for row in self._pool.rows(_SINCE_ORDERS, (account,)):
            if row["symbol"] in restated:
                price = restated[row["symbol"]] * row["ratio_old"] / row["ratio_new"]
                restated[row["new_symbol"] or row["symbol"]] = price.quantize(_TICK, rounding=ROUND_UP)
        return restated

    def marks(self, account: str, session: date, closes: Mapping[str, ReferencePrice]) -> dict[str, ReferencePrice]:
        """Return closes as they are after the recorded actions up to a session that took effect since; dollars.

        A position that was restated is then valued in its own shares also while its symbol has no bar since. A close
        that moved to a new symbol stands there unless that has one of its own.
        """
        marks = dict(closes)
        if not marks:
            return marks
        since = min(close.as_of for close in marks.values())
        for row in self._pool.rows(_BETWEEN, {"account": account, "session": session, "since": since}):
            old, name = marks.get(row["symbol"]), row["new_symbol"] or row["symbol"]
            if old is None or old.as_of >= row["executed_at"] or (name != row["symbol"] and name in marks):
                continue
            marks[name] = replace(old, price=old.price * row["ratio_old"] / row["ratio_new"])
        return marks

    def names_of(self, account: str, symbols: Collection[str]) -> set[str]:
        """Return the symbols with those they were called before by the recorded actions."""
        rows = self._pool.rows(_RENAMED, (account,))
        names = set(symbols)
        for row in rows:
            if row["new_symbol"] in names:
                names.add(row["symbol"])
        return names

    def all(self, account: str) -> list[DictRow]:
        """Return what was recorded, oldest first."""
        return self._pool.rows("select * from ledger.restatements where account = %s order by id", (account,))


def _withdrawn_in(connection: Connection[DictRow], account: str, action: Restatement) -> list[dict[str, Any]]:
    asked = {"account": account, "symbols": list(action.symbols), "session": action.session, "ended": list(TERMINAL)}
    rows = connection.execute(_ORDERS, asked).fetchall()
    return [{name: None if value is None else str(value) for name, value in row.items()} for row in rows]


def _limit_changes(limits: LimitSet, action: Restatement) -> list[LimitChange]:
    """Return the symbol's own limits as they are after an action, those in shares restated and rounded down."""
    changes: list[LimitChange] = []
    for one in limits.changes:
        if one.symbol != action.symbol or one.value is None:
            continue
        value = floor(int(one.value) * action.ratio) if one.limit in _IN_SHARES else one.value
        to = action.new_symbol or action.symbol
        if (value, to) != (one.value, one.symbol):
            changes.append(replace(one, value=value, symbol=to))
    return changes


def _told(positions: Mapping[str, Position], symbols: Sequence[str]) -> dict[str, dict[str, str]]:
    held = {symbol: positions.get(symbol, Position(symbol=symbol)) for symbol in symbols}
    return {
        symbol: {"shares": f"{one.qty:f}", "average_price": f"{one.average_price:f}", "cost": f"{one.cost:f}"}
        for symbol, one in held.items()
    }
