"""Finds a feature set by its name or reads it from a file of the operator; it judges no content."""

import runpy
from pathlib import Path

from trading_pipeline.core.features.sets import PACKAGED, FeatureSet, feature_set_from_yaml, feature_set_of
from trading_pipeline.errors import ConfigError, FeatureError

PYTHON_NAME = "FEATURES"
"""What a Python file calls its list of pairs (name, expression)."""


def load_feature_set(source: str) -> FeatureSet:
    """Return the set that `FEATURE_SET` names.

    Args:
        source: `alpha158`, `alpha360`, the path of a `.yaml` file, or of a `.py` file, which is run and must set
            `FEATURES` to a list of pairs of name and expression.

    Raises:
        ConfigError: no such set or file, or a file with a mistake: the message names file, feature and column.
    """
    if source in PACKAGED:
        return PACKAGED[source]()
    path = Path(source)
    try:
        return _from_python(path) if path.suffix == ".py" else _from_yaml(path)
    except FeatureError as error:
        raise ConfigError(f"FEATURE_SET: {error.message}", **error.fields) from error


def _from_yaml(path: Path) -> FeatureSet:
    if path.suffix not in {".yaml", ".yml"}:
        known = ", ".join(sorted(PACKAGED))
        raise ConfigError(f"FEATURE_SET: {path} is neither {known} nor a .yaml or .py file", source=str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"FEATURE_SET: {path} cannot be read: {error}", source=str(path)) from error
    return feature_set_from_yaml(text, source=str(path), name=path.stem)


def _from_python(path: Path) -> FeatureSet:
    if not path.is_file():
        raise ConfigError(f"FEATURE_SET: {path} cannot be read: no such file", source=str(path))
    try:
        found = runpy.run_path(str(path)).get(PYTHON_NAME)
    except Exception as error:
        raise ConfigError(
            f"FEATURE_SET: {path} stops with {type(error).__name__}: {error}", source=str(path)
        ) from error
    pairs = found if isinstance(found, list) else []
    if not all(isinstance(one, tuple) and [str, str] == [type(part) for part in one] for one in pairs) or not pairs:
        raise ConfigError(
            f"FEATURE_SET: {path} must set {PYTHON_NAME} to a list of pairs (name, expression) of text",
            source=str(path),
        )
    return feature_set_of(path.stem, pairs, source=str(path))
