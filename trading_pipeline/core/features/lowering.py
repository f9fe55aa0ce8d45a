"""Turns syntax trees into columns of a plan; every distinct sub-expression becomes one column."""

import polars as pl

from trading_pipeline.core.features.elementwise import ELEMENTWISE
from trading_pipeline.core.features.expression import Call, Constant, Expression, Field
from trading_pipeline.core.features.plan import SYMBOL, Plan, lag
from trading_pipeline.core.features.rolling import ROLLING, ROLLING_PAIRS, ema, quantile
from trading_pipeline.core.features.windows import ALL_HISTORY


def lower(plan: Plan, expression: Expression) -> str:
    """Add the columns the expression needs and return the name of the one that holds its value."""
    match expression:
        case Field():
            return str(expression)
        case Constant(value):
            return plan.define(str(expression), lambda: pl.lit(value, dtype=pl.Float64))
        case Call():
            return plan.define(str(expression), lambda: _call(plan, expression))


def _call(plan: Plan, call: Call) -> pl.Expr:
    name, arguments = call.operator, call.arguments
    if name in ELEMENTWISE:
        return ELEMENTWISE[name](*(_operand(plan, argument) for argument in arguments))
    x, length = lower(plan, arguments[0]), _number(arguments[-1])
    if name in ROLLING:
        return ROLLING[name](plan, x, _window(length))
    if name in ROLLING_PAIRS:
        return ROLLING_PAIRS[name](plan, x, lower(plan, arguments[1]), _window(length))
    if name == "Quantile":
        return quantile(plan, x, _window(_number(arguments[1])), length)
    if name == "EMA":
        return ema(plan, x, length)
    earlier = _earlier(x, int(length))
    return earlier if name == "Ref" else (pl.col(x) - earlier).fill_nan(None)


def _operand(plan: Plan, argument: Expression) -> pl.Expr:
    return pl.lit(float(argument.value)) if isinstance(argument, Constant) else pl.col(lower(plan, argument))


def _number(argument: Expression) -> float:
    return argument.value if isinstance(argument, Constant) else 0


def _window(length: float) -> int:
    return int(length) or ALL_HISTORY


def _earlier(x: str, rows: int) -> pl.Expr:
    return lag(x, rows) if rows else pl.col(x).first().over(SYMBOL)
