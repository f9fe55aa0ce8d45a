"""Where compiled kernels are kept, and when numba is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from trading_pipeline.core.features.kernels.compiled import cache_folder


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


def test_reading_expressions_does_not_import_numba() -> None:
    """Only who computes waits for it."""
    program = (
        "import sys; from trading_pipeline.core.features import alpha158, compile_features; "
        "compile_features(alpha158()); sys.exit('numba' in sys.modules)"
    )
    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode
