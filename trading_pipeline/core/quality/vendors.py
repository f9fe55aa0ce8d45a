"""A second vendor that says something else."""

import numpy as np
import polars as pl

from trading_pipeline.core.quality.config import GateConfig
from trading_pipeline.core.quality.findings import findings
from trading_pipeline.core.quality.panel import Panel
from trading_pipeline.core.quality.reasons import Reason

_BARS, _LEAST = 21, 5


def find_conflicts(panel: Panel, rows: pl.DataFrame, second: pl.DataFrame, config: GateConfig) -> pl.DataFrame:
    """Return the findings of closes that differ from the second vendor's.

    A difference that the bars before had as well is another price basis (a later split that one of the two has already
    applied) and no conflict. Nobody knows which vendor is right, so the row waits.

    Args:
        panel: sound rows.
        rows: `row`, `session`, `symbol` of at least those.
        second: `session`: Date, `symbol`: String, `close`: Float64 (dollars) of the second vendor; one row a key.
        config: thresholds.
    """
    usable = second.filter(pl.col("close").is_finite() & (pl.col("close") > 0)).select(
        "session", "symbol", pl.col("close").alias("other")
    )
    others = rows.select("row", "session", "symbol").join(usable, on=["session", "symbol"], how="inner")
    close_by_row = np.full(rows.height, np.nan)
    close_by_row[others["row"].to_numpy()] = others["other"].to_numpy()
    other = close_by_row[panel.row]
    difference = np.log(panel.close / other)
    frame = pl.DataFrame({"code": panel.code, "value": difference}).with_columns(pl.col("value").fill_nan(None))
    usual = frame.select(
        pl.col("value").rolling_median(_BARS, min_samples=_LEAST).shift(1).over("code").fill_null(0.0)
    )["value"].to_numpy()
    conflict = np.abs(difference - usual) > np.log1p(config.vendor_tolerance)
    return findings(
        panel,
        conflict,
        Reason.VENDOR_CONFLICT,
        lambda at: f"close {panel.close[at]:g}, the second vendor says {other[at]:g}",
    )
