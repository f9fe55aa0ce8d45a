"""A persistent simulated exchange.

Takes orders for the next session's open and fills them when that session's bars exist.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.broker.matching import ExchangeCosts, Match, OpeningBar, match, reject_reason
from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution, require_cover
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.adapters.store.rows import write_rows
from trading_pipeline.core.accounting import Fill, Position
from trading_pipeline.core.cash import CashActivity, CashBalance
from trading_pipeline.core.orders.model import OrderIntent, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.restating import Restatement, apply_restatement
from trading_pipeline.core.risk.clearance import Clearance
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import (
    OperatorError,
    OrderRejected,
    OrderStateUnknown,
    ServerUnavailable,
    SessionNotTradable,
)

Openings = Callable[[date, Collection[str]], dict[str, OpeningBar]]
"""Gives the bars of a session for some symbols; a symbol that did not trade is absent."""

_CLOCK = "select last_session from exchange.clocks where account = %s"
# Takers of orders share the clock with each other, not with the matching of a session.
_TAKE = """
with clock as (
    select last_session from exchange.clocks where account = %(account)s for share
), taken as (
    insert into exchange.orders (client_order_id, broker_order_id, account, symbol, side, qty, order_type, limit_price,
                                 time_in_force, trade_session, status, reason)
    select %(client_order_id)s, %(broker_order_id)s, %(account)s, %(symbol)s, %(side)s, %(qty)s, %(order_type)s,
           %(limit_price)s, %(time_in_force)s, %(trade_session)s, %(status)s, %(reason)s
     where not exists (select from clock where last_session >= %(trade_session)s)
    on conflict (client_order_id) do nothing returning *
)
select * from taken
"""
_ORDERS = """
select o.*, (select sum(e.qty * e.price) / sum(e.qty) from exchange.executions e
              where e.client_order_id = o.client_order_id) as average_price
  from exchange.orders o
"""
_EXECUTE = """
insert into exchange.executions
       (execution_id, client_order_id, account, symbol, side, qty, price, fee, session, executed_at)
select execution_id, client_order_id, account, symbol, side, qty, price, fee, session, executed_at
  from json_populate_recordset(null::exchange.executions, %s)
"""
_END = """
update exchange.orders o set status = ended.status, reason = ended.reason, filled_qty = ended.filled_qty
  from json_populate_recordset(null::exchange.orders, %s) ended where o.client_order_id = ended.client_order_id
"""
_NO_REPLACEMENTS = "the simulated exchange replaces no orders: cancel it and send another one"
_CASH = """
select coalesce((select opening_cash from exchange.clocks where account = %(account)s), 0)
     + coalesce((select sum(case side when 'buy' then -qty else qty end * price - fee)
                   from exchange.executions where account = %(account)s), 0) as cash
"""
_POSITIONS = """
select symbol, sum(qty) as qty from (
    select symbol, case side when 'buy' then qty else -qty end as qty from exchange.executions
     where account = %(account)s and session < %(before)s
     union all
    select symbol, qty from exchange.restatements where account = %(account)s) moved
 group by symbol having sum(qty) <> 0 order by symbol
"""
_RESTATED = "select from exchange.restatements where account = %(account)s and action_id = %(action_id)s"
_RESTATE = """
insert into exchange.restatements (account, action_id, symbol, qty)
values (%(account)s, %(action_id)s, %(symbol)s, %(qty)s)
"""
_LOCKED_CLOCK = "select last_session from exchange.clocks where account = %s for update"


class SimulatedExchange:
    """Implements `Broker` on the tables of schema `exchange`. Close it when done.

    Its time is the last session whose open it has matched: orders decided from session D work in the next session, so
    they may be sent only while the exchange stands at D. Matching a session is one transaction: it happened or not.

    It lives in the ledger's PostgreSQL and does not wait for the disk itself. Both write one log, which reaches the
    disk in order: what the ledger commits after an answer, with waiting, takes the answer to the disk before it. So a
    server that crashes may forget an order only while nothing in the ledger says that the exchange has it. That looks
    like an order that never arrived, and the look-up of the next run sees it so.
    """

    name = "simulated exchange"
    real_time = False
    crosses_zero = True

    def __init__(
        self,
        database_url: str,
        *,
        account: str,
        calendar: SessionCalendar,
        openings: Openings,
        costs: ExchangeCosts | None = None,
        opening_cash: Decimal = Decimal(0),
    ) -> None:
        self._account = account
        self._calendar = calendar
        self._openings = openings
        self._costs = costs or ExchangeCosts()
        self._opening_cash = opening_cash
        self._pool = Pool(database_url, size=2, options="-c synchronous_commit=off")
        self._pool.open()

    def close(self) -> None:
        """Give the connections back."""
        self._pool.close()

    @property
    def current_session(self) -> date | None:
        """The last session whose open was matched; None before the first."""
        rows = self._pool.rows(_CLOCK, (self._account,))
        return rows[0]["last_session"] if rows else None

    def advance(self, session: date) -> None:
        """Match every session up to and including this one; sessions already matched are left alone."""
        with self._pool.connection() as connection:
            last = self._locked_clock(connection)
            if last is None:
                _set_clock(connection, self._account, session)
                return
            if last >= session:
                return
            for day in self._calendar.between(self._calendar.next(last), session):
                self._match_session(connection, day)
            _set_clock(connection, self._account, session)

    def require_tradable(self, session: date) -> None:
        """Check that the exchange stands at this session: see the class."""
        last = self.current_session
        if last is None:
            raise SessionNotTradable(
                "the exchange has not opened yet: settle a session first", session=session.isoformat()
            )
        if last != session:
            relation = "was traded already" if last > session else "is ahead of the exchange"
            raise SessionNotTradable(
                f"session {session} {relation}: the exchange stands at {last} and takes orders of that session only",
                session=session.isoformat(),
                exchange_session=last.isoformat(),
            )

    def await_turn(self, intent: OrderIntent, *, replaced_id: str | None = None, at_once: bool = False) -> None:
        """Do nothing: the exchange takes whatever comes."""

    def submit(self, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Take an order for the open of its trade session. An id seen before returns the order it belongs to."""
        require_cover(intent, clearance)
        try:
            taken, is_new = self._take(intent)
        except ServerUnavailable as lost:
            raise OrderStateUnknown(
                f"the exchange's database went away: {lost}", client_order_id=intent.client_order_id
            ) from lost
        if is_new and taken.state is OrderState.REJECTED:
            raise OrderRejected(taken.reason, client_order_id=intent.client_order_id, symbol=intent.symbol)
        return taken

    def _take(self, intent: OrderIntent) -> tuple[BrokerOrder, bool]:
        """Record an order, accepted or rejected; return it and whether its id is new."""
        reason = reject_reason(intent.client_order_id, intent.symbol, intent.order_type, self._costs)
        state = OrderState.ACCEPTED if reason is None else OrderState.REJECTED
        inserted = self._pool.rows(_TAKE, _columns(intent, state, reason or ""))
        if inserted:
            return _reported(inserted[0]), True
        known = self.find(intent.client_order_id)
        if known is None:
            late = f"session {intent.trade_session} has opened already: the exchange stands at {self.current_session}"
            raise OrderRejected(late, client_order_id=intent.client_order_id)
        return known, False

    def require_replaceable(self, client_order_id: str) -> None:
        """Refuse: orders wait for one open, and until then one may be cancelled and another one sent."""
        raise OperatorError(_NO_REPLACEMENTS, client_order_id=client_order_id)

    def replace(self, replaced_id: str, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Refuse: see `require_replaceable`."""
        require_cover(intent, clearance)
        raise OrderRejected(_NO_REPLACEMENTS, client_order_id=intent.client_order_id, replaced=replaced_id)

    def find_replacement(self, replaced_id: str, client_order_id: str) -> BrokerOrder | None:
        """Return nothing: none was ever accepted."""
        del replaced_id
        return self.find(client_order_id)

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """Return the order, None when the exchange has never seen it."""
        return self.find_many([client_order_id]).get(client_order_id)

    def find_many(self, client_order_ids: Collection[str]) -> dict[str, BrokerOrder]:
        """Return these orders, those the exchange has never seen left out."""
        rows = self._pool.rows(f"{_ORDERS} where client_order_id = any(%s)", (list(client_order_ids),))
        return {row["client_order_id"]: _reported(row) for row in rows}

    def open_orders(self) -> list[BrokerOrder]:
        """Return the orders that wait for the open of their session."""
        working = f"{_ORDERS} where account = %s and status = 'accepted' order by submitted_at, client_order_id"
        return [_reported(row) for row in self._pool.rows(working, (self._account,))]

    def cancel(self, client_order_id: str) -> BrokerOrder | None:
        """Cancel a working order; an ended one stays as it is."""
        with self._pool.connection() as connection:
            self._locked_clock(connection)
            connection.execute(
                """update exchange.orders set status = 'canceled', reason = 'cancelled on request'
                    where client_order_id = %s and status = 'accepted'""",
                (client_order_id,),
            )
        return self.find(client_order_id)

    def executions(self, client_order_ids: Sequence[str]) -> list[Execution]:
        """Return the executions of these orders, oldest first."""
        ours = "select * from exchange.executions where client_order_id = any(%s) order by seq"
        return [_execution(row) for row in self._pool.rows(ours, (list(client_order_ids),))]

    def positions(self) -> dict[str, Decimal]:
        """Return what all executions and corporate actions add up to, flat symbols left out."""
        rows = self._pool.rows(_POSITIONS, {"account": self._account, "before": date.max})
        return {row["symbol"]: row["qty"] for row in rows}

    def restate(self, action: Restatement) -> None:
        """Book a corporate action on what was held at the close before its session, once."""
        with self._pool.connection() as connection:
            connection.execute(_LOCKED_CLOCK, (self._account,))
            asked = {"account": self._account, "action_id": action.action_id}
            if connection.execute(_RESTATED, asked).fetchone():
                return
            rows = connection.execute(_POSITIONS, {"account": self._account, "before": action.session}).fetchall()
            held = {row["symbol"]: Position(symbol=row["symbol"], qty=row["qty"]) for row in rows}
            for symbol, after in apply_restatement(held, action).items():
                before = held[symbol].qty if symbol in held else Decimal(0)
                connection.execute(_RESTATE, asked | {"symbol": symbol, "qty": after.position.qty - before})

    def cash(self) -> CashBalance:
        """Return what the account began with and all executions and their fees made of it, exactly."""
        (row,) = self._pool.rows(_CASH, {"account": self._account})
        return CashBalance(cash=row["cash"])

    def cash_activities(self, since: date) -> list[CashActivity]:
        """Return none: fees belong to executions, and nothing else moves cash here."""
        del since
        return []

    def _locked_clock(self, connection: Connection[DictRow]) -> date | None:
        """Lock the clock, which is made with the opening cash of the first who asks."""
        connection.execute(
            "insert into exchange.clocks (account, opening_cash) values (%s, %s) on conflict do nothing",
            (self._account, self._opening_cash),
        )
        row = connection.execute(_LOCKED_CLOCK, (self._account,)).fetchone()
        return row["last_session"] if row else None

    def _match_session(self, connection: Connection[DictRow], session: date) -> None:
        rows = connection.execute(
            """select * from exchange.orders where account = %s and status = 'accepted' and trade_session <= %s
                order by client_order_id""",
            (self._account, session),
        ).fetchall()
        if not rows:
            return
        bars = self._openings(session, {row["symbol"] for row in rows})
        matched = [(row, self._match(row, bars.get(row["symbol"]))) for row in rows]
        filled = [self._executed(row, one, session) for row, one in matched if one.price is not None]
        write_rows(connection, _EXECUTE, filled)
        write_rows(connection, _END, [_ended(row, one) for row, one in matched])

    def _match(self, row: DictRow, bar: OpeningBar | None) -> Match:
        return match(
            client_order_id=row["client_order_id"],
            side=Side(row["side"]),
            qty=row["qty"],
            limit_price=row["limit_price"],
            bar=bar,
            costs=self._costs,
        )

    def _executed(self, row: DictRow, outcome: Match, session: date) -> dict[str, Any]:
        return {
            "execution_id": f"{row['broker_order_id']}-1",
            "client_order_id": row["client_order_id"],
            "account": row["account"],
            "symbol": row["symbol"],
            "side": row["side"],
            "qty": outcome.qty,
            "price": outcome.price,
            "fee": outcome.fee,
            "session": session,
            "executed_at": self._calendar.open_at(session),
        }


def _set_clock(connection: Connection[DictRow], account: str, session: date) -> None:
    connection.execute("update exchange.clocks set last_session = %s where account = %s", (session, account))


def _ended(row: DictRow, outcome: Match) -> dict[str, Any]:
    return {
        "client_order_id": row["client_order_id"],
        "status": outcome.state.value,
        "reason": outcome.reason,
        "filled_qty": outcome.qty,
    }


def _columns(intent: OrderIntent, state: OrderState, reason: str) -> dict[str, Any]:
    return {
        "client_order_id": intent.client_order_id,
        "broker_order_id": f"sim-{intent.client_order_id}",
        "account": intent.account,
        "symbol": intent.symbol,
        "side": intent.side.value,
        "qty": intent.qty,
        "order_type": intent.order_type.value,
        "limit_price": intent.limit_price,
        "time_in_force": intent.time_in_force.value,
        "trade_session": intent.trade_session,
        "status": state.value,
        "reason": reason,
    }


def _reported(row: DictRow) -> BrokerOrder:
    return BrokerOrder(
        client_order_id=row["client_order_id"],
        broker_order_id=row["broker_order_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        qty=Decimal(row["qty"]),
        state=OrderState(row["status"]),
        filled_qty=row["filled_qty"],
        average_price=row.get("average_price"),
        reason=row["reason"],
    )


def _execution(row: DictRow) -> Execution:
    return Execution(
        client_order_id=row["client_order_id"],
        executed_at=row["executed_at"],
        fill=Fill(
            execution_id=row["execution_id"],
            symbol=row["symbol"],
            side=Side(row["side"]),
            qty=row["qty"],
            price=row["price"],
            fee=row["fee"],
            session=row["session"],
        ),
    )
