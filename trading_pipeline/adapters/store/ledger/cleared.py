"""What the guard was asked and told of orders: what its book must hold of them besides reservations and positions."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.chains import JUDGED_PRICE
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.orders.states import TERMINAL

# Orders that replace one another count together: what they filled was held at one of their prices, and nobody wrote
# down at which. A fill in fractions may count for as much as a share more than the fills of its order together.
_CLEARED = f"""
with newest as (
    select max(trade_session) as session from ledger.orders where account = %(account)s
), untold as (
    select client_order_id, sum(qty - told_qty) as qty from ledger.fills
     where account = %(account)s and not posted group by client_order_id
), fractions as (
    select client_order_id, count(*) as fills from ledger.fills f, newest
     where f.account = %(account)s and f.session >= newest.session and f.qty <> trunc(f.qty) group by client_order_id
), held as (
    select o.trade_session, count(o.guard_sequence) as orders,
           count(*) filter (where o.guard_sequence is null) as unrecorded, sum(o.filled_qty) as filled,
           sum(ceil(o.filled_qty) * {JUDGED_PRICE}) as dollars,
           sum(o.filled_qty - coalesce(untold.qty, 0)) as told, coalesce(sum(fractions.fills), 0) as fractions,
           min({JUDGED_PRICE}) as lowest, max({JUDGED_PRICE}) as highest,
           bool_and((o.judged_price is not null or o.guard_sequence is null)
                    and not exists (select from ledger.orders other where other.chain = o.chain
                                       and other.trade_session <> o.trade_session)) as exact
      from newest join ledger.orders o on o.trade_session = newest.session
      left join untold using (client_order_id) left join fractions using (client_order_id)
     where o.account = %(account)s and (o.guard_sequence is not null or o.state = any(%(ended)s))
     group by o.trade_session, coalesce(o.chain, o.client_order_id)
)
select trade_session, sum(orders)::bigint as orders, sum(unrecorded)::bigint as unrecorded,
       sum(dollars) as filled, sum(ceil(told) * lowest) as least,
       sum((ceil(filled) + fractions) * highest) as most, bool_and(exact) as exact
  from held group by trade_session
"""  # noqa: S608 - the text is ours

# An order is touched when its clearance is recorded, so the orders say of which the decisions have to be looked at.
_LATELY = """
select o.client_order_id, o.strategy_id, o.symbol, o.side, o.qty - floor(o.carried_qty)::bigint as qty, o.trade_session,
       clock_timestamp() - d.at as age, o.guard_sequence is not null and o.qty > floor(o.carried_qty) as asked_for
  from ledger.orders o join ledger.risk_decisions d using (client_order_id)
 where o.account = %(account)s and d.code = 'cleared'
   and o.updated_at > clock_timestamp() - %(within)s and d.at > clock_timestamp() - %(within)s
 order by d.at, d.id
"""

# What the guard was told under another id is not known under its own: executions that took the place of what was booked
# from cumulative figures, and orders of chains of replacements.
_ANEW = """
with anew as (
    select max(at) as at from ledger.operator_actions
     where account = %(account)s and action in ('initialize_risk_book', 'rebuild_risk_book')
)
"""
_TOLD = f"""{_ANEW}
select f.execution_id from anew, ledger.fills f
 where f.account = %(account)s and f.session >= %(since)s and f.posted and f.booked_at > anew.at
   and not exists (select from ledger.fills s where s.client_order_id = f.client_order_id and s.kind = 'synthetic')
 order by f.seq
"""  # noqa: S608 - the text is ours
_ENDED = f"""{_ANEW}
select o.client_order_id from anew, ledger.orders o
 where o.account = %(account)s and o.trade_session >= %(since)s and o.state = any(%(ended)s)
   and o.guard_sequence is not null and o.released and o.chain is null
   and (select min(e.at) from ledger.order_events e
         where e.client_order_id = o.client_order_id and e.to_state = o.state) > anew.at
 order by o.created_at, o.client_order_id
"""  # noqa: S608 - the text is ours


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearedSession:
    """What was cleared for a trade session: orders, and dollars of what they filled, each share at its judged price.

    Attributes:
        orders: how many, as they were recorded.
        unrecorded: how many more the guard may have cleared, whose answer a crash lost before somebody cancelled them.
        filled: dollars of all that filled.
        least: dollars that the guard must count as filled at least: it was not told of every fill, and of orders that
            replaced one another only the prices are known, not at which of them a share was held.
        most: dollars that it may count as filled at most.
        exact: every judged price is known, and no order took the place of one of another session, so that the guard's
            count lies between the two.
    """

    orders: int
    unrecorded: int
    filled: Decimal
    least: Decimal
    most: Decimal
    exact: bool


class Cleared:
    """Statements about orders that the guard cleared, and about what it was told of them since."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def by_session(self, account: str) -> dict[date, ClearedSession]:
        """Return what was cleared for the newest trade session."""
        rows = self._pool.rows(_CLEARED, {"account": account, "ended": list(TERMINAL)})
        return {row.pop("trade_session"): ClearedSession(**row) for row in rows}

    def lately(self, account: str, within: timedelta) -> list[DictRow]:
        """Return each clearance that was recorded no longer ago than this, the oldest first: of what, and its age.

        Of a replacement the shares are those that it could fill beyond what its chain has filled. A clearance is
        recorded after the guard gave it, so none is younger than it is said to be here. `asked_for` is false where none
        are left, and where the clearance was of a book that had been replaced: that order is to be asked for again.
        """
        return self._pool.rows(_LATELY, {"account": account, "within": within})

    def told_executions(self, account: str, since: date) -> list[str]:
        """Return the executions of these sessions that the guard was told of since its book was last written anew."""
        rows = self._pool.rows(_TOLD, {"account": account, "since": since})
        return [row["execution_id"] for row in rows]

    def told_ends(self, account: str, since: date) -> list[str]:
        """Return the orders of these sessions whose end the guard was told of since its book was last written anew."""
        rows = self._pool.rows(_ENDED, {"account": account, "since": since, "ended": list(TERMINAL)})
        return [row["client_order_id"] for row in rows]
