"""Operators that work row by row, with numpy's rules for missing values; a missing number is null, never NaN."""

from collections.abc import Callable

import polars as pl

Elementwise = Callable[..., pl.Expr]


def _log(operand: pl.Expr) -> pl.Expr:
    return _number(operand.log())


def _number(expression: pl.Expr) -> pl.Expr:
    return expression.fill_nan(None)


def _truth(comparison: pl.Expr, *, if_missing: bool = False) -> pl.Expr:
    return comparison.fill_null(if_missing).cast(pl.Float64)


def _extreme(left: pl.Expr, right: pl.Expr, *, left_wins: pl.Expr) -> pl.Expr:
    missing = left.is_null() | right.is_null()
    return pl.when(missing).then(None).when(left_wins).then(left).otherwise(right)


ELEMENTWISE: dict[str, Elementwise] = {
    "Add": lambda left, right: _number(left + right),
    "Sub": lambda left, right: _number(left - right),
    "Mul": lambda left, right: _number(left * right),
    "Div": lambda left, right: _number(left / right),
    "Power": lambda left, right: _number(left.pow(right)),
    "Greater": lambda left, right: _extreme(left, right, left_wins=left > right),
    "Less": lambda left, right: _extreme(left, right, left_wins=left < right),
    "Gt": lambda left, right: _truth(left > right),
    "Ge": lambda left, right: _truth(left >= right),
    "Lt": lambda left, right: _truth(left < right),
    "Le": lambda left, right: _truth(left <= right),
    "Eq": lambda left, right: _truth(left == right),
    "Ne": lambda left, right: _truth(left != right, if_missing=True),
    "And": lambda left, right: left * right,
    "Or": pl.max_horizontal,
    "Not": lambda operand: 1.0 - operand,
    "Abs": pl.Expr.abs,
    "Log": _log,
    "Sign": pl.Expr.sign,
    "If": lambda condition, left, right: pl.when(condition == 1.0).then(left).otherwise(right),
}
"""Each takes its operands as Float64 expressions; conditions are 1.0 or 0.0 and never missing."""
