"""Feature sets by name and from files."""

from pathlib import Path

import pytest

from resources import FeaturesResource
from trading_pipeline.adapters.feature_files import load_feature_set
from trading_pipeline.core.features import alpha158, alpha360
from trading_pipeline.errors import ConfigError


def test_packaged_sets_are_found_by_name() -> None:
    """Both of pyqlib's."""
    assert (alpha158(), alpha360()) == (load_feature_set("alpha158"), load_feature_set("alpha360"))


def test_a_python_file_may_make_its_list(tmp_path: Path) -> None:
    """Windows are written once."""
    file = tmp_path / "momentum.py"
    file.write_text('FEATURES = [(f"MOM{n}", f"$close/Ref($close,{n})-1") for n in (5, 10)]')
    assert ("momentum", ("MOM5", "MOM10")) == (load_feature_set(str(file)).name, load_feature_set(str(file)).names)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.yaml", None, "none.yaml cannot be read"),
        ("none.py", None, "none.py cannot be read"),
        ("alpha159", None, "neither alpha158, alpha360 nor"),
        ("bad.yaml", "features:\n  A: Mean($close)", "bad.yaml:2: feature A: .*Mean takes 2 arguments.*column 1"),
        ("bad.py", "FEATURES = [('A', 'Mean($close, -1)')]", "bad.py: feature A: .*column 1"),
        ("bad.py", "FEATURES = [('A', '$close'), ('A', '$open')]", "feature 'A': it is there already"),
        ("bad.py", "FEATURES = ['A']", "must set FEATURES to a list of pairs"),
        ("bad.py", "FEATURES = 1/0", "stops with ZeroDivisionError"),
    ],
)
def test_what_cannot_be_used_is_a_configuration_error(tmp_path: Path, name: str, text: str | None, says: str) -> None:
    """File, feature and column are named."""
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_feature_set(str(file))


def test_a_file_that_changed_after_dagster_read_it_is_refused(tmp_path: Path) -> None:
    """A run never computes other features than its code version says."""
    file = tmp_path / "mine.yaml"
    file.write_text("features:\n  A: $close")
    resource = FeaturesResource.of(str(file), tmp_path)
    assert ("A",) == resource.compiled().feature_set.names
    file.write_text("features:\n  A: $open")
    with pytest.raises(ConfigError, match="reload the code location"):
        resource.compiled()


def test_a_set_with_a_feature_that_looks_ahead_is_not_served(tmp_path: Path) -> None:
    """It may be checked, but nothing is made of it."""
    file = tmp_path / "mine.yaml"
    file.write_text("features:\n  GOOD: $close\n  NEXT: Ref($close, -2)/Ref($close, -1)\n")
    assert 2 == len(load_feature_set(str(file)).names)
    with pytest.raises(ConfigError, match=r"1 feature\(s\) of mine use the future: NEXT: Ref"):
        FeaturesResource.of(str(file), tmp_path)
