"""How many shares a slice becomes: what is carried over catches up within the caps, never beyond."""

from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.orders.slicing import carried_shares, slice_shares

CAPS = {"max_adv_shares": 500, "max_slice_shares": 40, "min_slice_shares": 1}


@given(
    planned=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    volumes=st.lists(st.none() | st.integers(0, 5_000), min_size=30, max_size=30),
    bps=st.integers(1, 10_000),
    least=st.integers(1, 60),
)
def test_no_slice_exceeds_its_caps_and_all_of_them_their_parent(
    planned: list[int], volumes: list[int | None], bps: int, least: int
) -> None:
    """Whatever is traded."""
    done: list[tuple[int, int]] = []
    for qty, volume in zip(planned, volumes, strict=False):
        wanted = qty + carried_shares(done)
        caps = CAPS | {"min_slice_shares": least}
        shares = slice_shares(wanted, volume=volume, max_volume_bps=bps, **caps)
        most = 40 if volume is None else min(volume * bps // 10_000, 500)
        assert 0 <= shares <= min(wanted, most)
        assert shares == 0 or shares >= min(least, wanted)
        assert shares in (0, min(wanted, most))
        done.append((qty, shares))
    ordered = sum(shares for _, shares in done)
    assert sum(planned) - ordered == carried_shares(done) >= 0


def test_without_a_cap_by_volume_a_slice_is_what_was_planned() -> None:
    """Volume is not asked for."""
    assert 30 == slice_shares(30, volume=None, max_volume_bps=None, **CAPS)
