"""Sums and co-moments over the last n rows of a symbol, exact to the bit wherever the history begins.

A window is put together from halves, as in pairwise summation, and never by adding what enters and taking away what
leaves: nothing that has left a window can disturb it, so a window of zeros sums to zero, a constant one has no
variance, and one session alone gives the same bits as the whole range.
"""

from dataclasses import dataclass

import polars as pl

from trading_pipeline.core.features.plan import AGE, Plan, lag

ALL_HISTORY = 2**15
"""Rows of a window over all history: more sessions than any exchange has held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """A column of finite or null values with the column (1.0 or 0.0) that says where they are present."""

    column: str
    present: str


def split(n: int) -> tuple[int, int]:
    """Return the lengths of the newer part of a window, the largest power of two below n, and of the older."""
    newer = 1 << ((n - 1).bit_length() - 1)
    return newer, n - newer


def finite(plan: Plan, x: str) -> Values:
    """Return the column with infinities made null: windows leave them out as pandas does."""
    column = plan.define(f"finite({x})", lambda: pl.when(pl.col(x).is_finite()).then(pl.col(x)))
    return Values(column=column, present=present(plan, column))


def present(plan: Plan, x: str) -> str:
    """Return 1.0 where the column has a value and 0.0 elsewhere."""
    return plan.define(f"present({x})", lambda: pl.col(x).is_not_null().cast(pl.Float64))


def paired(plan: Plan, x: Values, y: Values) -> tuple[Values, Values]:
    """Return both where both are present."""
    if x == y:
        return x, y
    both = plan.define(f"both({x.present},{y.present})", lambda: pl.col(x.present) * pl.col(y.present))
    return _masked(plan, x, both), _masked(plan, y, both)


def numbered(plan: Plan, x: Values) -> Values:
    """Return the numbers of the rows in which x is present."""
    row = plan.define("row", lambda: pl.col(AGE).cast(pl.Float64))
    return _masked(plan, Values(column=row, present=x.present), x.present)


def _masked(plan: Plan, x: Values, by: str) -> Values:
    name = f"masked({x.column},{by})"
    return Values(column=plan.define(name, lambda: pl.when(pl.col(by) > 0).then(pl.col(x.column))), present=by)


def count(plan: Plan, x: Values, n: int) -> str:
    """Return how many of the last n values are present, as Float64."""
    return total(plan, x.present, n)


def total(plan: Plan, x: str, n: int) -> str:
    """Return the sum of the last n values that are present; 0 when none is."""

    def build() -> pl.Expr:
        if n == 1:
            return pl.col(x).fill_null(0.0)
        newer, older = split(n)
        return pl.col(total(plan, x, newer)) + lag(total(plan, x, older), newer, 0.0)

    return plan.define(f"total({x},{n})", build)


def mean(plan: Plan, x: Values, n: int) -> str:
    """Return the mean of the last n values that are present; null when none is."""

    def build() -> pl.Expr:
        return (pl.col(total(plan, x.column, n)) / pl.col(count(plan, x, n))).fill_nan(None)

    return plan.define(f"mean({x.column},{n})", build)


def comoment(plan: Plan, x: Values, y: Values, n: int) -> str:
    """Return the sum of (x - mean x) * (y - mean y) over the last n rows; x and y are a pair.

    Two halves join by the rule of Chan, Golub and LeVeque, which does not cancel.
    """

    def build() -> pl.Expr:
        if n == 1:
            return pl.lit(0.0)
        newer, older = split(n)
        apart = pl.col(_gap(plan, x, n)) * pl.col(_gap(plan, y, n)) * pl.col(_weight(plan, x, n))
        return pl.col(comoment(plan, x, y, newer)) + lag(comoment(plan, x, y, older), newer, 0.0) + apart

    return plan.define(f"comoment({x.column},{y.column},{n})", build)


def covariance(plan: Plan, x: Values, y: Values, n: int) -> str:
    """Return the sample covariance (ddof 1) of the last n rows, null below two values; x and y are a pair."""

    def build() -> pl.Expr:
        values = pl.col(count(plan, x, n))
        return pl.when(values > 1).then(pl.col(comoment(plan, x, y, n)) / (values - 1))

    return plan.define(f"covariance({x.column},{y.column},{n})", build)


def variance(plan: Plan, x: Values, n: int) -> str:
    """Return the sample variance (ddof 1) of the last n values; null below two values."""
    return covariance(plan, x, x, n)


def _gap(plan: Plan, x: Values, n: int) -> str:
    """Mean of the older part less mean of the newer, 0 when one of them is empty."""
    newer, older = split(n)

    def build() -> pl.Expr:
        return (lag(mean(plan, x, older), newer) - pl.col(mean(plan, x, newer))).fill_null(0.0)

    return plan.define(f"gap({x.column},{n})", build)


def _weight(plan: Plan, x: Values, n: int) -> str:
    newer, older = split(n)

    def build() -> pl.Expr:
        ours, theirs = pl.col(count(plan, x, newer)), lag(count(plan, x, older), newer, 0.0)
        return (ours * theirs / (ours + theirs)).fill_nan(0.0)

    return plan.define(f"weight({x.present},{n})", build)
