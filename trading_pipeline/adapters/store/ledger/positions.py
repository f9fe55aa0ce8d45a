"""Positions and the fills they follow from: read under lock, stored, and replayed."""

from collections.abc import Sequence
from datetime import date, datetime

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.rows import write_rows
from trading_pipeline.core.accounting import Booking, Fill, Position, apply_fill
from trading_pipeline.core.executions import Executed
from trading_pipeline.core.orders.model import Side

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
    select symbol, session, executed_at, execution_id from ledger.fills f
     where f.account = %(account)s and f.symbol = wanted.symbol
     order by {NEWEST_FIRST} limit 1) newest
"""  # noqa: S608 - the order is ours
_OF_SYMBOLS = f"""
select * from ledger.effective_fills where account = %s and symbol = any(%s) order by symbol, {IN_ORDER}
"""  # noqa: S608 - the order is ours
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


def newest_fills_in(
    connection: Connection[DictRow], account: str, symbols: Sequence[str]
) -> dict[str, tuple[date, datetime, str]]:
    """Return the moment of each symbol's newest fill; symbols without one are absent."""
    rows = connection.execute(_NEWEST.encode(), {"account": account, "symbols": list(symbols)}).fetchall()
    return {row["symbol"]: (row["session"], row["executed_at"], row["execution_id"]) for row in rows}


def replay_positions_in(connection: Connection[DictRow], account: str, symbols: Sequence[str]) -> dict[str, Booking]:
    """Replay all effective fills of symbols and store what follows: each fill's outcome, and the positions."""
    if not symbols:
        return {}
    held = {symbol: Position(symbol=symbol) for symbol in symbols}
    bookings: dict[str, Booking] = {}
    for row in connection.execute(_OF_SYMBOLS.encode(), (account, list(symbols))).fetchall():
        bookings[row["execution_id"]] = booking = apply_fill(held[row["symbol"]], fill_of(row))
        held[row["symbol"]] = booking.position
    outcomes = [
        {
            "execution_id": key,
            "position_after": one.position.qty,
            "average_after": one.position.average_price,
            "cost_after": one.position.cost,
            "realised": one.realised,
        }
        for key, one in bookings.items()
    ]
    write_rows(connection, _REPLAYED, outcomes)
    store_positions_in(connection, account, list(held.values()))
    return bookings


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
    return Executed(client_order_id=row["client_order_id"], fill=fill_of(row), executed_at=row["executed_at"])


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
