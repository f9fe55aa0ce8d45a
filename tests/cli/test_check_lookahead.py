"""`trading-pipeline check-lookahead` on a lake: table, JSON and exit codes."""

import json
import subprocess
from collections.abc import Callable
from datetime import date
from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest
from support.commands import run_command

from trading_pipeline.adapters.store.lake import Dataset, Lake

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command in a folder of its own."""
    return lambda *arguments: run_command("check-lookahead", *arguments, folder=tmp_path, home=tmp_path)


def test_exit_codes_tell_a_clean_set_from_one_that_uses_the_future(run: Run, tmp_path: Path) -> None:
    """0, then 1 with the feature, its expression, symbol, session and both values; 3 for a mistake in the file."""
    assert (1, True) == ((empty := run()).returncode, "no bars" in empty.stderr)
    sample = pl.read_parquet(str(files("trading_pipeline.adapters.market_data").joinpath("sample/bars.parquet")))
    bars = sample.filter(pl.col("session") >= date(2023, 6, 1))
    Lake(tmp_path / "lake").write(Dataset.BARS, bars, sessions=bars["session"].unique().to_list())

    (tmp_path / "mine.yaml").write_text("features:\n  GOOD: Mean($close,5)\n")
    clean = run("--set", "mine.yaml", "--cuts", "2")
    said = [line for line in clean.stderr.splitlines() if not line.startswith("compiling the feature kernels")]
    assert (0, []) == (clean.returncode, said)
    assert "features that use the future: none" in clean.stdout

    leaking = run("--set", "labels", "--seed", "5", "--json")
    assert 1 == leaking.returncode
    report = json.loads(leaking.stdout)
    assert ("labels", 8, 5, 6) == (report["feature_set"], report["cuts"], report["seed"], report["symbols"])
    assert ["OPEN_TO_OPEN", "CLOSE_TO_CLOSE"] == [leak["feature"] for leak in report["leaks"]]
    assert {"expression", "symbol", "session", "known_up_to", "value_then", "value_later"} < set(report["leaks"][0])

    (tmp_path / "mine.yaml").write_text("features:\n  BAD: Mean($close)\n")
    wrong = run("--set", "mine.yaml")
    assert (3, True) == (wrong.returncode, "mine.yaml:2: feature BAD" in wrong.stderr)
