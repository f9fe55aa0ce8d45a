"""What the model learns to predict: returns after a session. Labels look ahead on purpose and never become features."""

from collections.abc import Sequence
from datetime import date
from enum import StrEnum

import polars as pl

from trading_pipeline.core.features import Feature, FeatureSet, compile_features

LABEL_HORIZON = 2
"""Sessions from a session to the one in which its label becomes known."""


class LabelKind(StrEnum):
    """The return that is predicted.

    Attributes:
        OPEN_TO_OPEN: from the next open to the open after it, what a position entered at the next open earns.
        CLOSE_TO_CLOSE: from the next close to the close after it, as in pyqlib's Alpha158.
    """

    OPEN_TO_OPEN = "open_to_open"
    CLOSE_TO_CLOSE = "close_to_close"

    @property
    def expression(self) -> str:
        """The label in pyqlib's notation."""
        field = "$open" if self is LabelKind.OPEN_TO_OPEN else "$close"
        return f"Ref({field},-{LABEL_HORIZON})/Ref({field},-1)-1"


def compute_labels(
    bars: pl.DataFrame, *, calendar: Sequence[date], kind: LabelKind = LabelKind.OPEN_TO_OPEN
) -> pl.DataFrame:
    """Compute the label of every bar.

    Args:
        bars: `session` (Date), `symbol` (String) and the prices, one row per session and symbol that has a bar.
        calendar: all exchange sessions that the bars span, and those after them that are to be found in `known_at`.
        kind: which return.

    Returns:
        `session`, `symbol`, `label` (Float64 fraction, null while it is unknown or where a price is missing) and
        `known_at` (Date: the session at whose close the label is known, null beyond the calendar), sorted by session
        and symbol.

    Raises:
        FeatureError: a price column is absent, a bar lies outside the calendar, or a session and symbol repeat.
    """
    label = FeatureSet(name=kind, features=(Feature(name="label", expression=kind.expression),))
    labels = compile_features(label).compute(bars, calendar=calendar, sessions=calendar, dtype=pl.Float64)
    days = pl.DataFrame({"session": sorted(set(calendar))}, schema={"session": pl.Date})
    known = days.with_columns(pl.col("session").shift(-LABEL_HORIZON).alias("known_at"))
    return labels.join(known, on="session", how="left", maintain_order="left")
