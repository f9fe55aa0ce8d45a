"""Jobs: the session's asset job, training, and what an operator can do."""

from trading_pipeline.jobs.features import FEATURES_CELERY, FEATURES_SHARDED
from trading_pipeline.jobs.operator import OPERATOR_JOBS
from trading_pipeline.jobs.pre_open import pre_open_checks
from trading_pipeline.jobs.sessions import (
    COMPARE_RESTATED,
    DAILY_SESSION,
    HISTORY,
    REPORTS,
    SESSION_FEATURES,
    SUBMIT_ORDERS,
    TRADE_SESSION,
    TRAIN_MODEL,
)
from trading_pipeline.jobs.verification import verify_book

ASSET_JOBS = (
    COMPARE_RESTATED,
    DAILY_SESSION,
    FEATURES_CELERY,
    FEATURES_SHARDED,
    HISTORY,
    REPORTS,
    SESSION_FEATURES,
    SUBMIT_ORDERS,
    TRADE_SESSION,
    TRAIN_MODEL,
)
CHECK_JOBS = (pre_open_checks, verify_book)

__all__ = [
    "ASSET_JOBS",
    "CHECK_JOBS",
    "COMPARE_RESTATED",
    "DAILY_SESSION",
    "FEATURES_CELERY",
    "FEATURES_SHARDED",
    "HISTORY",
    "OPERATOR_JOBS",
    "REPORTS",
    "SESSION_FEATURES",
    "SUBMIT_ORDERS",
    "TRADE_SESSION",
    "TRAIN_MODEL",
]
