"""The runbook's table of differences says what the code says."""

from pathlib import Path

import pytest

from trading_pipeline.services.differences import Difference, DifferenceKind

RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
_, _, BEHIND = RUNBOOK.partition("| difference | it means | what to do |\n|---|---|---|\n")
ROWS = [[cell.strip(" |") for cell in line.split(" | ")] for line in BEHIND.partition("\n\n")[0].splitlines()]
VERBS = ("rebuild-risk-book", "reconcile", "`reports`", "kill switch", "submit the session again")
FOUND = [
    *(Difference(kind=kind, subject="x", ledger="1", book="2") for kind in DifferenceKind),
    Difference(kind=DifferenceKind.POSITION, subject="x", ledger="1", broker="2"),
]


@pytest.mark.parametrize("found", FOUND, ids=Difference.describe)
def test_every_difference_has_a_row_that_gives_the_advice_of_the_code(found: Difference) -> None:
    """A difference that nobody explained is one that nobody can act on; two advices are one too many."""
    rows = [row for row in ROWS if f"`{found.kind}`" in row[0]]
    if len(rows) > 1:
        rows = [row for row in rows if row[0].endswith("broker" if found.broker else "book")]
    ((_, _, told),) = rows
    advised = [verb for verb in VERBS if verb in found.what_to_do]
    assert advised
    assert advised == [verb for verb in advised if verb in told]
