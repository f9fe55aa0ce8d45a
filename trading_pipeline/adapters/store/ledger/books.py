"""Truth about the risk book: epoch, highest sequence seen, halts, limits, and who changed them."""

from collections.abc import Mapping
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.ledger.records import BookRecord
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.risk.halts import Breaker, KillSwitch, OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.errors import OperatorError

_SELECT = """
select *, quiet_until is not null and quiet_until <= clock_timestamp() as quiet_over
  from ledger.books where account = %(account)s
"""


class Books:
    """Statements about `ledger.books` and its audit trail. An action and its audit row commit together."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def get(self, account: str) -> BookRecord:
        """Return what the ledger knows of the account's book; epoch 0 when it was never initialised."""
        with self._pool.connection() as connection:
            row = connection.execute(_SELECT, {"account": account}).fetchone()
        return BookRecord(account=account) if row is None else _record(row)

    def begin_epoch(
        self, account: str, *, limits: RiskLimits, action: OperatorAction, verb: str, only_first: bool
    ) -> BookRecord:
        """Start a new epoch with these limits and return it; halts are kept as they are.

        Every book of an earlier epoch is stale from this commit on.

        Raises:
            OperatorError: `only_first` and the account had a book before, or not `only_first` and it had none.
        """
        with self._pool.connection() as connection:
            present = _locked(connection, account)
            if only_first and present.epoch:
                raise OperatorError(
                    f"account {account} has a risk book (epoch {present.epoch}): use rebuild-risk-book to replace it",
                    account=account,
                    epoch=present.epoch,
                )
            if not only_first and not present.epoch:
                raise OperatorError(
                    f"account {account} never had a risk book: run initialize-risk-book first", account=account
                )
            row = connection.execute(
                """update ledger.books set epoch = epoch + 1, limits = %(limits)s, updated_at = now()
                   where account = %(account)s returning *, false as quiet_over""",
                {"account": account, "limits": Jsonb(limits.as_text())},
            ).fetchone()
            _audit(connection, account, verb, action, {"epoch": present.epoch + 1, "limits": limits.as_text()})
        if row is None:
            raise OperatorError(f"account {account} vanished from the ledger", account=account)
        return _record(row)

    def saw_sequence(self, account: str, epoch: int, sequence: int) -> None:
        """Remember the highest sequence number a book of this epoch has shown."""
        with self._pool.connection() as connection:
            connection.execute(
                """update ledger.books set high_sequence = greatest(high_sequence, %s)
                    where account = %s and epoch = %s""",
                (sequence, account, epoch),
            )

    def set_kill_switch(self, account: str, state: KillSwitch, action: OperatorAction) -> BookRecord:
        """Engage or disengage the kill switch.

        Raises:
            OperatorError: it is in that state already.
        """
        with self._pool.connection() as connection:
            present = _locked(connection, account)
            if present.kill_switch is state:
                raise OperatorError(f"the kill switch of {account} is {state} already", account=account)
            verb = "engage_kill_switch" if state is KillSwitch.ENGAGED else "disengage_kill_switch"
            reason = f"{action.operator}: {action.reason}" if state is KillSwitch.ENGAGED else ""
            return _change(connection, account, verb, action, kill_switch=state.value, kill_switch_reason=reason)

    def trip_breaker(self, account: str, reason: str, action: OperatorAction) -> BookRecord:
        """Trip the breaker; tripping a tripped breaker keeps the first reason and adds only an audit row."""
        with self._pool.connection() as connection:
            present = _locked(connection, account)
            kept = present.breaker_reason if present.breaker is Breaker.TRIPPED else reason
            return _change(
                connection,
                account,
                "trip_circuit_breaker",
                action,
                breaker=Breaker.TRIPPED.value,
                breaker_reason=kept,
                quiet_until=None,
            )

    def reset_breaker(self, account: str, action: OperatorAction) -> BookRecord:
        """Move a tripped breaker to its quiet period.

        Raises:
            OperatorError: the breaker is not tripped.
        """
        with self._pool.connection() as connection:
            present = _locked(connection, account)
            if present.breaker is not Breaker.TRIPPED:
                raise OperatorError(
                    f"the breaker of {account} is {present.breaker}: only a tripped one can be reset", account=account
                )
            connection.execute(
                """update ledger.books
                      set quiet_until = clock_timestamp() + make_interval(secs => %s) where account = %s""",
                (present.limits.quiet_period_seconds, account),
            )
            return _change(connection, account, "reset_circuit_breaker", action, breaker=Breaker.QUIET_PERIOD.value)

    def set_limits(self, account: str, limits: RiskLimits, action: OperatorAction) -> BookRecord:
        """Replace the limits; the audit row holds the old and the new ones."""
        with self._pool.connection() as connection:
            present = _locked(connection, account)
            detail = {"from": present.limits.as_text(), "to": limits.as_text()}
            return _change(
                connection, account, "set_risk_limits", action, detail=detail, limits=Jsonb(limits.as_text())
            )

    def record_action(self, account: str, verb: str, action: OperatorAction, detail: Mapping[str, Any]) -> None:
        """Write an audit row for an action that changes orders rather than the book."""
        with self._pool.connection() as connection:
            _audit(connection, account, verb, action, detail)

    def block(self, account: str, symbol: str, action: OperatorAction) -> BookRecord:
        """Keep a symbol from trading; only a flatten still clears for it."""
        with self._pool.connection() as connection:
            _locked(connection, account)
            connection.execute(
                """insert into ledger.blocked_symbols (account, symbol, reason) values (%s, %s, %s)
                   on conflict (account, symbol) do update set reason = excluded.reason, at = now()""",
                (account, symbol, action.reason),
            )
            return _change(connection, account, "block_symbol", action, detail={"symbol": symbol})

    def unblock(self, account: str, symbol: str, action: OperatorAction) -> BookRecord:
        """Let a symbol trade again.

        Raises:
            OperatorError: it is not blocked.
        """
        with self._pool.connection() as connection:
            _locked(connection, account)
            gone = connection.execute(
                "delete from ledger.blocked_symbols where account = %s and symbol = %s returning symbol",
                (account, symbol),
            ).fetchone()
            if gone is None:
                raise OperatorError(f"{symbol} is not blocked", account=account, symbol=symbol)
            return _change(connection, account, "unblock_symbol", action, detail={"symbol": symbol})

    def blocked(self, account: str) -> dict[str, str]:
        """Return the blocked symbols with their reasons."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "select symbol, reason from ledger.blocked_symbols where account = %s order by symbol", (account,)
            ).fetchall()
        return {row["symbol"]: row["reason"] for row in rows}

    def history(self, account: str, limit: int = 50) -> list[DictRow]:
        """Return operator actions, newest first."""
        with self._pool.connection() as connection:
            return connection.execute(
                """select at, action, operator, reason, detail from ledger.operator_actions
                    where account = %s order by id desc limit %s""",
                (account, limit),
            ).fetchall()


def _locked(connection: Connection[DictRow], account: str) -> BookRecord:
    connection.execute("insert into ledger.books (account) values (%s) on conflict do nothing", (account,))
    row = connection.execute(_SELECT + " for update", {"account": account}).fetchone()
    return BookRecord(account=account) if row is None else _record(row)


def _change(
    connection: Connection[DictRow],
    account: str,
    verb: str,
    action: OperatorAction,
    detail: Mapping[str, Any] | None = None,
    **columns: Any,
) -> BookRecord:
    # Each change starts an epoch: a book that did not follow is stale from this commit on.
    epoch = "epoch = case epoch when 0 then 0 else epoch + 1 end"
    assignments = ", ".join([epoch, *(f"{name} = %({name})s" for name in columns)])
    row = connection.execute(
        f"update ledger.books set {assignments}, updated_at = now() where account = %(account)s"  # noqa: S608 - names are ours
        " returning *, false as quiet_over".encode(),
        {**columns, "account": account},
    ).fetchone()
    _audit(connection, account, verb, action, detail or columns)
    if row is None:
        raise OperatorError(f"account {account} vanished from the ledger", account=account)
    return _record(row)


def _audit(
    connection: Connection[DictRow], account: str, verb: str, action: OperatorAction, detail: Mapping[str, Any]
) -> None:
    connection.execute(
        """insert into ledger.operator_actions (account, action, operator, reason, detail)
           values (%s, %s, %s, %s, %s)""",
        (account, verb, action.operator, action.reason, Jsonb(dict(detail))),
    )


def _record(row: DictRow) -> BookRecord:
    breaker = Breaker(row["breaker"])
    if breaker is Breaker.QUIET_PERIOD and row["quiet_over"]:
        breaker = Breaker.OPEN
    return BookRecord(
        account=row["account"],
        epoch=row["epoch"],
        high_sequence=row["high_sequence"],
        kill_switch=KillSwitch(row["kill_switch"]),
        breaker=breaker,
        kill_switch_reason=row["kill_switch_reason"],
        breaker_reason=row["breaker_reason"],
        quiet_until=row["quiet_until"] if breaker is Breaker.QUIET_PERIOD else None,
        limits=RiskLimits.from_text(row["limits"]),
    )
