"""Divides sessions into training and validation so that no label is in both; it sees dates, not data."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from trading_pipeline.core.labels import LABEL_HORIZON
from trading_pipeline.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSplit:
    """Training sessions and the later validation sessions, each in order; purged ones are in neither."""

    training: tuple[date, ...]
    validation: tuple[date, ...]


def split_sessions(sessions: Collection[date], *, validation: int, purge: int = LABEL_HORIZON) -> SessionSplit:
    """Keep the last sessions for validation and leave a gap before them.

    Args:
        sessions: all that have labels.
        validation: how many at the end are for validation.
        purge: how many before those are left out, since their labels are returns of the validation's first sessions.

    Raises:
        ModelError: no session is left for training.
    """
    ordered = sorted(set(sessions))
    needed = validation + purge + 1
    if len(ordered) < needed:
        message = (
            f"{len(ordered)} sessions with labels are too few to train: {validation} for validation and {purge} "
            f"between leave none; load at least {needed} or shorten the validation"
        )
        raise ModelError(message, sessions=len(ordered), needed=needed)
    first = len(ordered) - validation
    return SessionSplit(training=tuple(ordered[: first - purge]), validation=tuple(ordered[first:]))
