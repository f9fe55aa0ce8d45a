"""What happens in the account without us: shares and orders no order of ours explains, and what of it was accepted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from trading_pipeline.adapters.store.ledger.booking import book_external_in
from trading_pipeline.adapters.store.ledger.positions import locked_positions_in
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.halts import OperatorAction

_SAW = """
insert into ledger.external_orders
       (account, broker_order_id, client_order_id, symbol, side, qty, filled_qty, price)
values (%(account)s, %(broker_order_id)s, %(client_order_id)s, %(symbol)s, %(side)s, %(qty)s, %(filled_qty)s, %(price)s)
on conflict (account, broker_order_id) do update
   set qty = excluded.qty, filled_qty = excluded.filled_qty, ended_at = null
"""
_END = """
update ledger.external_orders set ended_at = clock_timestamp()
 where account = %s and ended_at is null and broker_order_id <> all(%s)
"""
# The net of external fills that exceeds what was accepted, and working orders that were not.
_OPEN = """
with net as (
    select symbol, sum(case side when 'buy' then qty else -qty end) as qty
      from ledger.effective_fills where account = %(account)s and kind = 'external' group by symbol
), accepted as (
    select distinct on (symbol) symbol, qty from ledger.external_acceptances
     where account = %(account)s order by symbol, id desc
)
select symbol, net.qty - coalesce(accepted.qty, 0) as qty, 0 as orders from net left join accepted using (symbol)
 where net.qty <> 0 and net.qty <> coalesce(accepted.qty, 0)
 union all
select symbol, 0, count(*) from ledger.external_orders
 where account = %(account)s and ended_at is null and accepted_at is null group by symbol
"""
_PRICES = """
select distinct on (symbol) symbol, price from (
    select symbol, price, executed_at as at from ledger.fills where account = %(account)s and kind = 'external'
     union all
    select symbol, price, first_seen from ledger.external_orders where account = %(account)s) seen
 order by symbol, at desc
"""
_NET = """
select coalesce(sum(case side when 'buy' then qty else -qty end), 0) as qty, count(*) as fills
  from ledger.effective_fills where account = %s and symbol = %s and kind = 'external'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalOrder:
    """An order that somebody else placed: shares, and the dollars a share it is judged at."""

    broker_order_id: str
    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    filled_qty: Decimal
    price: Decimal

    @property
    def remaining(self) -> Decimal:
        """Shares that may still fill."""
        return self.qty - self.filled_qty


class Externals:
    """Statements about external fills and orders, their acceptance, and the starts of the system."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def started(self, account: str) -> None:
        """Record that the system was started."""
        with self._pool.connection() as connection:
            connection.execute("insert into ledger.starts (account) values (%s)", (account,))

    def last_start(self, account: str) -> datetime | None:
        """Return when the system was started last, None if that was never recorded."""
        rows = self._pool.rows("select max(at) as at from ledger.starts where account = %s", (account,))
        at: datetime | None = rows[0]["at"]
        return at

    def saw(self, account: str, orders: Sequence[ExternalOrder]) -> None:
        """Record the working orders of others as they are now; those recorded before and absent now have ended."""
        with self._pool.connection() as connection:
            for one in orders:
                connection.execute(
                    _SAW,
                    {
                        "account": account,
                        "broker_order_id": one.broker_order_id,
                        "client_order_id": one.client_order_id,
                        "symbol": one.symbol,
                        "side": one.side.value,
                        "qty": one.qty,
                        "filled_qty": one.filled_qty,
                        "price": one.price,
                    },
                )
            connection.execute(_END, (account, [one.broker_order_id for one in orders]))

    def working(self, account: str) -> dict[str, ExternalOrder]:
        """Return the orders of others that work at the broker, by the broker's id."""
        rows = self._pool.rows(
            """select broker_order_id, client_order_id, symbol, side, qty, filled_qty, price from ledger.external_orders
                where account = %s and ended_at is null order by broker_order_id""",
            (account,),
        )
        return {row["broker_order_id"]: ExternalOrder(**row | {"side": Side(row["side"])}) for row in rows}

    def ids(self, account: str) -> frozenset[str]:
        """Return the broker's ids of all orders of others ever recorded."""
        rows = self._pool.rows("select broker_order_id from ledger.external_orders where account = %s", (account,))
        return frozenset(row["broker_order_id"] for row in rows)

    def book(
        self, account: str, symbol: str, *, held: Decimal, there: Decimal, price: Decimal, session: date, at: datetime
    ) -> Fill | None:
        """Book that the broker holds other shares than we do, as one external fill; profit and loss follow.

        Args:
            account: whose position.
            symbol: of what.
            held: signed shares of the ledger the difference was seen against; None is returned if it has others now.
            there: signed shares at the broker.
            price: dollars a share.
            session: the exchange session it counts for.
            at: the instant it counts for.
        """
        with self._pool.connection() as connection:
            present = locked_positions_in(connection, account, [symbol])[symbol]
            if present.qty != held or held == there:
                return None
            known = connection.execute(_NET, (account, symbol)).fetchone()
            number = 1 + (known["fills"] if known else 0)
            fill = Fill(
                execution_id=f"external:{account}:{symbol}:{number}",
                symbol=symbol,
                side=Side.BUY if there > held else Side.SELL,
                qty=abs(there - held),
                price=price,
                fee=Decimal(0),
                session=session,
            )
            book_external_in(connection, account, fill, at)
        return fill

    def fills(self, account: str) -> list[Fill]:
        """Return the external fills ever booked, oldest first."""
        rows = self._pool.rows(
            """select execution_id, symbol, side, qty, price, fee, session from ledger.fills
                where account = %s and kind = 'external' order by seq""",
            (account,),
        )
        return [Fill(**row | {"side": Side(row["side"])}) for row in rows]

    def unresolved(self, account: str) -> dict[str, str]:
        """Return each symbol in which something external is neither over nor accepted, with what it is."""
        what: dict[str, str] = {}
        for row in self._pool.rows(_OPEN, {"account": account}):
            said = f"{row['orders']} order(s) of others" if row["orders"] else f"{row['qty']:f} shares of others"
            what[row["symbol"]] = ", ".join(filter(None, (what.get(row["symbol"]), said)))
        return what

    def accept(self, account: str, symbol: str, action: OperatorAction) -> Decimal:
        """Accept all that is external in a symbol so far and return its net shares."""
        with self._pool.connection() as connection:
            row = connection.execute(_NET, (account, symbol)).fetchone()
            net: Decimal = row["qty"] if row else Decimal(0)
            connection.execute(
                """insert into ledger.external_acceptances (account, symbol, qty, operator, reason)
                   values (%s, %s, %s, %s, %s)""",
                (account, symbol, net, action.operator, action.reason),
            )
            connection.execute(
                """update ledger.external_orders set accepted_at = clock_timestamp()
                    where account = %s and symbol = %s and ended_at is null and accepted_at is null""",
                (account, symbol),
            )
        return net

    def prices(self, account: str) -> dict[str, Decimal]:
        """Return the newest price known of each symbol in which something external happened, dollars a share."""
        return {row["symbol"]: row["price"] for row in self._pool.rows(_PRICES, {"account": account})}
