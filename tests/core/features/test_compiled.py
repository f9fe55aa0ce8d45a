"""Where the machine code of kernels is kept, when it is trusted, and when numba is imported."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.errors import NumbaError

from trading_pipeline.core.features.kernels import machine
from trading_pipeline.core.features.kernels.arrays import Row, copy
from trading_pipeline.core.features.kernels.compiled import cache_folder, compiled


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMBA_CACHE_DIR", "PIPELINE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def find() -> Path | None:
    """Look for the folder as a new process would."""
    return cache_folder.__wrapped__()


def test_the_folder_is_private_and_under_the_first_parent_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Numba's own variable comes before the project's home, and that before the user's cache."""
    for name in ("XDG_CACHE_HOME", "PIPELINE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
        folder = find()
        assert folder is not None
        assert tmp_path / name in folder.parents
        assert 0 == folder.stat().st_mode & 0o077


def test_a_folder_that_others_can_write_to_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Machine code is trusted when it is loaded."""
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "open"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    opened = find()
    assert opened is not None
    opened.chmod(0o777)
    folder = find()
    assert folder is not None
    assert tmp_path / "mine" in folder.parents


def test_without_any_usable_folder_kernels_are_compiled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file in the way, and no home."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("HOME", raising=False)
    assert find() is None


COMPUTE = """
import sys
from datetime import date
import polars as pl
from trading_pipeline.core.features import Feature, FeatureSet, compile_features

days = [date(2024, 1, 2), date(2024, 1, 3)]
bars = pl.DataFrame({"session": days, "symbol": ["A", "A"], "close": [1.0, 3.0]})
features = FeatureSet(name="means", features=(Feature(name="MEAN", expression="Mean($close, 2)"),))
found = compile_features(features).compute(bars, calendar=days, sessions=days)["MEAN"].to_list()
sys.stdout.write(f"{found} {'numba' in sys.modules}")
"""


def compute(home: Path) -> str:
    """Compute in a new process whose machine code is under a folder; return the answers and whether numba was there."""
    environment = {"PIPELINE_HOME": str(home), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-c", COMPUTE], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one process has compiled what it needed."""
    folder = tmp_path_factory.mktemp("home")
    assert "[1.0, 2.0] True" == compute(folder)
    return folder


def test_only_the_process_that_compiles_imports_numba(home: Path) -> None:
    """Who finds machine code does not wait for a compiler."""
    assert "[1.0, 2.0] False" == compute(home)


def test_damaged_machine_code_is_compiled_anew(home: Path) -> None:
    """A file that was cut short, changed or is something else is never loaded, and is whole afterwards."""
    files = sorted(home.glob("cache/kernels-*/*"))
    damages = (lambda _: b"", lambda _: b"no header", lambda stored: stored[:-1], lambda stored: stored[:-1] + b"!")
    for number, file in enumerate(files):
        stored = file.read_bytes()
        for damage in damages[number % 2 :]:
            file.write_bytes(damage(stored))
            assert machine.read(file) is None
    assert "[1.0, 2.0] True" == compute(home)
    assert "[1.0, 2.0] False" == compute(home)


def test_machine_code_is_whole_or_not_there(home: Path) -> None:
    """Files appear under their name when they are complete; nothing else is left behind."""
    assert {"layout", "moments"} == {file.name.split(".")[0] for file in home.glob("cache/kernels-*/*")}


def test_an_array_with_gaps_is_refused() -> None:
    """Machine code walks arrays without looking at their strides."""
    values = np.zeros(8)
    with pytest.raises(TypeError, match="contiguous"):
        copy(values[::2], values[:4])


def test_a_function_that_allocates_is_no_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its machine code would need numba to run."""
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))

    @compiled
    def allocates(values: Row) -> None:
        values[1:] = values[:-1]

    with pytest.raises(NumbaError, match="NRT required"):
        allocates(np.ones(4))


def test_a_function_that_calls_unknown_libraries_is_no_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name that a process does not know would end it when the machine code is loaded."""
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))

    @compiled
    def special(value: float) -> int:
        return int(math.erf(value))

    with pytest.raises(RuntimeError, match="erf"):
        special(1.0)
