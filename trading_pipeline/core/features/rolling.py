"""Operators over the last n rows of a symbol, with pyqlib's edge rules; n = 0 stands for all history."""

from collections.abc import Callable

import polars as pl

from trading_pipeline.core.features.plan import AGE, SYMBOL, Plan, lag
from trading_pipeline.core.features.windows import (
    ALL_HISTORY,
    Values,
    comoment,
    count,
    covariance,
    finite,
    mean,
    numbered,
    paired,
    present,
    split,
    total,
    variance,
)

FLAT = 2e-05
"""Standard deviation up to which pyqlib calls a window constant and its correlations undefined."""

Rolling = Callable[[Plan, str, int], pl.Expr]
RollingPair = Callable[[Plan, str, str, int], pl.Expr]


def _sum(plan: Plan, x: str, n: int) -> pl.Expr:
    values = finite(plan, x)
    return pl.when(pl.col(count(plan, values, n)) > 0).then(pl.col(total(plan, values.column, n)))


def _mean(plan: Plan, x: str, n: int) -> pl.Expr:
    return pl.col(mean(plan, finite(plan, x), n))


def _var(plan: Plan, x: str, n: int) -> pl.Expr:
    return pl.col(variance(plan, finite(plan, x), n))


def _std(plan: Plan, x: str, n: int) -> pl.Expr:
    return _var(plan, x, n).sqrt()


def _max(plan: Plan, x: str, n: int) -> pl.Expr:
    return pl.col(finite(plan, x).column).rolling_max(n, min_samples=1).over(SYMBOL)


def _min(plan: Plan, x: str, n: int) -> pl.Expr:
    return pl.col(finite(plan, x).column).rolling_min(n, min_samples=1).over(SYMBOL)


def _count(plan: Plan, x: str, n: int) -> pl.Expr:
    return pl.col(total(plan, present(plan, x), n))


def _median(plan: Plan, x: str, n: int) -> pl.Expr:
    return quantile(plan, x, n, 0.5)


def quantile(plan: Plan, x: str, n: int, fraction: float) -> pl.Expr:
    """Return the quantile of the last n values, linear between neighbours."""
    values = pl.col(finite(plan, x).column)
    return values.rolling_quantile(fraction, interpolation="linear", window_size=n, min_samples=1).over(SYMBOL)


def _rank(plan: Plan, x: str, n: int) -> pl.Expr:
    values = finite(plan, x)
    place = pl.col(values.column).rolling_rank(n, method="average", min_samples=1).over(SYMBOL)
    return place / pl.col(count(plan, values, n))


def _idx_max(plan: Plan, x: str, n: int) -> pl.Expr:
    return _place_of_greatest(plan, finite(plan, x), n)


def _idx_min(plan: Plan, x: str, n: int) -> pl.Expr:
    values = finite(plan, x)
    negative = plan.define(f"negative({values.column})", lambda: -pl.col(values.column))
    return _place_of_greatest(plan, Values(column=negative, present=values.present), n)


def _place_of_greatest(plan: Plan, x: Values, n: int) -> pl.Expr:
    # Missing values take part as NaN, which numpy's argmax and Polars both hold to be the greatest.
    values = plan.define(f"nan({x.column})", lambda: pl.col(x.column).fill_null(float("nan")))
    first_row = pl.max_horizontal(pl.col(AGE) - (n - 1), 0)
    place = pl.col(_row_of_greatest(plan, values, n)) - first_row + 1
    return pl.when(pl.col(count(plan, x, n)) > 0).then(place.cast(pl.Float64))


def _row_of_greatest(plan: Plan, x: str, n: int) -> str:
    """Age of the row that holds the greatest of the last n values, the oldest of equals."""

    def build() -> pl.Expr:
        if n == 1:
            return pl.col(AGE)
        newer, older = split(n)
        older_wins = lag(_greatest(plan, x, older), newer, float("-inf")) >= pl.col(_greatest(plan, x, newer))
        there, here = _row_of_greatest(plan, x, older), _row_of_greatest(plan, x, newer)
        return pl.when(older_wins).then(pl.col(there).shift(newer)).otherwise(pl.col(here))

    return plan.define(f"row_of_greatest({x},{n})", build)


def _greatest(plan: Plan, x: str, n: int) -> str:
    """Greatest of the last n values where NaN is above all."""

    def build() -> pl.Expr:
        if n == 1:
            return pl.col(x)
        newer, older = split(n)
        here, there = pl.col(_greatest(plan, x, newer)), lag(_greatest(plan, x, older), newer, float("-inf"))
        return pl.when(there >= here).then(there).otherwise(here)

    return plan.define(f"greatest({x},{n})", build)


def _slope(plan: Plan, x: str, n: int) -> pl.Expr:
    values = finite(plan, x)
    return _slope_of(plan, numbered(plan, values), values, n)


def _slope_of(plan: Plan, row: Values, x: Values, n: int) -> pl.Expr:
    return (pl.col(comoment(plan, row, x, n)) / pl.col(comoment(plan, row, row, n))).fill_nan(None)


def _resi(plan: Plan, x: str, n: int) -> pl.Expr:
    values = finite(plan, x)
    row = numbered(plan, values)
    rise = _slope_of(plan, row, values, n) * (pl.col(AGE) - pl.col(mean(plan, row, n)))
    return pl.col(values.column) - (pl.col(mean(plan, values, n)) + rise)


def _rsquare(plan: Plan, x: str, n: int) -> pl.Expr:
    values = finite(plan, x)
    row = numbered(plan, values)
    spread = pl.col(comoment(plan, row, row, n)) * pl.col(comoment(plan, values, values, n))
    answer = (pl.col(comoment(plan, row, values, n)).pow(2) / spread).fill_nan(None)
    return answer if n == ALL_HISTORY else pl.when(~_is_flat(plan, values, n)).then(answer)


def _is_flat(plan: Plan, x: Values, n: int) -> pl.Expr:
    return (pl.col(variance(plan, x, n)).sqrt() <= FLAT).fill_null(value=False)


def _cov(plan: Plan, x: str, y: str, n: int) -> pl.Expr:
    return pl.col(covariance(plan, *paired(plan, finite(plan, x), finite(plan, y)), n))


def _corr(plan: Plan, x: str, y: str, n: int) -> pl.Expr:
    left, right = finite(plan, x), finite(plan, y)
    flat = _is_flat(plan, left, n) | _is_flat(plan, right, n)
    left, right = paired(plan, left, right)
    spread = (pl.col(variance(plan, left, n)) * pl.col(variance(plan, right, n))).sqrt()
    return pl.when(~flat).then((pl.col(covariance(plan, left, right, n)) / spread).fill_nan(None))


def _mad(plan: Plan, x: str, n: int) -> pl.Expr:
    values = finite(plan, x)
    centre = pl.col(mean(plan, values, n))
    apart = pl.sum_horizontal((lag(values.column, row) - centre).abs() for row in range(n))
    return (apart / pl.col(count(plan, values, n))).fill_nan(None)


def _wma(plan: Plan, x: str, n: int) -> pl.Expr:
    values = finite(plan, x)
    rows = pl.min_horizontal(pl.col(AGE) + 1, n)
    weighted = pl.sum_horizontal(lag(values.column, row) * (rows - row) for row in range(n))
    # pyqlib takes the mean, not the sum, of the weighted values.
    return (weighted / (rows * (rows + 1) / 2) / pl.col(count(plan, values, n))).fill_nan(None)


def ema(plan: Plan, x: str, decay: float) -> pl.Expr:
    """Return the exponential mean: `decay` from 1 is a span in rows, below 1 the weight of the newest value."""
    values = pl.col(finite(plan, x).column)
    if decay < 1:
        smooth = values.ewm_mean(alpha=decay, adjust=True, ignore_nulls=False, min_samples=1)
    else:
        smooth = values.ewm_mean(span=decay, adjust=True, ignore_nulls=False, min_samples=1)
    return smooth.forward_fill().over(SYMBOL)


ROLLING: dict[str, Rolling] = {
    "Sum": _sum,
    "Mean": _mean,
    "Var": _var,
    "Std": _std,
    "Max": _max,
    "Min": _min,
    "Count": _count,
    "Med": _median,
    "Rank": _rank,
    "IdxMax": _idx_max,
    "IdxMin": _idx_min,
    "Slope": _slope,
    "Resi": _resi,
    "Rsquare": _rsquare,
    "Mad": _mad,
    "WMA": _wma,
}
ROLLING_PAIRS: dict[str, RollingPair] = {"Cov": _cov, "Corr": _corr}
