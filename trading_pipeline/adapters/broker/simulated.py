"""A persistent simulated exchange.

Takes orders for the next session's open and fills them when that session's bars exist.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import date
from decimal import Decimal

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.broker.matching import ExchangeCosts, Match, OpeningBar, match, reject_reason
from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution, require_cover
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.orders.model import OrderIntent, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import Clearance
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import OrderRejected, OrderStateUnknown, ServerUnavailable, SessionNotTradable

Openings = Callable[[date, Collection[str]], dict[str, OpeningBar]]
"""Gives the bars of a session for some symbols; a symbol that did not trade is absent."""

_CLOCK = "select last_session from exchange.clocks where account = %s"
# Takers of orders share the clock with each other, not with the matching of a session.
_SHARED_CLOCK = "select last_session from exchange.clocks where account = %s for share"
_LOCKED_CLOCK = "select last_session from exchange.clocks where account = %s for update"


class SimulatedExchange:
    """Implements `Broker` on the tables of schema `exchange`. Close it when done.

    Its time is the last session whose open it has matched: orders decided from session D work in the next session, so
    they may be sent only while the exchange stands at D. Matching a session is one transaction: it happened or not.
    """

    name = "simulated exchange"
    real_time = False

    def __init__(
        self,
        database_url: str,
        *,
        account: str,
        calendar: SessionCalendar,
        openings: Openings,
        costs: ExchangeCosts | None = None,
    ) -> None:
        self._account = account
        self._calendar = calendar
        self._openings = openings
        self._costs = costs or ExchangeCosts()
        self._pool = Pool(database_url, size=2)
        self._pool.open()

    def close(self) -> None:
        """Give the connections back."""
        self._pool.close()

    @property
    def current_session(self) -> date | None:
        """The last session whose open was matched; None before the first."""
        with self._pool.connection() as connection:
            return _clock(connection, self._account, lock=False)

    def advance(self, session: date) -> None:
        """Match every session up to and including this one; sessions already matched are left alone."""
        with self._pool.connection() as connection:
            last = _clock(connection, self._account, lock=True)
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
        with self._pool.connection() as connection:
            row = connection.execute(_SHARED_CLOCK, (self._account,)).fetchone()
            last = row["last_session"] if row else None
            reason = reject_reason(intent.client_order_id, intent.symbol, intent.order_type, self._costs)
            late = last is not None and intent.trade_session <= last
            if late:
                reason = f"session {intent.trade_session} has opened already: the exchange stands at {last}"
            state = OrderState.ACCEPTED if reason is None else OrderState.REJECTED
            inserted = None if late else _insert(connection, intent, state, reason or "")
            if inserted is not None:
                return _reported(inserted), True
            known = _order(connection, intent.client_order_id)
        if known is None:
            raise OrderRejected(reason or "rejected", client_order_id=intent.client_order_id)
        return known, False

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """Return the order, None when the exchange has never seen it."""
        with self._pool.connection() as connection:
            return _order(connection, client_order_id)

    def open_orders(self) -> list[BrokerOrder]:
        """Return the orders that wait for the open of their session."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                """select * from exchange.orders where account = %s and status = 'accepted'
                    order by submitted_at, client_order_id""",
                (self._account,),
            ).fetchall()
        return [_reported(row) for row in rows]

    def cancel(self, client_order_id: str) -> BrokerOrder | None:
        """Cancel a working order; an ended one stays as it is."""
        with self._pool.connection() as connection:
            _clock(connection, self._account, lock=True)
            connection.execute(
                """update exchange.orders set status = 'canceled', reason = 'cancelled on request'
                    where client_order_id = %s and status = 'accepted'""",
                (client_order_id,),
            )
            return _order(connection, client_order_id)

    def executions(self, client_order_ids: Sequence[str]) -> list[Execution]:
        """Return the executions of these orders, oldest first."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "select * from exchange.executions where client_order_id = any(%s) order by seq",
                (list(client_order_ids),),
            ).fetchall()
        return [_execution(row) for row in rows]

    def positions(self) -> dict[str, Decimal]:
        """Return what all executions add up to, flat symbols left out."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                """select symbol, sum(case side when 'buy' then qty else -qty end) as qty
                     from exchange.executions where account = %s group by symbol
                   having sum(case side when 'buy' then qty else -qty end) <> 0 order by symbol""",
                (self._account,),
            ).fetchall()
        return {row["symbol"]: row["qty"] for row in rows}

    def _match_session(self, connection: Connection[DictRow], session: date) -> None:
        rows = connection.execute(
            """select * from exchange.orders where account = %s and status = 'accepted' and trade_session <= %s
                order by client_order_id""",
            (self._account, session),
        ).fetchall()
        if not rows:
            return
        bars = self._openings(session, {row["symbol"] for row in rows})
        for row in rows:
            outcome = match(
                client_order_id=row["client_order_id"],
                side=Side(row["side"]),
                qty=row["qty"],
                limit_price=row["limit_price"],
                bar=bars.get(row["symbol"]),
                costs=self._costs,
            )
            self._apply(connection, row, outcome, session)

    def _apply(self, connection: Connection[DictRow], row: DictRow, outcome: Match, session: date) -> None:
        if outcome.price is not None:
            connection.execute(
                """insert into exchange.executions
                          (execution_id, client_order_id, account, symbol, side, qty, price, fee, session, executed_at)
                   values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
                (
                    f"{row['broker_order_id']}-1",
                    row["client_order_id"],
                    row["account"],
                    row["symbol"],
                    row["side"],
                    outcome.qty,
                    outcome.price,
                    outcome.fee,
                    session,
                    self._calendar.open_at(session),
                ),
            )
        connection.execute(
            "update exchange.orders set status = %s, reason = %s, filled_qty = %s where client_order_id = %s",
            (outcome.state.value, outcome.reason, outcome.qty, row["client_order_id"]),
        )


def _clock(connection: Connection[DictRow], account: str, *, lock: bool) -> date | None:
    if lock:
        connection.execute("insert into exchange.clocks (account) values (%s) on conflict do nothing", (account,))
    row = connection.execute(_LOCKED_CLOCK if lock else _CLOCK, (account,)).fetchone()
    return row["last_session"] if row else None


def _set_clock(connection: Connection[DictRow], account: str, session: date) -> None:
    connection.execute("update exchange.clocks set last_session = %s where account = %s", (session, account))


def _insert(connection: Connection[DictRow], intent: OrderIntent, state: OrderState, reason: str) -> DictRow | None:
    return connection.execute(
        """insert into exchange.orders (client_order_id, broker_order_id, account, symbol, side, qty, order_type,
                                        limit_price, time_in_force, trade_session, status, reason)
           values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
           on conflict (client_order_id) do nothing returning *""",
        (
            intent.client_order_id,
            _broker_id(intent.client_order_id),
            intent.account,
            intent.symbol,
            intent.side.value,
            intent.qty,
            intent.order_type.value,
            intent.limit_price,
            intent.time_in_force.value,
            intent.trade_session,
            state.value,
            reason,
        ),
    ).fetchone()


def _order(connection: Connection[DictRow], client_order_id: str) -> BrokerOrder | None:
    row = connection.execute("select * from exchange.orders where client_order_id = %s", (client_order_id,)).fetchone()
    return None if row is None else _reported(row)


def _reported(row: DictRow) -> BrokerOrder:
    return BrokerOrder(
        client_order_id=row["client_order_id"],
        broker_order_id=row["broker_order_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        qty=Decimal(row["qty"]),
        state=OrderState(row["status"]),
        filled_qty=row["filled_qty"],
        reason=row["reason"],
    )


def _broker_id(client_order_id: str) -> str:
    return f"sim-{client_order_id}"


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
