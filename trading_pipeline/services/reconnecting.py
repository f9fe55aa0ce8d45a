"""Trying again what fails for now, with growing waits, until it succeeds or somebody says stop."""

import threading

import structlog
import tenacity

from trading_pipeline.errors import TransientError

log = structlog.get_logger(__name__)


def retrying(what: str, stop: threading.Event, *, first_wait: float, longest_wait: float) -> tenacity.Retrying:
    """Repeat what raises TransientError; waits in seconds. After `stop` the last error is raised."""

    def say(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(what, attempt=state.attempt_number, reason=str(error))

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        wait=tenacity.wait_exponential_jitter(multiplier=first_wait, max=longest_wait, jitter=first_wait),
        stop=tenacity.stop_when_event_set(stop),
        sleep=tenacity.sleep_using_event(stop),
        before_sleep=say,
        reraise=True,
    )
