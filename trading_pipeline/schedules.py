"""The schedules: once a session, after its midnight in New York; before the open, while it is open, after the close."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import NotASession
from trading_pipeline.jobs import DAILY_SESSION, SESSION_FEATURES
from trading_pipeline.partitions import EXCHANGE_TIME_ZONE

AROUND = timedelta(minutes=30)
"""How long before the open and after the close of a session the account is reconciled."""


@dg.schedule(
    job=SESSION_FEATURES,
    cron_schedule="0 4 * * *",
    execution_timezone=EXCHANGE_TIME_ZONE,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="At 04:00 New York: bars and features of the session before, so that they are there before the open.",
)
def features_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for yesterday's features, or say which closed day is skipped."""
    return _request(context, "features")


@dg.schedule(
    job=DAILY_SESSION,
    cron_schedule="30 4 * * *",
    execution_timezone=EXCHANGE_TIME_ZONE,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="At 04:30 New York: the session that closed the evening before, if there was one.",
)
def session_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for yesterday's session, or say which closed day is skipped."""
    return _request(context, "session")


@dg.schedule(
    job_name="reconcile",
    cron_schedule="*/5 * * * *",
    execution_timezone=EXCHANGE_TIME_ZONE,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every 5 minutes from half an hour before the open to half an hour after the close: reconciles.",
)
def reconcile_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a reconciliation, or say that the exchange is closed."""
    now, calendar = context.scheduled_execution_time, xnys()
    today = now.astimezone(ZoneInfo(EXCHANGE_TIME_ZONE)).date()
    if not calendar.is_session(today):
        return dg.SkipReason(f"{today} is no session of the exchange")
    if not calendar.open_at(today) - AROUND <= now <= calendar.close_at(today) + AROUND:
        return dg.SkipReason(f"the exchange is closed at {now.isoformat()}")
    asked = {"operator": "schedule", "reason": "every five minutes of the session"}
    return dg.RunRequest(run_key=f"reconcile:{now.isoformat()}", run_config={"ops": {"reconcile": {"config": asked}}})


@dg.schedule(
    job_name="close_session",
    cron_schedule="45 13,16 * * *",
    execution_timezone=EXCHANGE_TIME_ZONE,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="45 minutes after the close, at 16:45 New York or on half days at 13:45: sweep, cancels, tie-out.",
)
def tie_out_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the end of the session that has just closed, its tie-out among it, or say that there was none."""
    return _after_close(context, "close_session")


@dg.schedule(
    job_name="pre_open_checks",
    cron_schedule=["25 4 * * *", "0 9 * * *"],
    execution_timezone=EXCHANGE_TIME_ZONE,
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="At 04:25 New York, before the orders of the session, and at 09:00, before the open: the checks.",
)
def pre_open_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the checks before today's open, or say that the exchange does not open."""
    now = context.scheduled_execution_time
    today = now.astimezone(ZoneInfo(EXCHANGE_TIME_ZONE)).date()
    try:
        xnys().require(today)
    except NotASession as closed:
        return dg.SkipReason(closed.message)
    return dg.RunRequest(run_key=f"pre_open_checks:{now.isoformat()}")


def _after_close(context: dg.ScheduleEvaluationContext, job: str) -> dg.RunRequest | dg.SkipReason:
    """Ask for an operator's job within the hour after the close of today's session, whenever that is."""
    now, calendar = context.scheduled_execution_time, xnys()
    today = now.astimezone(ZoneInfo(EXCHANGE_TIME_ZONE)).date()
    if not calendar.is_session(today):
        return dg.SkipReason(f"{today} is no session of the exchange")
    closed = calendar.close_at(today)
    if not closed <= now < closed + timedelta(hours=1):
        return dg.SkipReason(f"{today} closes at {closed.astimezone(calendar.zone):%H:%M}: this tick is of other days")
    asked = {"operator": "schedule", "reason": "the session has closed"}
    return dg.RunRequest(run_key=f"{job}:{today}", run_config={"ops": {job: {"config": asked}}})


def _request(context: dg.ScheduleEvaluationContext, purpose: str) -> dg.RunRequest | dg.SkipReason:
    today = context.scheduled_execution_time.astimezone(ZoneInfo(EXCHANGE_TIME_ZONE)).date()
    try:
        session = xnys().require(today - timedelta(days=1))
    except NotASession as closed:
        return dg.SkipReason(closed.message)
    return dg.RunRequest(run_key=f"{purpose}:{session}", partition_key=session.isoformat())


ALL_SCHEDULES = (features_schedule, session_schedule, pre_open_schedule, reconcile_schedule, tie_out_schedule)
