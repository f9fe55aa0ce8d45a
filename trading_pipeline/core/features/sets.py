"""Named collections of features, and Alpha158 as pyqlib defines it; nothing is computed here."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

ALPHA158 = "alpha158.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature: the name of its column and the expression in pyqlib's notation."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet:
    """Features in the order of their columns.

    Raises:
        ValueError: two features share a name.
    """

    name: str
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            message = f"feature set {self.name} names {', '.join(repeated)} more than once"
            raise ValueError(message)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def hash(self) -> str:
        """SHA-256 in hex over names and expressions, in order: equal hashes mean equal features."""
        content = json.dumps([[feature.name, feature.expression] for feature in self.features])
        return hashlib.sha256(content.encode()).hexdigest()


@cache
def alpha158() -> FeatureSet:
    """Return the 158 features of pyqlib's Alpha158, from data that `tools/generate_alpha158.py` writes."""
    data = json.loads(files(__package__).joinpath(ALPHA158).read_text(encoding="utf-8"))
    features = tuple(Feature(name=name, expression=expression) for name, expression in data["features"])
    return FeatureSet(name="alpha158", features=features)
