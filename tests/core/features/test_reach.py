"""How far expressions look back and ahead."""

import pytest

from trading_pipeline.core.features.parser import parse
from trading_pipeline.core.features.reach import Reach, reach_of


@pytest.mark.parametrize(
    ("text", "back", "ahead"),
    [
        ("$close", 0, 0),
        ("Mean($close, 5)", 4, 0),
        ("Ref($close, 5)", 5, -5),
        ("Delta($close, 5)", 5, 0),
        ("Delta($close, -5)", 0, 5),
        ("Mask($close, 'SPY')", 0, 0),
        ("Mean(CSRank(Ref($close, 2), $sector), 3)", 4, -2),
        ("Mean(Ref($close, 1), 5)", 5, -1),
        ("Corr($close/Ref($close, 1), $volume, 60)", 60, 0),
        ("Ref($open, -2)/Ref($open, -1)-1", -1, 2),
        ("Ref(Ref($close, -1), 1)", 1, 0),
        ("Max(Ref($close, -5), 3)", 2, 5),
        ("Ref(Mean($close, 3), -2)", 0, 2),
        ("Ref(Ref($close, 4), -2)", 2, 2),
        ("If($close>Ref($close, 3), $open, 0)", 3, 0),
        ("Mean($close, 0)", None, 0),
        ("EMA($close, 5)", None, 0),
        ("Ref(EMA($close, 5), -2)", None, 2),
        ("Ref($close, 0)", None, 0),
        ("$open+Sum($close, 0)", None, 0),
    ],
)
def test_reach_follows_from_the_expression(text: str, back: int | None, ahead: int) -> None:
    """Windows, shifts in both directions and unbounded operators add up."""
    assert Reach(back=back, ahead=ahead) == reach_of(parse(text))
