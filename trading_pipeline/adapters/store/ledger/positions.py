"""Positions and the fills and actions they follow from: read under lock, stored, and replayed."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.rows import write_rows
from trading_pipeline.core.accounting import ZERO, Booking, Fill, Position
from trading_pipeline.core.corporate_actions import ActionKind
from trading_pipeline.core.executions import Executed
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.restating import Event, Restatement, apply_event, related, replay_events

IN_ORDER = 'session, executed_at, execution_id collate "C"'
"""How fills happened, whatever the language of the database: as `Executed.moment` compares."""
NEWEST_FIRST = 'session desc, executed_at desc, execution_id collate "C" desc'

_NEW_POSITIONS = """
insert into ledger.positions (account, symbol) select %s, unnest(%s::text[]) on conflict do nothing
"""
_POSITIONS = "select * from ledger.positions where account = %s and symbol = any(%s) order by symbol for update"
_STORE_POSITION = """
update ledger.positions p
   set qty = held.qty, cost = held.cost, average_price = held.average_price, realised = held.realised,
       fees = held.fees, updated_at = now()
  from json_populate_recordset(null::ledger.positions, %s) held
 where p.account = held.account and p.symbol = held.symbol
"""
_NEWEST = f"""
select newest.* from unnest(%(symbols)s::text[]) as wanted (symbol) cross join lateral (
    select * from (
        (select symbol, session, executed_at, execution_id from ledger.fills f
          where f.account = %(account)s and f.symbol = wanted.symbol order by {NEWEST_FIRST} limit 1)
         union all
        (select symbol, session, executed_at, execution_id from ledger.restated_positions r
          where r.account = %(account)s and r.symbol = wanted.symbol order by {NEWEST_FIRST} limit 1)) either
     order by {NEWEST_FIRST} limit 1) newest
"""  # noqa: S608 - the order is ours
_OF_SYMBOLS = f"""
select * from ledger.effective_fills where account = %s and symbol = any(%s) order by symbol, {IN_ORDER}
"""  # noqa: S608 - the order is ours
_RESTATEMENTS = "select * from ledger.restatements where account = %s"
_AWAITED = "select id from ledger.restatements where account = %s and agreed_at is null"
_RESTATED = """
update ledger.restated_positions r
   set position_after = led_to.position_after, average_after = led_to.average_after, cost_after = led_to.cost_after,
       realised = led_to.realised
  from json_populate_recordset(null::ledger.restated_positions, %s) led_to
 where r.restatement_id = led_to.restatement_id and r.symbol = led_to.symbol
"""
_REPLAYED = """
update ledger.fills f
   set position_after = led_to.position_after, average_after = led_to.average_after, cost_after = led_to.cost_after,
       realised = led_to.realised
  from json_populate_recordset(null::ledger.fills, %s) led_to where f.execution_id = led_to.execution_id
"""


def locked_positions_in(connection: Connection[DictRow], account: str, symbols: Sequence[str]) -> dict[str, Position]:
    """Return positions of symbols, flat ones too, held by the caller's transaction."""
    connection.execute(_NEW_POSITIONS, (account, list(symbols)))
    rows = connection.execute(_POSITIONS, (account, list(symbols))).fetchall()
    return {row["symbol"]: position_of(row) for row in rows}


def store_positions_in(connection: Connection[DictRow], account: str, positions: Sequence[Position]) -> None:
    """Store positions that `locked_positions_in` gave."""
    rows = [
        {
            "account": account,
            "symbol": one.symbol,
            "qty": one.qty,
            "cost": one.cost,
            "average_price": one.average_price,
            "realised": one.realised,
            "fees": one.fees,
        }
        for one in positions
    ]
    write_rows(connection, _STORE_POSITION, rows)


def newest_moments_in(
    connection: Connection[DictRow], account: str, symbols: Sequence[str]
) -> dict[str, tuple[date, datetime, str]]:
    """Return the moment of what happened last to each symbol, fill or action; symbols without one are absent."""
    rows = connection.execute(_NEWEST.encode(), {"account": account, "symbols": list(symbols)}).fetchall()
    return {row["symbol"]: (row["session"], row["executed_at"], row["execution_id"]) for row in rows}


def replay_positions_in(connection: Connection[DictRow], account: str, symbols: Sequence[str]) -> dict[str, Booking]:
    """Replay all effective fills of symbols among the actions, and store each one's outcome, and the positions.

    Symbols that shares were moved to or from are replayed with them. Returned are the outcomes of the fills.
    """
    if not symbols:
        return {}
    actions, symbols = _with_their_actions(connection, account, symbols)
    held = {symbol: Position(symbol=symbol) for symbol in symbols}
    locked_positions_in(connection, account, symbols)
    bookings: dict[str, Booking] = {}
    restated: list[dict[str, Any]] = []
    for event in _events_in(connection, account, symbols, actions.values()):
        done = apply_event(held, event)
        held |= {symbol: one.position for symbol, one in done.items()}
        if isinstance(event, Executed):
            bookings[event.fill.execution_id] = done[event.fill.symbol]
            continue
        (number,) = [key for key, one in actions.items() if one is event]
        for symbol in event.symbols:
            outcome = done.get(symbol, Booking(position=held[symbol], realised=ZERO))
            restated.append({"restatement_id": number, "symbol": symbol} | _outcome(outcome))
    write_rows(connection, _REPLAYED, [{"execution_id": key} | _outcome(one) for key, one in bookings.items()])
    write_rows(connection, _RESTATED, restated)
    store_positions_in(connection, account, list(held.values()))
    return bookings


def positions_before_in(connection: Connection[DictRow], account: str, action: Restatement) -> dict[str, Position]:
    """Return the positions, flat ones too, that an action finds: what all fills and actions before it lead to."""
    actions, symbols = _with_their_actions(connection, account, action.symbols)
    events = _events_in(connection, account, symbols, actions.values())
    return replay_events(event for event in events if event.moment < action.moment)


def shares_before_awaited_in(connection: Connection[DictRow], account: str, symbol: str) -> list[dict[str, Decimal]]:
    """Return what would be held of a symbol, and of those its shares moved between, without the actions still awaited.

    First without the newest of those that the broker was not seen to carry out, then without the two newest, and so on;
    fills count all. Signed shares, of flat symbols too.
    """
    actions, symbols = _with_their_actions(connection, account, [symbol])
    numbers = [row["id"] for row in connection.execute(_AWAITED, (account,)).fetchall()]
    awaited = sorted((actions[one] for one in numbers if one in actions), key=lambda one: one.moment)
    events = _events_in(connection, account, symbols, actions.values())
    states: list[dict[str, Decimal]] = []
    for first in reversed(range(len(awaited))):
        left_out = awaited[first:]
        held = replay_events(event for event in events if event not in left_out)
        states.append({one: held[one].qty if one in held else ZERO for one in symbols})
    return states


def _with_their_actions(
    connection: Connection[DictRow], account: str, symbols: Sequence[str]
) -> tuple[dict[int, Restatement], list[str]]:
    """Return the actions of symbols by number, and all symbols that shares were moved between, these among them."""
    rows = connection.execute(_RESTATEMENTS, (account,)).fetchall()
    recorded = {row["id"]: restatement_of(row) for row in rows}
    reached = related(symbols, recorded.values())
    return {key: one for key, one in recorded.items() if one.symbol in reached}, sorted(reached)


def _events_in(
    connection: Connection[DictRow], account: str, symbols: Sequence[str], actions: Iterable[Restatement]
) -> list[Event]:
    fills = connection.execute(_OF_SYMBOLS.encode(), (account, list(symbols))).fetchall()
    return sorted([*map(executed_of, fills), *actions], key=lambda one: one.moment)


def _outcome(booking: Booking) -> dict[str, Decimal]:
    return {
        "position_after": booking.position.qty,
        "average_after": booking.position.average_price,
        "cost_after": booking.position.cost,
        "realised": booking.realised,
    }


def restatement_of(row: DictRow) -> Restatement:
    """Build the action from a row of `ledger.restatements`."""
    return Restatement(
        action_id=row["action_id"],
        kind=ActionKind(row["kind"]),
        symbol=row["symbol"],
        session=row["session"],
        at=row["executed_at"],
        rank=row["rank"],
        ratio=Fraction(row["ratio_new"], row["ratio_old"]),
        new_symbol=row["new_symbol"],
    )


def fill_of(row: DictRow) -> Fill:
    """Build the fill from a row of `ledger.fills`."""
    return Fill(
        execution_id=row["execution_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        qty=row["qty"],
        price=row["price"],
        fee=row["fee"],
        session=row["session"],
    )


def executed_of(row: DictRow) -> Executed:
    """Build the execution from a row of `ledger.fills`."""
    return Executed(client_order_id=row["client_order_id"] or "", fill=fill_of(row), executed_at=row["executed_at"])


def position_of(row: DictRow) -> Position:
    """Build the position from a row of `ledger.positions`."""
    return Position(
        symbol=row["symbol"],
        qty=row["qty"],
        cost=row["cost"],
        average_price=row["average_price"],
        realised=row["realised"],
        fees=row["fees"],
    )
