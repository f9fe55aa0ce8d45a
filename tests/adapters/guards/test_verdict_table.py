"""The table of verdicts for people says what the code does."""

import re
from pathlib import Path

from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.limits import LIMIT_NAMES, RiskLimits

TESTS = Path(__file__).parent
ROWS = [
    [cell.strip(" `") for cell in line.strip("|").split("|")]
    for line in (TESTS.parents[2] / "docs" / "verdicts.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]


def test_table_lists_every_code_once_in_the_order_of_the_checks() -> None:
    """A code that nobody explained is one that nobody can act on."""
    assert [code.value for code in VerdictCode] == [row[0] for row in ROWS]


def test_table_names_every_limit_with_its_default() -> None:
    """What the table calls the default is the default."""
    defaults = RiskLimits().as_text()
    named = {row[2]: row[3] for row in ROWS if row[2]}
    assert {name: defaults[name] for name in LIMIT_NAMES} == named


def test_every_row_names_a_test_that_exists() -> None:
    """The test that shows the verdict is there under that name."""
    for row in ROWS:
        path, _, name = row[4].partition("::")
        text = (TESTS / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", text, flags=re.MULTILINE), row[4]
