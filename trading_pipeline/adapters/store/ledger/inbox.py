"""The inbox: what a stream of the broker told, kept before anybody looks at it."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from psycopg.rows import DictRow

from trading_pipeline.adapters.store.postgres import Pool

_RECEIVE = """
insert into ledger.inbox (account, digest, source, raw) values (%s, %s, %s, %s)
on conflict (account, digest) do update set copies = ledger.inbox.copies + 1
"""
_PENDING = """
select id, raw from ledger.inbox where account = %s and state = 'new' and id > %s order by id limit %s
"""
_SETTLE = """
update ledger.inbox set state = %s, reason = %s, settled_at = clock_timestamp() where id = %s and state = 'new'
"""
_REDRIVE = """
update ledger.inbox set state = 'new', settled_at = null where account = %s and state = 'dead' returning id
"""
_DEAD = """
select id, source, received_at, reason, raw from ledger.inbox where account = %s and state = 'dead' order by id
"""


class LetterState(StrEnum):
    """What became of a letter."""

    NEW = "new"
    APPLIED = "applied"
    IGNORED = "ignored"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One frame as it arrived."""

    id: int
    raw: bytes


class Inbox:
    """Statements about `ledger.inbox`. Letters are never changed; only what became of them is."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def receive(self, account: str, source: str, raw: bytes) -> None:
        """Keep a frame; one whose bytes were kept before is only counted."""
        with self._pool.connection() as connection:
            connection.execute(_RECEIVE, (account, hashlib.sha256(raw).digest(), source, raw))

    def pending(self, account: str, *, after: int = 0, limit: int = 1_000) -> list[Letter]:
        """Return the letters that wait to be applied with ids above `after`, in the order they arrived."""
        rows = self._pool.rows(_PENDING, (account, after, limit))
        return [Letter(id=row["id"], raw=bytes(row["raw"])) for row in rows]

    def settle(self, letters: Collection[tuple[int, LetterState, str]]) -> None:
        """Write down what became of letters, by id, with the reason; one that is settled stays as it is."""
        if not letters:
            return
        with self._pool.connection() as connection, connection.cursor() as cursor:
            cursor.executemany(_SETTLE, [(state.value, reason, number) for number, state, reason in letters])

    def redrive(self, account: str) -> int:
        """Let every dead letter be tried again and return how many there were."""
        with self._pool.connection() as connection:
            return len(connection.execute(_REDRIVE, (account,)).fetchall())

    def dead(self, account: str) -> list[DictRow]:
        """Return the dead letters with the reason of each, oldest first."""
        return self._pool.rows(_DEAD, (account,))
