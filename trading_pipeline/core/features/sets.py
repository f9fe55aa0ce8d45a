"""Named collections of features: pyqlib's own, and those written as a list or as YAML; nothing is computed here."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from trading_pipeline.core.features.parser import parse
from trading_pipeline.errors import FeatureError

RESERVED = frozenset({"session", "symbol", "label", "target"})
"""Columns that stand beside the features somewhere on their way."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


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
        return hashlib.sha256(self.definitions.encode()).hexdigest()

    @property
    def definitions(self) -> str:
        """Names and expressions in order, as JSON: what the hash is made of."""
        return json.dumps([[feature.name, feature.expression] for feature in self.features])

    @classmethod
    def from_definitions(cls, name: str, definitions: str) -> "FeatureSet":
        """Read back what `definitions` says."""
        return cls(
            name=name, features=tuple(Feature(name=one, expression=text) for one, text in json.loads(definitions))
        )


def alpha158() -> FeatureSet:
    """Return the 158 features of pyqlib's Alpha158, from data that `tools/generate_feature_sets.py` writes."""
    return _packaged("alpha158")


def alpha360() -> FeatureSet:
    """Return the 360 features of pyqlib's Alpha360: 60 sessions of prices and volume over the newest."""
    return _packaged("alpha360")


PACKAGED = {"alpha158": alpha158, "alpha360": alpha360}
"""The sets that come with the package, by name."""


def feature_set_of(name: str, features: Iterable[tuple[str, str]], *, source: str | None = None) -> FeatureSet:
    """Make a set of pairs of name and expression, each checked.

    Args:
        name: of the set.
        features: name and expression, in the order of the columns.
        source: where they were written, for errors.

    Raises:
        FeatureError: no feature at all, a name that is illegal or taken (whatever its case), or an expression that
            cannot be read. The fields say `source`, `feature` and, for an expression, `column`.
    """
    return _checked(name, [(key, text, source or name) for key, text in features], source or name)


def feature_set_from_yaml(text: str, *, source: str, name: str) -> FeatureSet:
    """Read a set written as YAML: `features` as a mapping of names to expressions, and optionally `name`.

    Args:
        text: the content of the file.
        source: the path of the file, for errors, which add the line.
        name: of the set where the file gives none.

    Raises:
        FeatureError: as `feature_set_of`, or the text is no such mapping.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        column = mark.column + 1 if mark else 1
        raise FeatureError(
            f"{where}: this is no YAML: {error.problem} (column {column}); quote an expression that holds such a sign",
            source=where,
            column=column,
        ) from error
    entries = dict(_entries(root, source, "the file"))
    unknown = sorted(set(entries) - {"name", "features"})
    if unknown:
        raise FeatureError(f"{source}: unknown key {', '.join(unknown)}; known are name and features", source=source)
    named = entries.get("name")
    features = _entries(entries.get("features"), source, "features")
    pairs = [(key, _scalar(node, key, source), f"{source}:{node.start_mark.line + 1}") for key, node in features]
    return _checked(_scalar(named, "name", source) if named else name, pairs, source)


def differences(trained: FeatureSet, served: FeatureSet) -> list[str]:
    """Say which features two sets do not share: absent, added, defined otherwise, or only in another order."""
    before, after = ({one.name: one.expression for one in each.features} for each in (trained, served))
    found = [f"{name} is absent" for name in before if name not in after]
    found += [f"{name} is added" for name in after if name not in before]
    found += [
        f"{name} is {after[name]}, was {expression}"
        for name, expression in before.items()
        if name in after and after[name] != expression
    ]
    return found or (["the order of the columns"] if trained.names != served.names else [])


@cache
def _packaged(name: str) -> FeatureSet:
    data = json.loads(files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
    features = tuple(Feature(name=one, expression=expression) for one, expression in data["features"])
    return FeatureSet(name=name, features=features)


def _checked(name: str, features: Sequence[tuple[str, str, str]], source: str) -> FeatureSet:
    taken: dict[str, str] = {}
    for key, text, where in features:
        _check_name(key, where, taken)
        taken[key.lower()] = key
        try:
            parse(text)
        except FeatureError as error:
            raise FeatureError(
                f"{where}: feature {key}: {error.message}", source=where, feature=key, **error.fields
            ) from error
    if not features:
        raise FeatureError(f"{source}: the feature set holds no feature", source=source)
    return FeatureSet(
        name=name, features=tuple(Feature(name=key, expression=text.strip()) for key, text, _ in features)
    )


def _check_name(name: str, where: str, taken: Mapping[str, str]) -> None:
    reason = ""
    if not _NAME.fullmatch(name):
        reason = "a name is a letter followed by at most 62 letters, digits or _"
    elif name.lower() in RESERVED:
        reason = "this column has another meaning"
    elif name.lower() in taken:
        reason = f"it is there already, as {taken[name.lower()]}; names differ by more than their case"
    if reason:
        raise FeatureError(f"{where}: feature {name!r}: {reason}", source=where, feature=name)


def _entries(node: yaml.Node | None, source: str, what: str) -> list[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        line = f":{node.start_mark.line + 1}" if node else ""
        raise FeatureError(f"{source}{line}: {what} must be a mapping, NAME: EXPRESSION a line", source=source)
    return [(_scalar(key, "a key", source), value) for key, value in node.value]


def _scalar(node: yaml.Node, what: str, source: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        where = f"{source}:{node.start_mark.line + 1}"
        raise FeatureError(f"{where}: {what} must be text; quote it", source=where, feature=what)
    return str(node.value)
