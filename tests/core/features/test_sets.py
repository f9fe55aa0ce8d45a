"""Feature sets: identity and names."""

import pytest

from trading_pipeline.core.features import Feature, FeatureSet, alpha158, alpha360
from trading_pipeline.core.features.sets import differences, feature_set_from_yaml, feature_set_of
from trading_pipeline.errors import FeatureError

A = Feature(name="A", expression="$close")
B = Feature(name="B", expression="$open")


def test_alpha158_has_158_features_in_the_order_of_pyqlib() -> None:
    """The first and last columns are where models expect them."""
    assert (158, "KMID", "VSUMD60") == (len(alpha158().names), alpha158().names[0], alpha158().names[-1])


def test_hash_depends_on_content_and_order_but_not_on_the_name_of_the_set() -> None:
    """Equal hashes mean equal columns."""
    assert FeatureSet(name="x", features=(A, B)).hash == FeatureSet(name="y", features=(A, B)).hash
    others = [(B, A), (A,), (A, Feature(name="B", expression="$open+1")), (A, Feature(name="C", expression="$open"))]
    assert FeatureSet(name="x", features=(A, B)).hash not in {FeatureSet(name="x", features=o).hash for o in others}


def test_repeated_names_are_refused() -> None:
    """Two features cannot share a column."""
    with pytest.raises(ValueError, match="A more than once"):
        FeatureSet(name="x", features=(A, A))


def test_alpha360_has_60_sessions_of_six_fields_in_the_order_of_pyqlib() -> None:
    """The newest close over itself is a column, as in pyqlib."""
    named = {feature.name: feature.expression for feature in alpha360().features}
    assert (360, "CLOSE59", "VOLUME0") == (len(named), alpha360().names[0], alpha360().names[-1])
    assert ("$close/$close", "Ref($open, 59)/$close") == (named["CLOSE0"], named["OPEN59"])


def test_a_set_written_as_yaml_equals_the_same_written_as_a_list() -> None:
    """The order of the lines is the order of the columns."""
    text = "name: momentum\nfeatures:\n  MOM5: $close/Ref($close, 5) - 1\n  VOL: Std($close, 20)\n"
    written = feature_set_from_yaml(text, source="momentum.yaml", name="other")
    listed = feature_set_of("momentum", [("MOM5", "$close/Ref($close, 5) - 1"), ("VOL", "Std($close, 20)")])
    assert listed == written


@pytest.mark.parametrize(
    ("text", "says", "fields"),
    [
        (
            "features:\n  GOOD: $open\n  BAD: Mean($close; 5)",
            "f.yaml:3: feature BAD: .*column 12",
            {"source": "f.yaml:3", "feature": "BAD", "column": 12},
        ),
        ("features:\n  A: Foo($close)", "unknown operator 'Foo'.*column 1", {"feature": "A", "column": 1}),
        ("features:\n  A: $close\n  A: $open", "f.yaml:3: feature 'A': it is there already", {"source": "f.yaml:3"}),
        ("features:\n  A: $close\n  a: $open", "differ by more than their case", {"feature": "a"}),
        ("features:\n  A-1: $close", "a name is a letter", {"source": "f.yaml:2", "feature": "A-1"}),
        ("features:\n  Symbol: $close", "another meaning", {"feature": "Symbol"}),
        ("features:\n  A: [1", "f.yaml:2: this is no YAML", {"source": "f.yaml:2"}),
        ("features:\n  A: {x: 1}", "A must be text", {"feature": "A"}),
        ("features: [x]", "features must be a mapping", {"source": "f.yaml"}),
        ("features: {}", "holds no feature", {"source": "f.yaml"}),
        ("fields: {}", "unknown key fields", {"source": "f.yaml"}),
        ("", "the file must be a mapping", {"source": "f.yaml"}),
    ],
)
def test_a_mistake_in_a_file_is_named_by_line_feature_and_column(
    text: str, says: str, fields: dict[str, object]
) -> None:
    """The operator need not search."""
    with pytest.raises(FeatureError, match=says) as caught:
        feature_set_from_yaml(text, source="f.yaml", name="f")
    assert fields == {name: caught.value.fields.get(name) for name in fields}


def test_differences_name_every_feature_that_two_sets_do_not_share() -> None:
    """Absent, added, defined otherwise, or in another order."""
    trained = FeatureSet(name="x", features=(A, B))
    served = FeatureSet(
        name="y", features=(Feature(name="A", expression="$high"), Feature(name="C", expression="$low"))
    )
    assert ["B is absent", "C is added", "A is $high, was $close"] == differences(trained, served)
    assert ["the order of the columns"] == differences(trained, FeatureSet(name="z", features=(B, A)))
    assert [] == differences(trained, FeatureSet.from_definitions("again", trained.definitions))
