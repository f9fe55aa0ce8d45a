"""Fills and the positions and P&L they make."""

from collections.abc import Collection
from datetime import date, datetime
from decimal import Decimal

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.orders import move_in
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.accounting import Booking, Fill, Position, apply_fill
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import TERMINAL, OrderState
from trading_pipeline.errors import OrderError

_INSERT = """
insert into ledger.fills (execution_id, account, client_order_id, symbol, side, qty, price, fee, session, executed_at,
                          position_after, average_after, realised)
values (%(execution_id)s, %(account)s, %(client_order_id)s, %(symbol)s, %(side)s, %(qty)s, %(price)s, %(fee)s,
        %(session)s, %(executed_at)s, %(position_after)s, %(average_after)s, %(realised)s)
"""


class Fills:
    """Statements about fills, positions and session P&L. A fill and all it changes commit together."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def book(self, account: str, client_order_id: str, fill: Fill, executed_at: datetime) -> Booking | None:
        """Book one execution; return None when its id was booked before.

        The position, the order's filled quantity and its state change in the same transaction. A fill that arrives
        after the order ended is booked all the same: the shares are ours.

        Raises:
            OrderError: the order is not in the ledger.
        """
        with self._pool.connection() as connection:
            order = connection.execute(
                "select qty, state, filled_qty from ledger.orders where client_order_id = %s for update",
                (client_order_id,),
            ).fetchone()
            if order is None:
                raise OrderError(
                    f"execution {fill.execution_id} belongs to order {client_order_id}, which is not in the ledger",
                    client_order_id=client_order_id,
                    execution_id=fill.execution_id,
                )
            if connection.execute(
                "select 1 from ledger.fills where execution_id = %s", (fill.execution_id,)
            ).fetchone():
                return None
            booking = apply_fill(_locked_position(connection, account, fill.symbol), fill)
            _write(connection, account, client_order_id, fill, executed_at, booking)
            filled = order["filled_qty"] + fill.qty
            connection.execute(
                """update ledger.orders set filled_qty = %s, filled_notional = filled_notional + %s
                    where client_order_id = %s""",
                (filled, fill.qty * fill.price, client_order_id),
            )
            if OrderState(order["state"]) not in TERMINAL:
                wanted = OrderState.FILLED if filled >= order["qty"] else OrderState.PARTIALLY_FILLED
                move_in(connection, client_order_id, wanted, f"execution {fill.execution_id}", {"filled": str(filled)})
            return booking

    def unposted(self, account: str) -> list[DictRow]:
        """Return booked fills of which the guard has not been told, in order of booking."""
        return self._rows("account = %s and not posted", account)

    def booked(self, execution_ids: Collection[str]) -> set[str]:
        """Return those of these execution ids that are booked."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "select execution_id from ledger.fills where execution_id = any(%s)", (list(execution_ids),)
            ).fetchall()
        return {row["execution_id"] for row in rows}

    def mark_posted(self, execution_ids: Collection[str]) -> None:
        """Remember that the guard knows these fills."""
        with self._pool.connection() as connection:
            connection.execute(
                "update ledger.fills set posted = true where execution_id = any(%s)", (list(execution_ids),)
            )

    def of_session(self, account: str, session: date) -> list[DictRow]:
        """Return the fills executed in an exchange session."""
        return self._rows("account = %s and session = %s", account, session)

    def of_order(self, client_order_id: str) -> list[DictRow]:
        """Return the fills of an order."""
        return self._rows("client_order_id = %s", client_order_id)

    def through(self, account: str, session: date) -> list[tuple[Fill, Decimal]]:
        """Return all fills up to and including a session in order of booking, each with what it realised."""
        rows = self._rows("account = %s and session <= %s", account, session)
        return [(_fill(row), row["realised"]) for row in rows]

    def positions(self, account: str) -> dict[str, Position]:
        """Return the present positions, flat ones left out."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "select * from ledger.positions where account = %s and qty <> 0 order by symbol", (account,)
            ).fetchall()
        return {row["symbol"]: _position(row) for row in rows}

    def record_session_pnl(self, account: str, session: date, **amounts: Decimal) -> None:
        """Write the P&L of a session; a re-run replaces the row."""
        with self._pool.connection() as connection:
            connection.execute(
                """insert into ledger.session_pnl (account, session, realised, fees, unrealised, change, equity)
                   values (%(account)s, %(session)s, %(realised)s, %(fees)s, %(unrealised)s, %(change)s, %(equity)s)
                   on conflict (account, session) do update
                      set realised = excluded.realised, fees = excluded.fees, unrealised = excluded.unrealised,
                          change = excluded.change, equity = excluded.equity, computed_at = now()""",
                {"account": account, "session": session, **amounts},
            )

    def session_pnl(self, account: str) -> list[DictRow]:
        """Return the P&L rows of all sessions, oldest first."""
        with self._pool.connection() as connection:
            return connection.execute(
                "select * from ledger.session_pnl where account = %s order by session", (account,)
            ).fetchall()

    def _rows(self, condition: str, *parameters: object) -> list[DictRow]:
        sql = f"select * from ledger.fills where {condition} order by seq"  # noqa: S608 - conditions are ours
        with self._pool.connection() as connection:
            return connection.execute(sql.encode(), parameters).fetchall()


def _write(
    connection: Connection[DictRow],
    account: str,
    client_order_id: str,
    fill: Fill,
    executed_at: datetime,
    booking: Booking,
) -> None:
    after = booking.position
    connection.execute(
        _INSERT,
        {
            "execution_id": fill.execution_id,
            "account": account,
            "client_order_id": client_order_id,
            "symbol": fill.symbol,
            "side": fill.side.value,
            "qty": fill.qty,
            "price": fill.price,
            "fee": fill.fee,
            "session": fill.session,
            "executed_at": executed_at,
            "position_after": after.qty,
            "average_after": after.average_price,
            "realised": booking.realised,
        },
    )
    connection.execute(
        """update ledger.positions set qty = %s, average_price = %s, realised = %s, fees = %s, updated_at = now()
            where account = %s and symbol = %s""",
        (after.qty, after.average_price, after.realised, after.fees, account, fill.symbol),
    )


def _locked_position(connection: Connection[DictRow], account: str, symbol: str) -> Position:
    connection.execute(
        "insert into ledger.positions (account, symbol) values (%s, %s) on conflict do nothing", (account, symbol)
    )
    row = connection.execute(
        "select * from ledger.positions where account = %s and symbol = %s for update", (account, symbol)
    ).fetchone()
    return Position(symbol=symbol) if row is None else _position(row)


def _position(row: DictRow) -> Position:
    return Position(
        symbol=row["symbol"],
        qty=row["qty"],
        average_price=row["average_price"],
        realised=row["realised"],
        fees=row["fees"],
    )


def _fill(row: DictRow) -> Fill:
    return Fill(
        execution_id=row["execution_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        qty=row["qty"],
        price=row["price"],
        fee=row["fee"],
        session=row["session"],
    )
