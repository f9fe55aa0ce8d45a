"""Tie-outs: whether ledger, book and broker were seen to agree at the end of a session. Sealed in the chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.postgres import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class TieOut:
    """One answer: the session it was asked for, and each difference as a line."""

    session: date
    agrees: bool
    differences: tuple[str, ...]

    def describe(self) -> str:
        """Return the answer as one line."""
        return f"session {self.session} " + (
            "tied out" if self.agrees else f"did not tie out ({'; '.join(self.differences)})"
        )


class TieOuts:
    """Statements about `ledger.tie_outs`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def record(
        self, account: str, session: date, positions: Mapping[str, Decimal], differences: Sequence[str], operator: str
    ) -> TieOut:
        """Write an answer; it agrees when nothing differs."""
        shares = {symbol: f"{qty.normalize():f}" for symbol, qty in positions.items()}
        with self._pool.connection() as connection:
            connection.execute(
                """insert into ledger.tie_outs (account, session, agrees, positions, differences, operator)
                   values (%s, %s, %s, %s, %s, %s)""",
                (account, session, not differences, Jsonb(shares), Jsonb(list(differences)), operator),
            )
        return TieOut(session=session, agrees=not differences, differences=tuple(differences))

    def newest(self, account: str) -> TieOut | None:
        """Return the newest answer of an account, None before its first."""
        rows = self._pool.rows(
            """select session, agrees, differences from ledger.tie_outs
                where account = %s order by id desc limit 1""",
            (account,),
        )
        return TieOut(**rows[0] | {"differences": tuple(rows[0]["differences"])}) if rows else None
