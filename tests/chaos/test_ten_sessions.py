"""Ten sessions of a paper account left alone, with faults drawn for every step, and processes killed whatever they do.

Every evening ties out, and no person comes.
"""

from pathlib import Path

import pytest
from support.paper.run import Day, PaperRun, paper_run

SESSIONS = 10


@pytest.mark.parametrize("killing", [False, True], ids=["under faults", "under faults and kill -9"])
def test_ten_sessions_tie_out_every_day(tmp_path: Path, database_url: str, redis_url: str, *, killing: bool) -> None:
    """Each is traded or says why not; at most one accepted order an intent."""
    with paper_run(tmp_path, database_url, redis_url, seed=1, killing=killing) as run:
        days = run.trade(SESSIONS)
        _judge(run, days)
    assert any(day.mishaps for day in days)
    assert killing is any(day.kills for day in days)


def _judge(run: PaperRun, days: list[Day]) -> None:
    for day in days:
        assert (True, ()) == (day.tied_out, day.differences), day.row()
        assert () == day.unexplained, day.row()
        assert day.outcome, day.row()
        assert {1} >= set(day.accepted.values()), day.row()
    assert {1} == set(run.accepted().values())
    assert [] == run.strangers() == run.untold()
