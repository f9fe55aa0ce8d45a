"""The import contracts hold, and they would notice."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("trading_pipeline", "assets", "resources", "sensors")
SECOND_DOOR = "from trading_pipeline.adapters.broker.simulated import SimulatedExchange\n"
FORGED_CLEARANCE = "from trading_pipeline.core.risk.issuing import issue_clearance\n"
UPWARD = "import assets\n"


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    return subprocess.run(
        [*command, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the packages that a test may spoil."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.parquet"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_are_kept(copy: Path) -> None:
    """The tree as it is breaks none."""
    result = _lint(copy)
    assert 0 == result.returncode, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("assets/pnl.py", SECOND_DOOR, "Only resources and the command line open a broker BROKEN"),
        ("trading_pipeline/services/rebalance.py", FORGED_CLEARANCE, "Only the guard issues clearances BROKEN"),
        ("trading_pipeline/core/portfolio.py", UPWARD, "Imports go one way BROKEN"),
        ("trading_pipeline/services/status.py", "import dagster\n", "The domain knows no Dagster BROKEN"),
        ("trading_pipeline/core/pnl.py", "import redis\n", "The core does no I/O BROKEN"),
    ],
)
def test_a_broken_contract_is_reported(copy: Path, module: str, line: str, contract: str) -> None:
    """Each import that must not be is found and named."""
    spoiled = copy / module
    text = spoiled.read_text()
    end = text.index('"""\n', 3) + 4
    spoiled.write_text(text[:end] + line + text[end:])
    result = _lint(copy)
    assert 0 != result.returncode
    assert contract in result.stdout
