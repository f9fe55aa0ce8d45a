"""Orders that replace one another: what they hold together, and how they are linked in the ledger."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.records import NewOrder, OrderRecord
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.orders.states import HOLDING, TERMINAL
from trading_pipeline.errors import OrderError

JUDGED_PRICE: Final = "round(coalesce(o.judged_price, greatest(o.reference_price, o.limit_price, o.stop_price)), 4)"
"""Dollars a share that an order `o` is held at and counts for, as `OrderRecord.judged_ticks` says it."""

_LOCK = "select client_order_id from ledger.orders where client_order_id = any(%s) order by client_order_id for update"
_FIRST = "update ledger.orders set chain = client_order_id where client_order_id = any(%s) and chain is null"
_LINK = """
update ledger.orders new
   set replaces = old.client_order_id, chain = old.chain, place = old.place + 1,
       carried_qty = old.carried_qty + old.filled_qty
  from ledger.orders old where new.client_order_id = %s and old.client_order_id = %s
"""


# Of a chain that lives on: what its live orders can still fill. Null where none of them is live.
_UNSETTLED = """
select o.client_order_id, o.chain as holder, of_chain.members,
       case when of_chain.live then greatest(of_chain.most - of_chain.filled, 0) end as held
  from ledger.orders o cross join lateral (
       select array_agg(m.client_order_id) as members, bool_or(m.state = any(%(holding)s)) as live,
              max(m.qty) filter (where m.state = any(%(holding)s)) as most, max(m.carried_qty + m.filled_qty) as filled
         from ledger.orders m where m.chain = o.chain) of_chain
 where o.account = %(account)s and o.chain is not null and o.state = any(%(ended)s) and not o.released
   and not exists (select from ledger.fills f where f.client_order_id = any(of_chain.members) and not f.posted)
 order by o.created_at, o.client_order_id
"""
_REPLACEMENTS = "select * from ledger.orders where replaces = %s order by created_at, client_order_id"
_MEMBERS = "select * from ledger.orders where chain = any(%s) order by chain, place, created_at, client_order_id"
_CHAIN = """
select m.* from ledger.orders o join ledger.orders m on m.chain = o.chain
 where o.client_order_id = %s order by m.place, m.created_at, m.client_order_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The live orders that share one reservation, oldest first: one, or two while a replacement is not over.

    `filled` are the shares that orders of the chain are known to have filled together, those that ended included.
    """

    holder: str
    live: Sequence[OrderRecord]
    filled: Decimal = Decimal(0)

    @property
    def newest(self) -> OrderRecord:
        """The live order that would be left."""
        return self.live[-1]

    @property
    def held(self) -> Decimal:
        """Shares that may still fill: nobody knows which of the live orders works, so the largest total counts."""
        filled = max(self.filled, *(order.carried_qty + order.filled_qty for order in self.live))
        return max(max(Decimal(order.intent.qty) for order in self.live) - filled, Decimal(0))


def chains_of(live: Iterable[OrderRecord], members: Mapping[str, Sequence[OrderRecord]] | None = None) -> list[Chain]:
    """Group live orders by the reservation they share, in the order of the first of each.

    `members` are all orders of their chains: a replacement may have filled, and be over, before the broker says of the
    order whose place it took that it does not work any more.
    """
    known = members or {}
    together: defaultdict[str, list[OrderRecord]] = defaultdict(list)
    for order in live:
        together[order.holder].append(order)
    return [
        Chain(
            holder=holder,
            live=sorted(orders, key=lambda one: one.place),
            filled=max((one.carried_qty + one.filled_qty for one in known.get(holder, ())), default=Decimal(0)),
        )
        for holder, orders in together.items()
    ]


def link_in(connection: Connection[DictRow], inserted: Sequence[NewOrder]) -> None:
    """Link those of the orders inserted in this transaction that replace others to them.

    Raises:
        OrderError: an order to be replaced is not in the ledger.
    """
    replaced = sorted({new.replaces for new in inserted if new.replaces is not None})
    if not replaced:
        return
    known = {row["client_order_id"] for row in connection.execute(_LOCK, (replaced,)).fetchall()}
    if missing := set(replaced) - known:
        raise OrderError(f"order(s) {', '.join(sorted(missing))} to be replaced are not in the ledger")
    connection.execute(_FIRST, (replaced,))
    for new in inserted:
        connection.execute(_LINK, (new.intent.client_order_id, new.replaces))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """An ended order of a chain of which the guard is to be told.

    `held` are the shares its live orders can still fill; None when none is live: the whole chain of `members` is over.
    """

    client_order_id: str
    holder: str
    members: tuple[str, ...]
    held: Decimal | None


class Chains:
    """Statements about chains of replacements."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def unsettled(self, account: str) -> list[Unsettled]:
        """Return ended orders of chains of which the guard was not told, but of chains with fills it does not know."""
        parameters: dict[str, Any] = {"account": account, "ended": list(TERMINAL), "holding": list(HOLDING)}
        return [
            Unsettled(
                client_order_id=row["client_order_id"],
                holder=row["holder"],
                members=tuple(row["members"]),
                held=row["held"],
            )
            for row in self._pool.rows(_UNSETTLED, parameters)
        ]

    def replacements(self, client_order_id: str) -> list[OrderRecord]:
        """Return the orders that were to take the place of this one, oldest first."""
        return [OrderRecord.from_row(row) for row in self._pool.rows(_REPLACEMENTS, (client_order_id,))]

    def members(self, chains: Collection[str]) -> dict[str, list[OrderRecord]]:
        """Return the orders of these chains by the first of each, oldest first."""
        found: defaultdict[str, list[OrderRecord]] = defaultdict(list)
        for row in self._pool.rows(_MEMBERS, (list(chains),)) if chains else []:
            found[row["chain"]].append(OrderRecord.from_row(row))
        return dict(found)

    def of(self, client_order_id: str) -> list[OrderRecord]:
        """Return the orders of the chain that this one belongs to, oldest first; none when it was never replaced."""
        return [OrderRecord.from_row(row) for row in self._pool.rows(_CHAIN, (client_order_id,))]
