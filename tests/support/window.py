"""The window in which a session's orders may be sent, and an instant in it."""

from datetime import UTC, datetime, timedelta

from trading_pipeline.core.submission_window import SubmissionWindow

WINDOW = SubmissionWindow(opens_before=timedelta(hours=6), ends_before=timedelta(minutes=5))
IN_TIME = datetime(2023, 9, 5, 9, 0, tzinfo=UTC)
