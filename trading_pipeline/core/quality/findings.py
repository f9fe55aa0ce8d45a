"""What the rules found: a row, a reason, and from which session on one could know it."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from trading_pipeline.core.quality.panel import Flags, Ints, Panel
from trading_pipeline.core.quality.reasons import Reason

FINDING_SCHEMA = pl.Schema(
    {"row": pl.Int64(), "reason": pl.String(), "detail": pl.String(), "known": pl.Int64(), "released": pl.Int64()}
)
"""`known` and `released` are indices of sessions at whose close the finding begins and ends to hold; null: it holds."""


def findings(
    panel: Panel,
    at: Flags | Ints | Sequence[int],
    reason: Reason,
    detail: Callable[[int], str],
    *,
    known: Ints | None = None,
    released: Ints | None = None,
) -> pl.DataFrame:
    """Return one finding for each of the chosen rows of a panel.

    Args:
        panel: the rows.
        at: which, as flags or indices.
        reason: why.
        detail: text of the row at an index.
        known: session by row of the panel; default: the row's own.
        released: session by row of the panel, -1 for never; default: never.
    """
    chosen = np.flatnonzero(at) if isinstance(at, np.ndarray) and at.dtype == bool else np.asarray(at, dtype=np.int64)
    ended = np.full(len(chosen), -1) if released is None else released[chosen]
    return pl.DataFrame(
        {
            "row": panel.row[chosen],
            "reason": [reason.value] * len(chosen),
            "detail": [detail(int(one)) for one in chosen],
            "known": (panel.day if known is None else known)[chosen],
            "released": ended,
        },
        schema=FINDING_SCHEMA,
    ).with_columns(pl.when(pl.col("released") >= 0).then("released"))


def none_found() -> pl.DataFrame:
    """Return no findings."""
    return FINDING_SCHEMA.to_frame()
