"""What the risk monitor remembers and counts: the equity peak, unanswered broker calls, rejects, stuck orders."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.orders.states import OrderState

_RAISE = """
insert into ledger.monitors (account, peak_equity, peak_session) values (%(account)s, %(equity)s, %(session)s)
on conflict (account) do update
   set peak_equity = excluded.peak_equity, peak_session = excluded.peak_session, updated_at = clock_timestamp()
 where monitors.peak_equity is null or monitors.peak_equity < excluded.peak_equity
"""
_RESET = """
insert into ledger.monitors (account, peak_equity, peak_session) values (%(account)s, %(equity)s, %(session)s)
on conflict (account) do update
   set peak_equity = excluded.peak_equity, peak_session = excluded.peak_session, updated_at = clock_timestamp()
"""
_FAILED = """
insert into ledger.monitors (account, broker_errors, last_broker_error, last_broker_error_at)
values (%(account)s, 1, %(error)s, clock_timestamp())
on conflict (account) do update
   set broker_errors = monitors.broker_errors + 1, last_broker_error = excluded.last_broker_error,
       last_broker_error_at = clock_timestamp(), updated_at = clock_timestamp()
"""
_ANSWERED = """
update ledger.monitors set broker_errors = 0, updated_at = clock_timestamp() where account = %s and broker_errors > 0
"""
_ANSWERS = """
select count(*) as answered, count(*) filter (where state = 'rejected') as rejected
  from ledger.orders
 where account = %(account)s and updated_at >= %(since)s
   and updated_at > coalesce((select max(at) from ledger.operator_actions
                               where account = %(account)s and action = 'reset_circuit_breaker'), '-infinity')
   and (state = 'rejected' or broker_order_id is not null)
"""
_UNCONFIRMED = """
select o.client_order_id, coalesce(min(e.at), o.updated_at) as since
  from ledger.orders o
  left join ledger.order_events e on e.client_order_id = o.client_order_id and e.to_state = %(state)s
 where o.account = %(account)s and o.state = %(state)s
 group by o.client_order_id order by since limit 1
"""
_UNWATCHED = """
select max(seq) as newest from ledger.fills f
 where account = %(account)s
   and seq > coalesce((select watched_fill from ledger.monitors where account = %(account)s), 0)
"""
_WATCHED = """
insert into ledger.monitors (account, watched_fill) values (%(account)s, %(fill)s)
on conflict (account) do update set watched_fill = greatest(monitors.watched_fill, excluded.watched_fill)
"""
_FINGERPRINT = """
select (select (epoch, high_sequence) from ledger.books where account = %(account)s)::text as book,
       (select max(seq) from ledger.fills where account = %(account)s) as fill,
       (select max(updated_at) from ledger.orders where account = %(account)s) as orders,
       (select broker_errors from ledger.monitors where account = %(account)s) as broker_errors
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorRecord:
    """What the monitor remembers of an account. `peak_equity` is dollars, None before the first look."""

    peak_equity: Decimal | None = None
    peak_session: date | None = None
    broker_errors: int = 0
    last_broker_error: str = ""


class Monitors:
    """Statements about `ledger.monitors`, and what the rules count in the orders."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def get(self, account: str) -> MonitorRecord:
        """Return what is remembered of an account."""
        with self._pool.connection() as connection:
            row = connection.execute(
                """select peak_equity, peak_session, broker_errors, last_broker_error
                     from ledger.monitors where account = %s""",
                (account,),
            ).fetchone()
        return MonitorRecord() if row is None else MonitorRecord(**row)

    def raise_peak(self, account: str, equity: Decimal, session: date) -> None:
        """Remember the equity (dollars) of a session if it is the highest so far; a lower one changes nothing."""
        self._execute(_RAISE, account=account, equity=equity, session=session)

    def reset_peak(self, account: str, equity: Decimal, session: date) -> None:
        """Set the peak anew, lower or higher. For an operator: the caller writes who and why first."""
        self._execute(_RESET, account=account, equity=equity, session=session)

    def broker_failed(self, account: str, error: str) -> None:
        """Count a call that the broker did not answer."""
        self._execute(_FAILED, account=account, error=error)

    def broker_answered(self, account: str) -> None:
        """End the row of unanswered calls."""
        with self._pool.connection() as connection:
            connection.execute(_ANSWERED, (account,))

    def answers_since(self, account: str, since: datetime) -> tuple[int, int]:
        """Return how many orders the broker answered since an instant, and how many of them it rejected.

        An operator's reset of the breaker begins the count anew: what was known then has been judged.
        """
        with self._pool.connection() as connection:
            row = connection.execute(_ANSWERS, {"account": account, "since": since}).fetchone()
        return (row["answered"], row["rejected"]) if row else (0, 0)

    def oldest_unconfirmed(self, account: str) -> tuple[str, datetime] | None:
        """Return the order that has waited longest for the broker's answer, and since when; None when none waits."""
        with self._pool.connection() as connection:
            row = connection.execute(
                _UNCONFIRMED, {"account": account, "state": OrderState.SUBMITTED_UNCONFIRMED.value}
            ).fetchone()
        return (row["client_order_id"], row["since"]) if row else None

    def unwatched_fill(self, account: str) -> int | None:
        """Return the number of the newest fill if its loss was not judged yet, else None."""
        with self._pool.connection() as connection:
            row = connection.execute(_UNWATCHED, {"account": account}).fetchone()
        return row["newest"] if row else None

    def watched(self, account: str, fill: int) -> None:
        """Remember that the losses of all fills up to this one were judged."""
        self._execute(_WATCHED, account=account, fill=fill)

    def fingerprint(self, account: str) -> str:
        """Return a text that changes with every order, fill, halt, limit and broker error of the account."""
        with self._pool.connection() as connection:
            row = connection.execute(_FINGERPRINT, {"account": account}).fetchone()
        return "|".join(str(value) for value in (row or {}).values())

    def _execute(self, sql: str, **parameters: object) -> None:
        with self._pool.connection() as connection:
            connection.execute(sql.encode(), parameters)
