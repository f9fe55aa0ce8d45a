"""The command line against real servers: tables, JSON, and exit codes that scripts can rely on."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trading_pipeline.embedded import stop_embedded

Run = Callable[..., subprocess.CompletedProcess[str]]
WHO = ("--operator", "ada", "--reason", "the reason a test has to act")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A pipeline's folder; its servers stop afterwards."""
    folder = tmp_path_factory.mktemp("cli")
    yield folder / ".pipeline"
    stop_embedded(folder / ".pipeline")


@pytest.fixture
def run(home: Path) -> Run:
    """Run a command in an empty folder."""

    def _run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        inherited = {
            name: os.environ[name] for name in ("PATH", "LANG", "HOME", "NUMBA_CACHE_DIR") if name in os.environ
        }
        return subprocess.run(
            [sys.executable, "-c", "from trading_pipeline.cli import main; main()", *arguments],
            cwd=home.parent,
            env=inherited | {"PIPELINE_HOME": str(home)} | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return _run


def test_an_operator_halts_and_restarts_trading(run: Run) -> None:
    """Initialise, engage, look, disengage; every wrong move is refused with code 1 and a sentence."""
    fresh = run("status")
    assert 1 == fresh.returncode
    assert "initialize-risk-book" in fresh.stdout.replace("\n", "")

    assert 0 == run("initialize-risk-book", *WHO).returncode
    again = run("initialize-risk-book", *WHO)
    assert (1, True) == (again.returncode, "rebuild-risk-book" in again.stderr)

    assert 0 == run("status").returncode
    agreed = run("verify-book", "--json")
    assert (0, []) == (agreed.returncode, json.loads(agreed.stdout))
    engaged = run("engage-kill-switch", *WHO, "--json")
    assert "engaged" == json.loads(engaged.stdout)[0]["kill_switch"]
    halted = run("status", "--json")
    assert 1 == halted.returncode
    assert {"what": "state", "value": "halted"} in json.loads(halted.stdout)[0]["trading"]

    assert 1 == run("engage-kill-switch", *WHO).returncode
    assert 0 == run("disengage-kill-switch", "--operator", "bob", "--reason", "the drill is over now").returncode
    ended = run("status", "--json")
    told = [[row[name] for name in ("action", "operator", "reason")] for row in json.loads(ended.stdout)[0]["actions"]]
    assert (0, [["disengage_kill_switch", "bob", "the drill is over now"], ["engage_kill_switch", WHO[1], WHO[3]]]) == (
        ended.returncode,
        told[:2],
    )


def test_the_ledger_is_verified_against_a_head_printed_earlier(run: Run) -> None:
    """Sound with code 0; a head that is not in the chain with 1; one that is none with 3."""
    run("initialize-risk-book", *WHO)  # there already, where the folder's other tests ran before
    sound = run("verify-ledger", "--json")
    report = json.loads(sound.stdout)[0]
    assert (0, True, 0) == (sound.returncode, report["sound"], report["problems"])
    assert 0 == run("verify-ledger", "--head", report["head"]).returncode
    other = run("verify-ledger", "--head", f"1:{'ab' * 32}")
    assert (1, True) == (other.returncode, "written down" in other.stdout.replace("\n", ""))
    assert 3 == run("verify-ledger", "--head", "yesterday").returncode


def test_a_missing_reason_is_refused(run: Run) -> None:
    """By name, before anything is touched."""
    refused = run("trip-circuit-breaker", "--operator", "ada", "--reason", "no")
    assert (1, True) == (refused.returncode, "10 to 512" in refused.stderr)


def test_a_wrong_configuration_exits_with_3_and_names_the_variable(run: Run) -> None:
    """No traceback."""
    wrong = run("status", CAPITAL="lots")
    assert (3, True, False) == (wrong.returncode, "CAPITAL" in wrong.stderr, "Traceback" in wrong.stderr)


def test_a_database_that_does_not_answer_exits_with_2(run: Run) -> None:
    """Unavailable is not refused."""
    for command in ("status", "verify-book"):
        down = run(command, DATABASE_URL="postgresql://a:b@127.0.0.1:1/c", REDIS_URL="redis://127.0.0.1:1/0")
        assert (2, False) == (down.returncode, "Traceback" in down.stderr)


def test_an_unknown_order_cannot_be_explained(run: Run) -> None:
    """It says where to find the known ones."""
    unknown = run("explain", "0" * 24)
    assert (1, True) == (unknown.returncode, "trading-pipeline status" in unknown.stderr)


def test_bars_are_imported_or_refused_with_row_and_column(run: Run, tmp_path: Path) -> None:
    """All of the file, or nothing."""
    good = tmp_path / "AAPL.csv"
    good.write_text("symbol,session,open,high,low,close,volume\nAAPL,2023-09-22,174.7,177.1,174.1,174.8,56725400\n")
    imported = run("import-bars", str(good), "--json")
    assert 1 == json.loads(imported.stdout)[0]["new"]

    bad = tmp_path / "bad.csv"
    bad.write_text("symbol,session,open,high,low,close,volume\nAAPL,2023-09-23,174.7,177.1,-1,174.8,56725400\n")
    refused = run("import-bars", str(bad))
    assert 1 == refused.returncode
    for part in ("bad.csv", "2", "low"):
        assert part in refused.stderr
    assert "--defects quarantine" in refused.stderr
    kept = json.loads(run("import-bars", str(bad), "--defects", "quarantine", "--json").stdout)[0]
    assert (1, 1, 0) == (kept["new"], kept["defective"], kept["restated"])


def test_a_file_of_minutes_is_imported_as_sessions(run: Run, tmp_path: Path) -> None:
    """What belongs to no session is counted; options that would mean nothing are a mistake."""
    minutes = tmp_path / "minutes.csv"
    rows = [f"AAPL,2023-09-20T{at}:00Z,174,175,173,174.5,100" for at in ("12:59", "13:30", "19:59")]
    minutes.write_text("\n".join(["symbol,timestamp,open,high,low,close,volume", *rows, ""]))
    imported = run("import-bars", str(minutes), "--minutes", "start", "--json")
    report = json.loads(imported.stdout)[0]
    assert (1, 1, 0) == (report["rows"], report["minutes_before_open"], report["minutes_after_close"])
    assert 3 == run("import-bars", str(minutes), "--minutes", "start", "--defects", "quarantine").returncode


def test_an_unknown_option_is_a_configuration_mistake(run: Run) -> None:
    """Told from a server that does not answer."""
    assert 3 == run("status", "--no-such-option").returncode


def test_exec_says_which_command_it_cannot_run(run: Run) -> None:
    """No traceback."""
    wrong = run("exec", "--", "no-such-program")
    assert (3, True, False) == (wrong.returncode, "no-such-program" in wrong.stderr, "Traceback" in wrong.stderr)


def test_exec_gives_a_command_the_environment_and_returns_its_code(run: Run) -> None:
    """So that Dagster's own command line works without further ado."""
    code = "import os, sys; sys.exit(7 if os.environ['DAGSTER_HOME'] and os.environ['DATABASE_URL'] else 1)"
    assert 7 == run("exec", "--", sys.executable, "-c", code).returncode
