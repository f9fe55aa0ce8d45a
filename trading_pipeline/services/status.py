"""The state of an account at a glance, and whether an operator must act."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from trading_pipeline.adapters.guards.book import BookSnapshot
from trading_pipeline.adapters.store.ledger import BookRecord, OrderRecord
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import TradingState
from trading_pipeline.errors import TradingHalted, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.equity import AMOUNTS
from trading_pipeline.services.monitor import Assessment, assess
from trading_pipeline.services.reports import book_row, order_row
from trading_pipeline.services.session_story import last_stories, unexplained
from trading_pipeline.services.tie_out import kept_back

Rows = list[dict[str, Any]]
LAST_SESSIONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What `trading-pipeline status` prints, section by section.

    `healthy` means: orders could clear now, ledger, book and broker agree, and no rule of the monitor is breached.
    """

    healthy: bool
    trading: Rows
    limits: Rows
    distances: Rows
    differences: Rows
    exposure: Rows
    open_orders: Rows
    sessions: Rows
    stories: Rows
    actions: Rows
    alerts: Rows

    def sections(self) -> list[tuple[str, Rows]]:
        """Return title and rows of every section in reading order."""
        return [
            ("trading", self.trading),
            ("limits", self.limits),
            ("distance to what trips the breaker", self.distances),
            ("differences of ledger, book and broker", self.differences),
            ("exposure", self.exposure),
            ("open orders", self.open_orders),
            ("last sessions", self.sessions),
            ("sessions traded or explained", self.stories),
            ("last operator actions", self.actions),
            ("last alerts", self.alerts),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)


def read_status(account: TradingAccount) -> Status:
    """Read ledger, book and broker. A book that cannot be read is a state, not an error."""
    record = account.ledger.books.get(account.account)
    row = book_row(record)
    snapshot, problem = _snapshot(account, record)
    state = _state(snapshot)
    exposure, live = _exposure(account, snapshot), account.ledger.orders.live(account.account)
    apart = [row["symbol"] for row in exposure if not row["agree"]]
    assessment = assess(account)
    differences = assessment.verification.rows() if assessment.verification is not None else []
    tied, waits = account.ledger.tie_outs.newest(account.account), kept_back(account)
    unconfirmed = [one for one in live if one.state is OrderState.SUBMITTED_UNCONFIRMED]
    untold = [str(one.session) for one in unexplained(account)]
    problems = [
        problem,
        f"neither traded nor explained: {', '.join(untold)}" if untold else "",
        "" if waits is None else waits.message,
        _lost_answers(unconfirmed),
        *_problems(apart, differences, assessment),
    ]
    limits = record.limits.as_text()
    trading = {
        "account": account.account,
        "broker": account.broker.name,
        "broker_session": account.broker.current_session,
        "state": state.value,
        "why": ". ".join(one for one in problems if one),
        "last_start": account.ledger.externals.last_start(account.account) or "",
        "tie_out": "" if tied is None else tied.describe(),
        "submitted_unconfirmed": len(unconfirmed) or "",
        "dead_letters": len(account.ledger.inbox.dead(account.account)) or "",
        "monitored_session": assessment.session,
        "equity": assessment.equity,
        "equity_peak": account.ledger.monitors.get(account.account).peak_equity,
        **{name: value for name, value in row.items() if name not in limits and name != "account"},
    }
    return Status(
        healthy=state is TradingState.ACTIVE and not (apart or differences or assessment.breached or waits or untold),
        trading=[{"what": name, "value": str(value)} for name, value in trading.items() if value not in ("", None)],
        limits=_limits(limits, snapshot),
        distances=assessment.rows(),
        differences=differences,
        exposure=exposure,
        open_orders=[order_row(order) for order in live],
        sessions=_sessions(account),
        stories=[one.row() for one in last_stories(account, LAST_SESSIONS)],
        actions=[_plain(action) for action in account.ledger.books.history(account.account, LAST_SESSIONS)],
        alerts=[_plain(alert) for alert in account.ledger.alerts.latest(LAST_SESSIONS)],
    )


def _lost_answers(unconfirmed: Sequence[OrderRecord]) -> str:
    if not unconfirmed:
        return ""
    named = ", ".join(f"{one.client_order_id} ({one.intent.symbol})" for one in unconfirmed)
    return f"the broker's answer to {len(unconfirmed)} order(s) was lost, their exposure is held until a sweep: {named}"


def _problems(apart: Sequence[str], differences: Rows, assessment: Assessment) -> list[str]:
    """Say what keeps the account from being healthy, beside its halts."""
    return [
        *([f"ledger, book and broker disagree about {', '.join(apart)}"] if apart else []),
        *([f"{len(differences)} difference(s) of ledger, book and broker"] if differences else []),
        *(one.describe() for one in assessment.breached),
        *([f"not everything could be judged: {assessment.unreachable}"] if assessment.unreachable else []),
    ]


def trading_state(account: TradingAccount) -> tuple[TradingState, str]:
    """Return what the account may do now and, when that is not everything, why. The guard's script derives both."""
    snapshot, why = _snapshot(account, account.ledger.books.get(account.account))
    return _state(snapshot), why


def _state(snapshot: BookSnapshot | None) -> TradingState:
    """Return what the guard derived; without a book there is nothing to derive it from."""
    return TradingState.HALTED if snapshot is None else snapshot.state


def _snapshot(account: TradingAccount, record: BookRecord) -> tuple[BookSnapshot | None, str]:
    try:
        snapshot = account.guard.snapshot(epoch=record.epoch, min_sequence=record.high_sequence)
    except (TransientError, TradingHalted) as failure:
        return None, failure.message
    if snapshot is None:
        return None, "the risk book is missing: run `trading-pipeline initialize-risk-book` or `rebuild-risk-book`"
    return snapshot, _why(snapshot)


def _why(snapshot: BookSnapshot) -> str:
    reasons = {
        VerdictCode.KILL_SWITCH_ENGAGED: snapshot.kill_switch_reason,
        VerdictCode.BREAKER_TRIPPED: snapshot.breaker_reason,
        VerdictCode.QUIET_PERIOD: f"until {snapshot.quiet_until.isoformat()}" if snapshot.quiet_until else "",
        VerdictCode.GATE_CLOSED: snapshot.gate_reason,
        VerdictCode.BOOK_STALE: "the book is stale: run `reconcile`, and if it stays so `rebuild-risk-book`",
    }
    if snapshot.cause is None:
        return ""
    reason = reasons.get(snapshot.cause, "")
    return f"{snapshot.cause}: {reason}" if reason else str(snapshot.cause)


def _limits(limits: dict[str, str], snapshot: BookSnapshot | None) -> Rows:
    used = {} if snapshot is None else {"max_gross_notional": f"{snapshot.gross_notional:.2f}"}
    return [{"limit": name, "value": value, "used": used.get(name, "")} for name, value in limits.items()]


def _exposure(account: TradingAccount, snapshot: BookSnapshot | None) -> Rows:
    broker = account.broker.positions()
    ledger = account.ledger.orders.exposure(account.account)
    book = snapshot.positions if snapshot is not None else None
    rows: Rows = []
    for symbol in sorted({*ledger, *broker, *(book or {})}):
        held = ledger[symbol].position if symbol in ledger else Decimal(0)
        in_book = held if book is None else Decimal(book.get(symbol, 0))
        rows.append(
            {
                "symbol": symbol,
                "position": str(held),
                "pending": str(ledger[symbol].pending if symbol in ledger else 0),
                "in_the_book": str(in_book) if book is not None else "unknown",
                "at_the_broker": str(broker.get(symbol, Decimal(0))),
                "agree": held == in_book == broker.get(symbol, Decimal(0)),
            }
        )
    return rows


def _sessions(account: TradingAccount) -> Rows:
    return [
        {name: str(row[name]) for name in ("session", *AMOUNTS)}
        for row in account.ledger.fills.session_pnl(account.account)[-LAST_SESSIONS:]
    ]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) for name, value in row.items() if name not in ("detail", "key")}
