"""What ledger and book hold at an instant, and what the ledger decided in each of its epochs."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from simulation.stage import Stage

from trading_pipeline.adapters.guards.book import BookSnapshot

_FACTS = """
select (select coalesce(json_agg(o), '[]') from
         (select client_order_id, symbol, side, qty::text, filled_qty::text, state, purpose, trade_session,
                 reference_price::text as price, parent_id, repeat
            from ledger.orders where account = %(account)s) o) as orders,
       (select coalesce(json_agg(f), '[]') from
         (select f.execution_id, f.client_order_id, f.symbol, f.side, f.qty::text, (f.qty - f.told_qty)::text as untold,
                 f.price::text, f.kind, f.posted, f.seq, e.execution_id is not null as counts
            from ledger.fills f left join ledger.effective_fills e using (execution_id)
           where f.account = %(account)s) f) as fills,
       (select coalesce(json_agg(p), '[]') from
         (select symbol, qty::text from ledger.positions where account = %(account)s) p) as positions,
       (select row_to_json(b) from
         (select epoch, high_sequence, kill_switch, breaker, gate,
                 array(select symbol from ledger.blocked_symbols s where s.account = %(account)s) as blocked
            from ledger.books where account = %(account)s) b) as book,
       (select coalesce(json_agg(d order by d.id), '[]') from
         (select d.id, client_order_id, code, d.epoch, d.sequence, d.detail
            from ledger.risk_decisions d join ledger.orders o using (client_order_id)
           where o.account = %(account)s and d.id > %(decision)s and code = 'cleared') d) as clearances,
       (select coalesce(json_agg(d order by d.epoch), '[]') from
         (select * from simulation.decided where account = %(account)s and epoch > %(epoch)s) d) as decided,
       (select coalesce(json_agg(p), '[]') from
         (select parent_id, qty - unplanned as qty, interval_microseconds, grace_seconds, when_late,
                 (select json_agg(s order by s.number) from
                   (select s.number, s.due_at, e.at as decided_at, e.client_order_id
                      from ledger.slices s left join ledger.slice_events e
                           on e.parent_id = s.parent_id and e.number = s.number and e.kind = 'ordered'
                     where s.parent_id = p.parent_id) s) as slices
            from ledger.parents p where account = %(account)s) p) as parents
"""  # one statement: it is run after every step


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Decided:
    """What the ledger decided when it began an epoch, and what was in it by then."""

    epoch: int
    kill_switch: str
    breaker: str
    gate: str
    quiet_until: datetime | None
    limits: dict[str, str]
    blocked: frozenset[str]
    quarantined: dict[str, datetime | None]
    last_decision: int
    last_fill: int

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Decided":
        """Read a row that the stage's trigger wrote."""
        book = row["book"]
        return cls(
            epoch=row["epoch"],
            **{name: book[name] for name in ("kill_switch", "breaker", "gate", "limits")},
            quiet_until=_instant(book["quiet_until"]),
            blocked=frozenset(row["blocked"]),
            quarantined={symbol: _instant(until) for symbol, until in row["quarantined"].items()},
            last_decision=row["last_decision"],
            last_fill=row["last_fill"],
        )

    def limit(self, name: str) -> Decimal:
        """Return one limit, in its own unit."""
        return Decimal(self.limits[name])

    def why_reducing(self, latest: datetime) -> str:
        """Return what lets only reducing orders pass whatever a clock says that never told more than `latest`."""
        if self.breaker == "tripped":
            return "the breaker is tripped"
        if self.breaker == "quiet_period" and self.quiet_until is not None and self.quiet_until > latest:
            return "the breaker is in its quiet period"
        return "the gate is closed" if self.gate == "closed" else ""

    def why_shut(self, symbol: str, latest: datetime) -> str:
        """Return what lets nothing of a symbol pass but a flatten, in the same way."""
        if self.kill_switch == "engaged":
            return "the kill switch is engaged"
        if symbol in self.blocked:
            return f"{symbol} is blocked"
        until = self.quarantined.get(symbol)
        held = symbol in self.quarantined and (until is None or until > latest)
        return f"{symbol} is in quarantine" if held else ""


class Facts:
    """Ledger and book as committed at this instant; clearances and epochs only those behind the ones named."""

    def __init__(
        self, stage: Stage, account: str, book: BookSnapshot | None, *, decision: int = 0, epoch: int = 0
    ) -> None:
        row = stage.admin.execute(_FACTS, {"account": account, "decision": decision, "epoch": epoch}).fetchone()
        self.orders = {one["client_order_id"]: _exact(one) for one in row["orders"]}
        self.fills = [_exact(one) for one in row["fills"]]
        self.positions = {one["symbol"]: Decimal(one["qty"]) for one in row["positions"]}
        self.book = row["book"]
        self.clearances = row["clearances"]
        self.decided = [Decided.of(one) for one in row["decided"]]
        self.parents = {one["parent_id"]: one for one in row["parents"]}
        current = book is not None and (
            book.epoch == self.book["epoch"] and book.sequence >= self.book["high_sequence"]
        )
        self.snapshot = book if current else None
        """The book, when it is one that would clear anything."""


def _exact(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: Decimal(row[name]) for name in ("qty", "filled_qty", "untold", "price") if name in row}


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
