"""What became of each session: its orders were sent, or why not. Sealed in the chain."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.postgres import Pool

# Orders that flatten are an operator's, whatever session they count for: they say nothing of its own.
_COUNTS = """
select session, count(*) as orders, count(*) filter (where broker_order_id is not null) as at_the_broker,
       count(*) filter (where state = 'refused') as refused
  from ledger.orders where account = %(account)s and session = any(%(sessions)s) and purpose <> 'flatten'
 group by session
"""
_FIRST = """
select (select min(session) from ledger.session_records where account = %(account)s) as recorded,
       (select min(session) from ledger.orders where account = %(account)s) as ordered,
       (select min(at) from ledger.operator_actions
         where account = %(account)s and action = 'initialize_risk_book') as initialised
"""


LONGEST_REASON = 4_000
"""Characters of a reason; what is longer is cut."""


class Outcome(StrEnum):
    """What became of a session."""

    TRADED = "traded"
    NOTHING_TO_DO = "nothing_to_do"
    REFUSED = "refused"
    FAILED = "failed"
    EXPLAINED = "explained"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One statement about a session: by the run that decided its orders, by what watches runs, or by an operator."""

    session: date
    outcome: Outcome
    reason: str
    counts: Mapping[str, int]
    run_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """When an account began: its first session on record, its first with orders, and when its book was initialised."""

    recorded: date | None
    ordered: date | None
    initialised: datetime | None


class SessionRecords:
    """Statements about `ledger.session_records`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(
        self,
        account: str,
        session: date,
        outcome: Outcome,
        reason: str,
        *,
        counts: Mapping[str, int] | None = None,
        run_id: str = "",
    ) -> None:
        """Write what became of a session. It may be written any number of times: see `services.session_story`."""
        with self._pool.connection() as connection:
            connection.execute(
                """insert into ledger.session_records (account, session, outcome, reason, counts, run_id)
                   values (%s, %s, %s, %s, %s, %s)""",
                (account, session, outcome.value, reason[:LONGEST_REASON], Jsonb(dict(counts or {})), run_id),
            )

    def of_sessions(self, account: str, sessions: Collection[date]) -> list[SessionRecord]:
        """Return all that was written of some sessions, oldest first."""
        rows = self._pool.rows(
            """select session, outcome, reason, counts, run_id, at from ledger.session_records
                where account = %s and session = any(%s) order by id""",
            (account, list(sessions)),
        )
        return [SessionRecord(**row | {"outcome": Outcome(row["outcome"])}) for row in rows]

    def order_counts(self, account: str, sessions: Collection[date]) -> dict[date, dict[str, int]]:
        """Return the orders decided from some sessions: all, those at the broker, and the refused; none is absent."""
        rows = self._pool.rows(_COUNTS, {"account": account, "sessions": list(sessions)})
        return {row.pop("session"): dict(row) for row in rows}

    def beginning(self, account: str) -> Beginning:
        """Return when an account began."""
        return Beginning(**self._pool.rows(_FIRST, {"account": account})[0])
