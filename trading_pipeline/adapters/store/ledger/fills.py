"""Fills and the positions and P&L they make."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from decimal import Decimal

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.booking import book_in, book_reported_in
from trading_pipeline.adapters.store.ledger.chains import JUDGED_PRICE
from trading_pipeline.adapters.store.ledger.names import NAMED_FILLS, other_names_in
from trading_pipeline.adapters.store.ledger.positions import IN_ORDER, NEWEST_FIRST, position_of
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.accounting import Booking, Fill, Position
from trading_pipeline.core.executions import Cumulative, Executed

_BOOKED = f"select name, symbol, side, qty, price from {NAMED_FILLS} booked"  # noqa: S608 - the text is ours
_UNPOSTED = f"""
select f.*, f.qty as whole_qty, f.qty - f.told_qty as qty, coalesce(o.chain, f.client_order_id) as holder,
       case when o.guard_sequence is not null then o.trade_session end as counted_for, {JUDGED_PRICE} as judged_at
  from ledger.fills f left join ledger.orders o using (client_order_id)
 where f.account = %s and not f.posted order by f.seq
"""  # noqa: S608 - the text is ours
# From the present backwards: a symbol to which nothing happened later, so each at the newest close, stands as now.
_POSITIONS_AT = f"""
with later as (
    select symbol, sum(realised) as realised, sum(fee) as fees from (
        select symbol, realised, fee from ledger.effective_fills where account = %(account)s and session > %(session)s
         union all
        select symbol, realised, 0 from ledger.restated_positions where account = %(account)s and session > %(session)s
    ) events group by symbol
)
select symbol, qty, average_price, cost, realised, fees
  from ledger.positions where account = %(account)s and symbol not in (select symbol from later)
 union all
select symbol, coalesce(newest.position_after, 0), coalesce(newest.average_after, 0), coalesce(newest.cost_after, 0),
       p.realised - later.realised, p.fees - later.fees
  from later join ledger.positions p using (symbol) left join lateral (
       select * from (
           (select position_after, average_after, cost_after, session, executed_at, execution_id
              from ledger.effective_fills f
             where f.account = p.account and f.symbol = p.symbol and f.session <= %(session)s
             order by {NEWEST_FIRST} limit 1)
            union all
           (select position_after, average_after, cost_after, session, executed_at, execution_id
              from ledger.restated_positions r
             where r.account = p.account and r.symbol = p.symbol and r.session <= %(session)s
             order by {NEWEST_FIRST} limit 1)) either
        order by {NEWEST_FIRST} limit 1) newest on true
 where p.account = %(account)s
 order by symbol
"""  # noqa: S608 - the order is ours

# Late is what was booked after a session's P&L was computed and is of that session or one before.
_OUTDATED = """
with booked as (
    select session, booked_at as at from ledger.fills where account = %(account)s
     union all
    select session, at from ledger.cash_activities where account = %(account)s and amount <> 0 and not in_opening
     union all
    select session, at from ledger.cash_entries where account = %(account)s and amount <> 0 and kind <> 'opening'
), through as (
    select session, max(max(at)) over (order by session) as at from booked group by session
)
select p.session from ledger.session_pnl p
 where p.account = %(account)s and p.session <= %(through)s
   and p.computed_at < (select max(t.at) from through t where t.session <= p.session)
 order by p.session
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
            ExecutionConflict: the id was booked with other contents.
        """
        execution = Executed(client_order_id=client_order_id, fill=fill, executed_at=executed_at)
        return self.book_many(account, [execution])[0]

    def book_many(self, account: str, executions: Sequence[Executed]) -> list[Booking | None]:
        """Book executions in one transaction, all or none; None stands for each that was booked before.

        Raises:
            OrderError: an order is not in the ledger.
            ExecutionConflict: an id was booked with other contents.
        """
        with self._pool.connection() as connection:
            return book_in(connection, account, executions)

    def book_reported(self, account: str, report: Cumulative) -> Executed | None:
        """Book what the broker's cumulative figures hold beyond the fills we know, as a synthetic one.

        The executions replace it when they arrive. None: nothing is missing.

        Raises:
            OrderError: the order is not in the ledger.
            ExecutionConflict: the fills known contradict the broker's average.
        """
        with self._pool.connection() as connection:
            return book_reported_in(connection, account, report)

    def unposted(self, account: str) -> list[DictRow]:
        """Return booked fills of which the guard has not been told, in order of booking; superseded ones too.

        `qty` is the shares it has not been told of, `whole_qty` those of the fill; `holder` is the id under which it
        holds the order's reservation, null for a fill that is not ours; `counted_for` is the trade session that counts
        its order, null when none does, and `judged_at` the dollars a share it counts for there.
        """
        return self._pool.rows(_UNPOSTED, (account,))

    def booked(self, executions: Sequence[Executed]) -> dict[str, DictRow]:
        """Return symbol, side, qty and price of those of these executions that are booked, by the id they have here.

        One that is booked under another id is booked, whether or not that was written down.
        """
        by_id = {one.fill.execution_id: one for one in executions}
        with self._pool.connection() as connection:
            found = _booked(connection, by_id)
            others = other_names_in(connection, {name: one for name, one in by_id.items() if name not in found})
            same = _booked(connection, set(others.values()))
        return found | {name: same[other] for name, other in others.items() if other in same}

    def mark_posted(self, execution_ids: Collection[str]) -> None:
        """Remember that the guard knows these fills."""
        with self._pool.connection() as connection:
            connection.execute(
                "update ledger.fills set posted = true, told_qty = qty where execution_id = any(%s)",
                (list(execution_ids),),
            )

    def of_session(self, account: str, session: date) -> list[DictRow]:
        """Return the fills executed in an exchange session."""
        return self._rows("account = %s and session = %s", account, session)

    def inferred(self, account: str) -> dict[str, Decimal]:
        """Return the shares of orders that stand on cumulative figures alone, without their executions."""
        rows = self._pool.rows(
            """select client_order_id, sum(qty) as qty from ledger.effective_fills
                where account = %s and kind = 'synthetic' group by client_order_id""",
            (account,),
        )
        return {row["client_order_id"]: row["qty"] for row in rows}

    def of_order(self, client_order_id: str) -> list[DictRow]:
        """Return the fills of an order."""
        return self._rows("client_order_id = %s", client_order_id)

    def positions_at(self, account: str, session: date) -> dict[str, Position]:
        """Return every position as it stood at the close of a session, flat ones too.

        What was booked late counts in the session it happened in.
        """
        rows = self._pool.rows(_POSITIONS_AT, {"account": account, "session": session})
        return {row["symbol"]: position_of(row) for row in rows}

    def positions(self, account: str) -> dict[str, Position]:
        """Return the present positions, flat ones left out."""
        rows = self._pool.rows(
            "select * from ledger.positions where account = %s and qty <> 0 order by symbol", (account,)
        )
        return {row["symbol"]: position_of(row) for row in rows}

    def record_session_pnl(self, account: str, session: date, **amounts: Decimal) -> None:
        """Write the P&L of a session; a re-run replaces the row."""
        with self._pool.connection() as connection:
            connection.execute(
                """insert into ledger.session_pnl (account, session, realised, fees, dividends, interest, other,
                                                   transfers, unrealised, change, equity)
                   values (%(account)s, %(session)s, %(realised)s, %(fees)s, %(dividends)s, %(interest)s, %(other)s,
                           %(transfers)s, %(unrealised)s, %(change)s, %(equity)s)
                   on conflict (account, session) do update
                      set realised = excluded.realised, fees = excluded.fees, dividends = excluded.dividends,
                          interest = excluded.interest, other = excluded.other, transfers = excluded.transfers,
                          unrealised = excluded.unrealised, change = excluded.change, equity = excluded.equity,
                          computed_at = now()""",
                {"account": account, "session": session, **amounts},
            )

    def outdated_pnl(self, account: str, through: date) -> list[date]:
        """Return the sessions up to one whose P&L was recorded before something was booked that counts for them."""
        rows = self._pool.rows(_OUTDATED, {"account": account, "through": through})
        return [row["session"] for row in rows]

    def session_pnl(self, account: str) -> list[DictRow]:
        """Return the P&L rows of all sessions, oldest first."""
        return self._pool.rows("select * from ledger.session_pnl where account = %s order by session", (account,))

    def _rows(self, condition: str, *parameters: object) -> list[DictRow]:
        sql = f"select * from ledger.effective_fills where {condition} order by {IN_ORDER}"  # noqa: S608 - conditions are ours
        return self._pool.rows(sql, parameters)


def _booked(connection: Connection[DictRow], names: Collection[str]) -> dict[str, DictRow]:
    # Not prepared, as the look-up before a booking.
    rows = connection.execute(_BOOKED, {"names": list(names)}, prepare=False).fetchall() if names else []
    return {row["name"]: row for row in rows}
