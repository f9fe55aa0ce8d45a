"""Jobs: the session's asset job, training, and what an operator can do."""

from trading_pipeline.jobs.operator import OPERATOR_JOBS
from trading_pipeline.jobs.sessions import (
    DAILY_SESSION,
    HISTORY,
    REPORTS,
    SESSION_FEATURES,
    SUBMIT_ORDERS,
    TRADE_SESSION,
    TRAIN_MODEL,
)

ASSET_JOBS = (DAILY_SESSION, HISTORY, REPORTS, SESSION_FEATURES, SUBMIT_ORDERS, TRADE_SESSION, TRAIN_MODEL)

__all__ = [
    "ASSET_JOBS",
    "DAILY_SESSION",
    "HISTORY",
    "OPERATOR_JOBS",
    "REPORTS",
    "SESSION_FEATURES",
    "SUBMIT_ORDERS",
    "TRADE_SESSION",
    "TRAIN_MODEL",
]
