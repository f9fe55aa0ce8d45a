"""How many shares a slice becomes when it is due: what was planned and carried over, within its caps."""

from collections.abc import Iterable

from trading_pipeline.core.orders.twap import volume_share


def carried_shares(earlier: Iterable[tuple[int, int]]) -> int:
    """Return the shares that earlier slices had planned and did not order (pairs of both)."""
    return sum(planned - ordered for planned, ordered in earlier)


def slice_shares(
    wanted: int,
    *,
    volume: int | None,
    max_volume_bps: int | None,
    max_adv_shares: int,
    max_slice_shares: int,
    min_slice_shares: int,
) -> int:
    """Return the whole shares to order of those wanted; 0 where the caps leave less than a slice must have.

    Without a cap by traded volume a slice is what was planned. With one it is at most that share of what was traded
    since the slice before. Where that is not known it is at most what an interval of an average day allows
    (`max_slice_shares`). In no case is it more than `max_adv_shares`, however much is carried over.
    """
    if max_volume_bps is None or volume is None:
        most = max_slice_shares
    else:
        most = min(volume_share(volume, max_volume_bps), max_adv_shares)
    shares = min(wanted, most)
    return 0 if shares < min(min_slice_shares, wanted) else shares
