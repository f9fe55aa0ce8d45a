"""Tie-outs: whether ledger, book and broker were seen to agree at the end of a session. Sealed in the chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.orders.states import HOLDING

_COLUMNS = "session, agrees, differences, positions, operator, as_of, coalesce(final, false) as final, cash, awaited"
# Shares held at the close, or an order that may still work, make a session one to tie out, and so does a fill in it.
_LAST_ACTIVE = """
select greatest(
    (select max(session) from ledger.effective_fills where account = %(account)s and session <= %(through)s),
    (select max(trade_session) from ledger.orders
      where account = %(account)s and trade_session <= %(through)s and broker_order_id is not null),
    (select %(through)s::date from ledger.orders
      where account = %(account)s and trade_session <= %(through)s and state = any(%(holding)s) limit 1),
    (select %(through)s::date from ledger.effective_fills
      where account = %(account)s and session <= %(through)s
      group by symbol having sum(case side when 'buy' then qty else -qty end) <> 0 limit 1)) as session
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TieOut:
    """One answer.

    Attributes:
        session: the session it was asked for.
        agrees: nothing differed but what is awaited.
        differences: each difference as a line.
        positions: signed shares by symbol, as the ledger held them.
        operator: who asked.
        as_of: the account's time, aware; None of answers older than the column.
        final: the session had closed by then.
        awaited: by symbol, the difference of its shares that a recorded corporate action explains: the broker has not
            booked it, and the symbol's orders are kept back until it has.
        cash: dollars as text, by the names of `CashComparison.as_document`; None where cash was not compared.
    """

    session: date
    agrees: bool
    differences: tuple[str, ...]
    positions: Mapping[str, str]
    operator: str
    as_of: datetime | None
    final: bool
    cash: Mapping[str, Any] | None = None
    awaited: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Return the answer as one line."""
        early = "" if self.final else " before its close"
        if not self.agrees:
            return f"session {self.session} did not tie out ({'; '.join(self.differences)})"
        if not self.awaited:
            return f"session {self.session} tied out{early}"
        but_for, shares = ", ".join(sorted(self.awaited)), "; ".join(self.awaited.values())
        return f"session {self.session} tied out{early} but for {but_for}, not restated by the broker yet ({shares})"


class TieOuts:
    """Statements about `ledger.tie_outs`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(
        self,
        account: str,
        session: date,
        positions: Mapping[str, Decimal],
        differences: Sequence[str],
        operator: str,
        *,
        as_of: datetime,
        final: bool,
        cash: Mapping[str, Any] | None,
        awaited: Mapping[str, str],
    ) -> TieOut:
        """Write an answer; it agrees when nothing differs but what is awaited."""
        shares = {symbol: f"{qty.normalize():f}" for symbol, qty in positions.items()}
        with self._pool.connection() as connection:
            connection.execute(
                """insert into ledger.tie_outs
                   (account, session, agrees, positions, differences, operator, as_of, final, cash, awaited)
                   values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
                (
                    account,
                    session,
                    not differences,
                    Jsonb(shares),
                    Jsonb(list(differences)),
                    operator,
                    as_of,
                    final,
                    None if cash is None else Jsonb(dict(cash)),
                    Jsonb(dict(awaited)) if awaited else None,
                ),
            )
        return TieOut(
            session=session,
            agrees=not differences,
            differences=tuple(differences),
            positions=shares,
            operator=operator,
            as_of=as_of,
            final=final,
            cash=cash,
            awaited=dict(awaited),
        )

    def newest(self, account: str) -> TieOut | None:
        """Return the newest answer of an account, None before its first."""
        return self._first("true", account=account)

    def of_session(self, account: str, session: date) -> TieOut | None:
        """Return the newest answer after the close of a session, None when there is none."""
        return self._first("final and session = %(session)s", account=account, session=session)

    def tied_out_through(self, account: str) -> date | None:
        """Return the newest session that tied out after its close, None before the first."""
        rows = self._pool.rows(
            "select max(session) as session from ledger.tie_outs where account = %s and final and agrees", (account,)
        )
        session: date | None = rows[0]["session"]
        return session

    def last_active(self, account: str, through: date) -> date | None:
        """Return the newest session up to `through` in which the account traded, or held shares or orders."""
        asked = {"account": account, "through": through, "holding": [state.value for state in HOLDING]}
        session: date | None = self._pool.rows(_LAST_ACTIVE, asked)[0]["session"]
        return session

    def _first(self, condition: str, **parameters: object) -> TieOut | None:
        rows = self._pool.rows(
            f"select {_COLUMNS} from ledger.tie_outs"  # noqa: S608 - columns and condition are ours
            f" where account = %(account)s and {condition} order by id desc limit 1",
            parameters,
        )
        if not rows:
            return None
        return TieOut(**rows[0] | {"differences": tuple(rows[0]["differences"]), "awaited": rows[0]["awaited"] or {}})
