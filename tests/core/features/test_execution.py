"""How many threads compute."""

import os

import pytest

from trading_pipeline.core.features.execution import available_cores


@pytest.mark.parametrize(("told", "allowed"), [("1", 1), ("", None), ("many", None), ("0", 1), ("999999", None)])
def test_fewer_threads_than_cores_may_be_asked_for(
    monkeypatch: pytest.MonkeyPatch, told: str, allowed: int | None
) -> None:
    """A container may have more cores in sight than its limit lets it use; what is no number says nothing."""
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert (allowed or len(os.sched_getaffinity(0))) == available_cores()
