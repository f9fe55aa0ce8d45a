"""The risk monitor while the exchange is open: looks, trips, and reports what an operator should see."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Self

import dagster as dg
import structlog

from assets.risk_status import RISK_STATUS, risk_metadata
from resources import TradingResource
from sensors.opening import opened_account
from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.watching import watch

REFRESH = timedelta(minutes=5)
"""How long, at most, a look is good for while nothing changes: not everything that can change shows in the ledger."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a tick leaves to the next: what it saw, when, and since when a server was away and why."""

    fingerprint: str = ""
    at: str = ""
    away_since: str = ""
    away_why: str = ""

    @classmethod
    def parse(cls, cursor: str | None) -> Self:
        """Read a cursor; none is a first tick."""
        return cls(**json.loads(cursor)) if cursor else cls()

    def dump(self) -> str:
        """Write the cursor."""
        return json.dumps(asdict(self))


def build_risk_monitor(trading: TradingResource, clock: Clock | None = None) -> dg.SensorDefinition:
    """Make the sensor of an account; `clock` says whether the exchange is open.

    While the exchange is shut nothing is opened, and a server that is away is a reason to skip, not a stack trace.
    """
    hours = clock or SystemClock()

    @dg.sensor(
        name="risk_monitor",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Every 30 seconds of the exchange session: trips the breaker when a rule is breached.",
    )
    def risk_monitor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = hours.now()
        if not _is_open(now):
            return dg.SkipReason(f"the exchange is closed at {now.isoformat()}: the monitor looks while it is open")
        seen = Seen.parse(context.cursor)
        try:
            with opened_account(trading) as account:
                return _look(account, seen, now)
        except TransientError as away:
            log.exception("the risk monitor could not look", reason=str(away))
            left = Seen(away_since=seen.away_since or now.isoformat(), away_why=str(away))
            return dg.SensorResult(skip_reason=f"the risk monitor could not look: {away}", cursor=left.dump())

    return risk_monitor


def _look(account: TradingAccount, seen: Seen, now: datetime) -> dg.SensorResult:
    if seen.away_since:
        _alert(account, seen.away_since, f"the risk monitor could not look until {now.isoformat()}: {seen.away_why}")
    fingerprint = _fingerprint(account)
    fresh = bool(seen.at) and now - datetime.fromisoformat(seen.at) < REFRESH
    if fingerprint == seen.fingerprint and fresh and not account.broker.real_time:
        return dg.SensorResult(skip_reason=f"nothing has changed since {seen.at}", cursor=seen.dump())
    assessment = watch(account)
    # Taken again: a trip is a change of its own, and no reason for another look.
    left = Seen(fingerprint=_fingerprint(account), at=now.isoformat())
    skipped: str | None = f"session {assessment.session}: no run to start"
    if assessment.unreachable:
        skipped = f"the risk monitor could not judge everything: {assessment.unreachable}"
        _alert(account, now.isoformat(), skipped)
        left = Seen()
    observation = dg.AssetObservation(asset_key=RISK_STATUS.key, metadata=risk_metadata(account, assessment))
    return dg.SensorResult(asset_events=[observation], skip_reason=skipped, cursor=left.dump())


def _fingerprint(account: TradingAccount) -> str:
    session = account.broker.current_session
    return f"{session}|{account.ledger.monitors.fingerprint(account.account)}"


def _alert(account: TradingAccount, since: str, message: str) -> None:
    account.ledger.alerts.record(
        key=f"monitor_away:{account.account}:{since}", kind="monitor_away", message=message, detail={"since": since}
    )


def _is_open(now: datetime) -> bool:
    calendar = xnys()
    today = now.astimezone(calendar.zone).date()
    return calendar.is_session(today) and calendar.open_at(today) <= now < calendar.close_at(today)
