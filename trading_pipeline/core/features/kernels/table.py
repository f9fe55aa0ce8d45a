"""The kernels of operators by name."""

from collections.abc import Callable

from trading_pipeline.core.features.kernels.extremes import extremes
from trading_pipeline.core.features.kernels.moments import moments
from trading_pipeline.core.features.kernels.order import quantiles, ranks
from trading_pipeline.core.features.kernels.pairs import pairs
from trading_pipeline.core.features.kernels.rows import exponential, shapes, shifts

KERNELS: dict[str, Callable[..., None]] = {
    kernel.__name__: kernel for kernel in (moments, pairs, extremes, quantiles, ranks, shapes, exponential, shifts)
}


def scratch_rows(rungs: int) -> int:
    """Return how many rows of room, each two longer than the longest history, suffice every kernel on its ladder."""
    return max(6 * rungs + 1, 3)
