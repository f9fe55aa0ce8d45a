"""Truth about the risk book: epoch, highest sequence seen, halts, gate, limits, restricted symbols, and who did it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from trading_pipeline.adapters.store.ledger.records import BookRecord
from trading_pipeline.adapters.store.postgres import Pool
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch, OperatorAction
from trading_pipeline.core.risk.limits import LimitChange, LimitSet, RiskLimits, limit_as_text
from trading_pipeline.errors import OperatorError

_SELECT = """
select *, clock_timestamp() as read_at
  from ledger.books where account = %(account)s
"""

# Milliseconds since 1970, or one more than the last: a ledger restored from a backup never gives an epoch that a book
# may already have from it other contents.
_NEXT_EPOCH = "greatest(epoch + 1, floor(extract(epoch from clock_timestamp()) * 1000)::bigint)"
_BEGIN_EPOCH = f"""
update ledger.books b
   set epoch = coming.epoch, rebuilt_epoch = coming.epoch, limits = %(limits)s, limit_overrides = %(limit_overrides)s,
       gate = %(gate)s, gate_reason = %(gate_reason)s, updated_at = now()
  from (select {_NEXT_EPOCH} as epoch from ledger.books where account = %(account)s) coming
 where account = %(account)s returning b.*, clock_timestamp() as read_at
"""  # noqa: S608 - the expression is ours

_SAW_BOOK = """
update ledger.books
   set confirmed_epoch = greatest(confirmed_epoch, %(epoch)s),
       high_sequence = case epoch when %(epoch)s then greatest(high_sequence, %(sequence)s) else high_sequence end
 where account = %(account)s
"""


class Books:
    """Statements about `ledger.books` and its audit trail. An action and its audit row commit together."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def get(self, account: str) -> BookRecord:
        """Return what the ledger knows of the account's book; epoch 0 when it was never initialised."""
        rows = self._pool.rows(_SELECT, {"account": account})
        return _record(rows[0]) if rows else BookRecord(account=account)

    def begin_epoch(
        self,
        account: str,
        *,
        action: OperatorAction,
        verb: str,
        only_first: bool,
        gate: Gate,
        gate_reason: str,
        limits: RiskLimits | None = None,
    ) -> BookRecord:
        """Start a new epoch and return it; halts are kept as they are, and so are the limits of a book that had some.

        Every book of an earlier epoch is stale from this commit on.

        Args:
            account: whose book.
            action: who and why.
            verb: what the audit trail calls it.
            only_first: refuse an account that had a book; otherwise refuse one that had none.
            gate: whether ledger and broker were seen to agree.
            gate_reason: how that was seen, or what is in the way.
            limits: what a first book gets.

        Raises:
            OperatorError: `only_first` and the account had a book before, or not `only_first` and it had none.
        """
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
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
            first = LimitSet(limits=limits or RiskLimits()) if only_first else present.limit_set
            row = connection.execute(
                _BEGIN_EPOCH,
                {"account": account, "gate": gate.value, "gate_reason": gate_reason, **limit_columns(first)},
            ).fetchone()
            if row is None:
                raise OperatorError(f"account {account} vanished from the ledger", account=account)
            detail = {"epoch": row["epoch"], "gate": gate.value, "gate_reason": gate_reason}
            _audit(connection, account, verb, action, detail | {"limits": first.limits.as_text()})
            if only_first:
                for name, text in first.limits.as_text().items():
                    change = LimitChange.from_text(name, text)
                    log_limit_change_in(connection, account, change, None, action)
        return _record(row)

    def saw_book(self, account: str, epoch: int, sequence: int) -> None:
        """Remember that the book was in this epoch, and the highest sequence number it has shown in the newest one."""
        with self._pool.connection() as connection:
            connection.execute(_SAW_BOOK, {"account": account, "epoch": epoch, "sequence": sequence})

    def set_kill_switch(self, account: str, state: KillSwitch, action: OperatorAction) -> BookRecord:
        """Engage or disengage the kill switch.

        Raises:
            OperatorError: it is in that state already.
        """
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
            if present.kill_switch is state:
                raise OperatorError(f"the kill switch of {account} is {state} already", account=account)
            verb = "engage_kill_switch" if state is KillSwitch.ENGAGED else "disengage_kill_switch"
            reason = f"{action.operator}: {action.reason}" if state is KillSwitch.ENGAGED else ""
            return change_book_in(connection, present, verb, action, kill_switch=state.value, kill_switch_reason=reason)

    def trip_breaker(self, account: str, reason: str, action: OperatorAction) -> BookRecord:
        """Trip the breaker; tripping a tripped breaker keeps reason and epoch, and adds only an audit row."""
        verb, tripped = "trip_circuit_breaker", Breaker.TRIPPED.value
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
            if present.breaker is Breaker.TRIPPED:
                _audit(connection, account, verb, action, {"breaker": tripped, "kept": present.breaker_reason})
                return present
            return change_book_in(
                connection, present, verb, action, breaker=tripped, breaker_reason=reason, quiet_until=None
            )

    def reset_breaker(self, account: str, action: OperatorAction) -> BookRecord:
        """Move a tripped breaker to its quiet period.

        Raises:
            OperatorError: the breaker is not tripped.
        """
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
            if present.breaker is not Breaker.TRIPPED:
                raise OperatorError(
                    f"the breaker of {account} is {present.breaker}: only a tripped one can be reset", account=account
                )
            connection.execute(
                """update ledger.books
                      set quiet_until = clock_timestamp() + make_interval(secs => %s) where account = %s""",
                (present.limits.quiet_period_seconds, account),
            )
            return change_book_in(
                connection, present, "reset_circuit_breaker", action, breaker=Breaker.QUIET_PERIOD.value
            )

    def set_limits(self, account: str, changes: Sequence[LimitChange], action: OperatorAction) -> BookRecord:
        """Change limits; each change gets a row of its own that says from what to what, and until when.

        Raises:
            OperatorError: nothing is to be changed, or a change has expired already.
        """
        if not changes:
            raise OperatorError("no limit is to be changed: each has this value already", account=account)
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
            limits = present.limit_set
            for change in changes:
                if change.until is not None and change.until <= present.read_at:
                    raise OperatorError(f"the change of {change.limit} would have expired at {change.until}")
                before = limits.effective(present.read_at, change.symbol).value(change.limit)
                log_limit_change_in(connection, account, change, limit_as_text(before), action)
                limits = limits.changed(change)
            detail = {"changes": [change_text(one) for one in changes]}
            return change_book_in(
                connection, present, "set_risk_limits", action, detail=detail, **limit_columns(limits)
            )

    def limit_changes(self, account: str, limit: int = 50) -> list[DictRow]:
        """Return the changes of limits, newest first."""
        with self._pool.connection() as connection:
            return connection.execute(
                """select at, limit_name, symbol, from_value, to_value, expires_at, operator, reason
                     from ledger.limit_changes where account = %s order by id desc limit %s""",
                (account, limit),
            ).fetchall()

    def set_gate(self, account: str, gate: Gate, action: OperatorAction) -> BookRecord:
        """Open or close the reconciliation gate.

        Raises:
            OperatorError: it is in that state already.
        """
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
            if present.gate is gate:
                raise OperatorError(f"the reconciliation gate of {account} is {gate} already", account=account)
            verb = "open_gate" if gate is Gate.OPEN else "close_gate"
            reason = f"{action.operator}: {action.reason}"
            return change_book_in(connection, present, verb, action, gate=gate.value, gate_reason=reason)

    def quarantine(self, account: str, symbol: str, until: datetime | None, action: OperatorAction) -> BookRecord:
        """Keep a symbol from trading until an instant, or until it is released; only a flatten still clears for it."""
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
            connection.execute(
                """insert into ledger.quarantined_symbols (account, symbol, reason, until) values (%s, %s, %s, %s)
                   on conflict (account, symbol) do update
                      set reason = excluded.reason, until = excluded.until, at = now()""",
                (account, symbol, action.reason, until),
            )
            detail = {"symbol": symbol, "until": None if until is None else until.isoformat()}
            return change_book_in(connection, present, "quarantine_symbol", action, detail=detail)

    def release(self, account: str, symbol: str, action: OperatorAction) -> BookRecord:
        """End the quarantine of a symbol.

        Raises:
            OperatorError: it is not in quarantine.
        """
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
            gone = connection.execute(
                """delete from ledger.quarantined_symbols where account = %s and symbol = %s
                   returning until is null or until > clock_timestamp() as held""",
                (account, symbol),
            ).fetchone()
            if gone is None or not gone["held"]:
                raise OperatorError(f"{symbol} is not in quarantine", account=account, symbol=symbol)
            return change_book_in(connection, present, "release_symbol", action, detail={"symbol": symbol})

    def quarantined(self, account: str) -> dict[str, datetime | None]:
        """Return the symbols in quarantine with the end of it; None for no end."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                """select symbol, until from ledger.quarantined_symbols
                    where account = %s and (until is null or until > clock_timestamp()) order by symbol""",
                (account,),
            ).fetchall()
        return {row["symbol"]: row["until"] for row in rows}

    def quarantined_because(self, account: str, beginning: str) -> list[str]:
        """Return the symbols in quarantine without an end whose reason begins like this."""
        rows = self._pool.rows(
            """select symbol from ledger.quarantined_symbols
                where account = %s and until is null and starts_with(reason, %s) order by symbol""",
            (account, beginning),
        )
        return [row["symbol"] for row in rows]

    def record_action(self, account: str, verb: str, action: OperatorAction, detail: Mapping[str, Any]) -> None:
        """Write an audit row for an action that changes orders rather than the book."""
        with self._pool.connection() as connection:
            _audit(connection, account, verb, action, detail)

    def block(self, account: str, symbol: str, action: OperatorAction) -> BookRecord:
        """Keep a symbol from trading; only a flatten still clears for it."""
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
            connection.execute(
                """insert into ledger.blocked_symbols (account, symbol, reason) values (%s, %s, %s)
                   on conflict (account, symbol) do update set reason = excluded.reason, at = now()""",
                (account, symbol, action.reason),
            )
            return change_book_in(connection, present, "block_symbol", action, detail={"symbol": symbol})

    def unblock(self, account: str, symbol: str, action: OperatorAction) -> BookRecord:
        """Let a symbol trade again.

        Raises:
            OperatorError: it is not blocked.
        """
        with self._pool.connection() as connection:
            present = locked_book_in(connection, account)
            gone = connection.execute(
                "delete from ledger.blocked_symbols where account = %s and symbol = %s returning symbol",
                (account, symbol),
            ).fetchone()
            if gone is None:
                raise OperatorError(f"{symbol} is not blocked", account=account, symbol=symbol)
            return change_book_in(connection, present, "unblock_symbol", action, detail={"symbol": symbol})

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


def locked_book_in(connection: Connection[DictRow], account: str) -> BookRecord:
    """Return the account's book, held by the caller's transaction."""
    connection.execute("insert into ledger.books (account) values (%s) on conflict do nothing", (account,))
    row = connection.execute(_SELECT + " for update", {"account": account}).fetchone()
    return BookRecord(account=account) if row is None else _record(row)


def change_book_in(
    connection: Connection[DictRow],
    present: BookRecord,
    verb: str,
    action: OperatorAction,
    detail: Mapping[str, Any] | None = None,
    **columns: Any,
) -> BookRecord:
    """Change the account's book and write who did it, inside a transaction that holds it; a new epoch begins."""
    # Each change starts an epoch: a book that did not follow is stale from this commit on.
    epoch = f"epoch = case epoch when 0 then 0 else {_NEXT_EPOCH} end"
    assignments = ", ".join([epoch, *(f"{name} = %({name})s" for name in columns)])
    row = connection.execute(
        f"update ledger.books set {assignments}, updated_at = now() where account = %(account)s"  # noqa: S608 - names are ours
        " returning *, clock_timestamp() as read_at".encode(),
        {**columns, "account": present.account},
    ).fetchone()
    _audit(connection, present.account, verb, action, columns if detail is None else detail)
    if row is None:
        raise OperatorError(f"account {present.account} vanished from the ledger", account=present.account)
    return replace(_record(row), follows=present.epoch)


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
    if breaker is Breaker.QUIET_PERIOD and row["quiet_until"] <= row["read_at"]:
        breaker = Breaker.OPEN
    limit_set = LimitSet(
        limits=RiskLimits.from_text(row["limits"]), changes=tuple(_change_of(one) for one in row["limit_overrides"])
    ).in_force(row["read_at"])
    return BookRecord(
        account=row["account"],
        epoch=row["epoch"],
        follows=row["epoch"],
        confirmed_epoch=row["confirmed_epoch"],
        high_sequence=row["high_sequence"],
        kill_switch=KillSwitch(row["kill_switch"]),
        breaker=breaker,
        kill_switch_reason=row["kill_switch_reason"],
        breaker_reason=row["breaker_reason"],
        quiet_until=row["quiet_until"] if breaker is Breaker.QUIET_PERIOD else None,
        gate=Gate(row["gate"]),
        gate_reason=row["gate_reason"],
        limits=limit_set.effective(row["read_at"]),
        limit_set=limit_set,
        read_at=row["read_at"],
    )


def limit_columns(limits: LimitSet) -> dict[str, Jsonb]:
    """Return limits as the columns of the book."""
    overrides = [change_text(one) for one in limits.changes]
    return {"limits": Jsonb(limits.limits.as_text()), "limit_overrides": Jsonb(overrides)}


def change_text(change: LimitChange) -> dict[str, str | None]:
    """Return a change of a limit as JSON has it."""
    return {
        "limit": change.limit,
        "symbol": change.symbol,
        "value": change.text,
        "until": None if change.until is None else change.until.isoformat(),
    }


def _change_of(texts: Mapping[str, str | None]) -> LimitChange:
    until = texts["until"]
    return LimitChange.from_text(
        str(texts["limit"]),
        str(texts["value"]),
        symbol=texts["symbol"],
        until=None if until is None else datetime.fromisoformat(until),
    )


def log_limit_change_in(
    connection: Connection[DictRow], account: str, change: LimitChange, before: str | None, action: OperatorAction
) -> None:
    """Write a change of a limit to the log of changes, inside a transaction the caller holds."""
    connection.execute(
        """insert into ledger.limit_changes
             (account, limit_name, symbol, from_value, to_value, expires_at, operator, reason)
           values (%s, %s, %s, %s, %s, %s, %s, %s)""",
        (account, change.limit, change.symbol, before, change.text, change.until, action.operator, action.reason),
    )
