"""How well scores order the returns that followed, session by session; it judges and never trains."""

import polars as pl


def information_coefficients(scored: pl.DataFrame) -> pl.DataFrame:
    """Return the correlation of score and label across the symbols of each session.

    Args:
        scored: `session`, `score`, `label`.

    Returns:
        `session`, `ic` (Pearson) and `rank_ic` (Spearman, ties at their average), Float64, sorted by session; null
        where fewer than two symbols, or no differences, leave it undefined.
    """
    coefficients = scored.group_by("session").agg(
        ic=pl.corr("score", "label"),
        rank_ic=pl.corr(pl.col("score").rank(), pl.col("label").rank()),
    )
    return coefficients.with_columns(pl.col("ic", "rank_ic").fill_nan(None)).sort("session")


def summarize(coefficients: pl.DataFrame) -> dict[str, float]:
    """Return mean, standard deviation and their ratio of both coefficients, without figures that are undefined."""
    summary: dict[str, float | None] = {}
    for name, ratio in (("ic", "icir"), ("rank_ic", "rank_icir")):
        mean, deviation = coefficients.select(pl.col(name).mean(), pl.col(name).std().alias("std")).row(0)
        summary |= {f"{name}_mean": mean, f"{name}_std": deviation, ratio: mean / deviation if deviation else None}
    return {name: value for name, value in summary.items() if value is not None}
