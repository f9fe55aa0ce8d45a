"""A symbol is listened to while any source needs it, and as long as there is a place."""

from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.subscriptions import Subscriptions

SYMBOLS = st.frozensets(st.sampled_from(["AAPL", "F", "MSFT", "NVDA", "TSLA"]))
WANTS = st.fixed_dictionaries({"position": SYMBOLS, "target": SYMBOLS, "manual": SYMBOLS})


def test_what_one_source_gives_up_another_keeps() -> None:
    """It is dropped with the last of them."""
    held = Subscriptions(10)
    held.want({"position": ["AAPL"], "manual": ["AAPL", "F"]})
    assert ((), ("F",)) == _of(held.want({"position": ["AAPL"], "manual": []}))
    assert ((), ("AAPL",)) == _of(held.want({"position": [], "manual": []}))


def test_where_places_are_few_the_first_source_has_them() -> None:
    """What has none is told."""
    held = Subscriptions(2)
    assert (("F", "MSFT"), ()) == _of(held.want({"position": ["MSFT"], "target": ["F", "NVDA"], "manual": ["AAPL"]}))
    assert ("NVDA", "AAPL") == held.left_out


@given(steps=st.lists(WANTS, max_size=8), most=st.integers(1, 6))
def test_the_changes_lead_to_what_is_needed(steps: list[dict[str, frozenset[str]]], most: int) -> None:
    """Whatever sources say one after the other: all that is needed and has a place, nothing else, nothing twice."""
    held, listened = Subscriptions(most), set()
    for wanted in steps:
        change = held.want(wanted)
        assert not set(change.add) & listened
        assert set(change.drop) <= listened
        listened = (listened | set(change.add)) - set(change.drop)
        needed = frozenset().union(*wanted.values())
        assert tuple(sorted(listened)) == held.listened
        assert listened <= needed
        assert len(listened) == min(most, len(needed))
        assert listened | set(held.left_out) == needed
        dropped_though_needed = set(change.drop) & needed
        assert dropped_though_needed <= set(held.left_out)


def _of(change) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return change.add, change.drop
