"""The ledger's cash: activities as the broker told them, where cash began, and what was rounded or accepted."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.cash import CashActivity, CashIncome, ExpectedCash
from trading_pipeline.core.risk.halts import OperatorAction

_RECORD = """
insert into ledger.cash_activities (account, activity_id, type, kind, symbol, amount, session, in_opening, document)
values (%(account)s, %(activity_id)s, %(type)s, %(kind)s, %(symbol)s, %(amount)s, %(session)s,
        not exists (select from ledger.cash_entries where account = %(account)s and kind = 'opening'), %(document)s)
on conflict (account, activity_id) do nothing returning id
"""
# Kinds by name: what another kind of fill does to cash is not known here.
_FILLS = """
select coalesce(sum(case side when 'buy' then -qty else qty end * price - fee), 0) as dollars,
       count(*) filter (where qty * price <> round(qty * price, 2) or fee <> round(fee, 2)) as rounded
  from ledger.effective_fills where account = %s and kind in ('execution', 'synthetic', 'external')
"""
_EXPECTED = """
select opening.amount as opening,
       (select coalesce(sum(amount), 0) from ledger.cash_activities
         where account = opening.account and not in_opening) as activities,
       (select coalesce(sum(amount), 0) from ledger.cash_entries
         where account = opening.account and kind <> 'opening') as entries,
       (select max(rounded_fills) from ledger.cash_entries where account = opening.account) as rounded
  from ledger.cash_entries opening where account = %s and kind = 'opening'
"""
_ENTER = """
insert into ledger.cash_entries (account, kind, amount, session, rounded_fills, activities, operator, reason)
values (%(account)s, %(kind)s, %(amount)s, %(session)s, %(rounded)s,
        (select coalesce(max(id), 0) from ledger.cash_activities where account = %(account)s), %(operator)s, %(reason)s)
"""
_UNKNOWN = """
select activity_id, type, symbol, amount, session from ledger.cash_activities
 where account = %(account)s and kind = 'other' and amount <> 0 and not in_opening
   and id > (select coalesce(max(activities), 0) from ledger.cash_entries
              where account = %(account)s and kind = 'accepted')
 order by id
"""
_INCOME = """
select coalesce(-sum(amount) filter (where kind = 'fee'), 0) as fees,
       coalesce(sum(amount) filter (where kind = 'dividend'), 0) as dividends,
       coalesce(sum(amount) filter (where kind = 'interest'), 0) as interest,
       coalesce(sum(amount) filter (where kind = 'other'), 0) as other,
       coalesce(sum(amount) filter (where kind = 'transfer'), 0) as transfers
  from (select kind, amount from ledger.cash_activities
         where account = %(account)s and session <= %(session)s and not in_opening
         union all
        select 'other', amount from ledger.cash_entries
         where account = %(account)s and session <= %(session)s and kind <> 'opening') moved
"""


class Cash:
    """Statements about `ledger.cash_activities` and `ledger.cash_entries`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(self, account: str, activities: Iterable[CashActivity]) -> int:
        """Record the activities that are not known yet, all or none, and return how many there were.

        Those recorded before the opening cash are part of it.
        """
        new = 0
        with self._pool.connection() as connection:
            for one in activities:
                row = {
                    "account": account,
                    "activity_id": one.activity_id,
                    "type": one.type,
                    "kind": one.kind.value,
                    "symbol": one.symbol,
                    "amount": one.amount,
                    "session": one.session,
                    "document": Jsonb(dict(one.document)),
                }
                new += connection.execute(_RECORD, row).rowcount
        return new

    def newest_session(self, account: str) -> date | None:
        """Return the newest session of what is recorded, the opening included; None before that."""
        rows = self._pool.rows(
            """select max(session) as session from (
                   select session from ledger.cash_activities where account = %(account)s
                    union all select session from ledger.cash_entries where account = %(account)s) known""",
            {"account": account},
        )
        session: date | None = rows[0]["session"]
        return session

    def recorded(self, account: str, activity_ids: Iterable[str]) -> dict[str, DictRow]:
        """Return what is recorded of these activities, by their id."""
        rows = self._pool.rows(
            "select activity_id, type, amount from ledger.cash_activities where account = %s and activity_id = any(%s)",
            (account, list(activity_ids)),
        )
        return {row["activity_id"]: row for row in rows}

    def of_session(self, account: str, session: date) -> list[DictRow]:
        """Return the activities of a session, in the order they were recorded."""
        return self._pool.rows(
            """select session, activity_id, type, kind, symbol, amount, in_opening from ledger.cash_activities
                where account = %s and session = %s order by id""",
            (account, session),
        )

    def entries(self, account: str) -> list[DictRow]:
        """Return where cash began and what was rounded or accepted, oldest first."""
        return self._pool.rows(
            "select kind, amount, session, operator, reason from ledger.cash_entries where account = %s order by id",
            (account,),
        )

    def unknown(self, account: str) -> list[DictRow]:
        """Return the activities of unknown types that moved cash and that nobody accepted, oldest first."""
        return self._pool.rows(_UNKNOWN, {"account": account})

    def expected(self, account: str) -> ExpectedCash | None:
        """Return what the ledger knows of the cash; None before its opening was recorded."""
        rows = self._pool.rows(_EXPECTED, (account,))
        if not rows:
            return None
        (fills,) = self._pool.rows(_FILLS, (account,))
        known = rows[0]
        return ExpectedCash(
            opening=known["opening"],
            fills=fills["dollars"],
            activities=known["activities"],
            entries=known["entries"],
            new_rounded_fills=max(0, fills["rounded"] - known["rounded"]),
        )

    def open(self, account: str, cash: Decimal, session: date, action: OperatorAction) -> None:
        """Record where the cash began: what the broker has now, less what fills moved until now."""
        (fills,) = self._pool.rows(_FILLS, (account,))
        self._enter(account, "opening", cash - fills["dollars"], session, action)

    def round(self, account: str, amount: Decimal, session: date, action: OperatorAction) -> None:
        """Record what the broker rounded since the last agreement."""
        self._enter(account, "rounding", amount, session, action)

    def accept(self, account: str, amount: Decimal, session: date, action: OperatorAction) -> None:
        """Record a difference as accepted, and with it the activities of unknown types until now."""
        self._enter(account, "accepted", amount, session, action)

    def income(self, account: str, session: date) -> CashIncome:
        """Return what cash beside fills earned and moved up to the end of a session."""
        (row,) = self._pool.rows(_INCOME, {"account": account, "session": session})
        return CashIncome(**row)

    def _enter(self, account: str, kind: str, amount: Decimal, session: date, action: OperatorAction) -> None:
        with self._pool.connection() as connection:
            (fills,) = connection.execute(_FILLS, (account,)).fetchall()
            connection.execute(
                _ENTER,
                {
                    "account": account,
                    "kind": kind,
                    "amount": amount,
                    "session": session,
                    "rounded": fills["rounded"],
                    "operator": action.operator,
                    "reason": action.reason,
                },
            )
