"""Dividing sessions into training and validation."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.labels import LABEL_HORIZON
from trading_pipeline.core.training import split_sessions
from trading_pipeline.errors import ModelError

DAYS = [date(2024, 1, 1) + timedelta(days=day) for day in range(100)]


@given(count=st.integers(4, 100), validation=st.integers(1, 97))
def test_no_training_label_is_known_after_validation_begins(count: int, validation: int) -> None:
    """Validation is the end, training all before the gap, and the gap is as wide as a label reaches."""
    validation = min(validation, count - LABEL_HORIZON - 1)
    split = split_sessions(DAYS[:count], validation=validation)
    assert tuple(DAYS[count - validation : count]) == split.validation
    assert tuple(DAYS[: count - validation - LABEL_HORIZON]) == split.training


def test_order_and_repeats_of_the_input_do_not_matter() -> None:
    """Sessions are a set."""
    shuffled = [*DAYS[50:60], *DAYS[40:55]]
    assert split_sessions(DAYS[40:60], validation=5) == split_sessions(shuffled, validation=5)


def test_too_few_sessions_are_refused() -> None:
    """The message says how many are needed."""
    with pytest.raises(ModelError, match="at least 13") as caught:
        split_sessions(DAYS[:12], validation=10)
    assert {"sessions": 12, "needed": 13} == caught.value.fields
