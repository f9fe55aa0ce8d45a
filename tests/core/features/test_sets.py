"""Feature sets: identity and names."""

import pytest

from trading_pipeline.core.features import Feature, FeatureSet, alpha158

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
