"""How far the distribution of each feature has moved from the one a model was trained on; it decides nothing."""

from collections.abc import Sequence

import numpy as np
import polars as pl

BINS = 10
MODERATE, MAJOR = 0.1, 0.25
"""The customary readings of the index: below the first no change to speak of, above the second another population."""

REFERENCE_SCHEMA = pl.Schema({"feature": pl.String(), "edges": pl.List(pl.Float64()), "counts": pl.List(pl.Int64())})


def drift_reference(features: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return what `feature_drift` compares with: the deciles of each feature and how many values fell between them.

    Args:
        features: the features of the training window, missing as null.
        names: of the columns.

    Returns:
        `feature`, `edges` (the inner deciles, each once, Float64) and `counts` (Int64, one more than edges for the
        bins, and one for missing values), in the order of the names.
    """
    rows = []
    for name in names:
        values = features[name].cast(pl.Float64).drop_nulls().to_numpy()
        edges = (
            np.unique(np.quantile(values, np.arange(1, BINS) / BINS, method="lower")) if len(values) else np.empty(0)
        )
        rows.append((name, edges.tolist(), _counts(features[name], edges)))
    return pl.DataFrame(rows, schema=REFERENCE_SCHEMA, orient="row")


def feature_drift(reference: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """Return the population stability index of each feature against the training window.

    PSI = sum over bins of (share now - share then) * ln(share now / share then), with missing values as a bin of their
    own. Half a value is added to every bin, so that an empty one keeps the index finite.

    Args:
        reference: as `drift_reference` returns it.
        features: recent features, missing as null; a column that is absent counts as missing throughout.

    Returns:
        `feature`, `psi`, `missing_then`, `missing_now` (Float64 shares), the greatest index first.
    """
    rows = []
    for name, edges, then in reference.iter_rows():
        column = features[name] if name in features.columns else pl.Series(name, [None] * features.height, pl.Float32)
        now = _counts(column, np.array(edges, np.float64))
        rows.append((name, _psi(then, now), then[-1] / max(sum(then), 1), now[-1] / max(sum(now), 1)))
    schema = {"feature": pl.String, "psi": pl.Float64, "missing_then": pl.Float64, "missing_now": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("psi", "feature", descending=[True, False])


def _counts(column: pl.Series, edges: np.ndarray) -> list[int]:
    values = column.cast(pl.Float64).drop_nulls().to_numpy()
    bins = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return [*map(int, bins), len(column) - len(values)]


def _psi(then: Sequence[int], now: Sequence[int]) -> float:
    before, after = (np.array(counts, np.float64) + 0.5 for counts in (then, now))
    before, after = before / before.sum(), after / after.sum()
    return float(np.sum((after - before) * np.log(after / before)))
