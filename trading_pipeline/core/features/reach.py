"""How many sessions before and after the present one an expression needs; it reads expressions, never data."""

from dataclasses import dataclass

from trading_pipeline.core.features.expression import Call, Constant, Expression
from trading_pipeline.core.features.operators import OPERATORS, History, Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The rows an expression reads, from `back` sessions before the present one to `ahead` after it.

    A window or a shift depends on whether the rows it spans exist, even where it reads no value of them: windows at the
    start of a symbol are shorter. Such rows count.

    Attributes:
        back: sessions before; None when all history counts; negative when even the nearest row lies ahead.
        ahead: sessions after; negative when the newest row lies behind.
    """

    back: int | None
    ahead: int


def reach_of(expression: Expression) -> Reach:
    """Return the reach of an expression, exact for nested shifts in both directions."""
    if not isinstance(expression, Call):
        return Reach(back=0, ahead=0)
    operator = OPERATORS[expression.operator]
    places = list(zip(expression.arguments, operator.parameters, strict=False))
    length = next((item.value for item, kind in places if _is_length(kind) and isinstance(item, Constant)), 0)
    series = [item for item, kind in places if kind in {Parameter.SERIES, Parameter.CONDITION}]
    inner = union(*(reach_of(item) for item in series if not isinstance(item, Constant)))
    return _extended(inner, expression.operator, operator.history, int(length))


def union(*reaches: Reach) -> Reach:
    """Return the smallest reach that covers all of the given ones."""
    if not reaches:
        return Reach(back=0, ahead=0)
    backs = [reach.back for reach in reaches if reach.back is not None]
    bounded = len(backs) == len(reaches)
    return Reach(back=max(backs) if bounded else None, ahead=max(reach.ahead for reach in reaches))


def _is_length(parameter: Parameter) -> bool:
    return parameter in {Parameter.WINDOW, Parameter.SHIFT}


def _extended(inner: Reach, name: str, history: History, length: int) -> Reach:
    if history is History.NONE:
        return inner
    shift = length if name == "Ref" or length < 0 else 0
    ahead = (inner.ahead if shift >= 0 else max(inner.ahead, 0)) - shift
    if history is History.UNBOUNDED or length == 0 or inner.back is None:
        return Reach(back=None, ahead=ahead)
    if shift < 0:
        # A difference reads the present row as well.
        return Reach(back=inner.back + (shift if name == "Ref" else 0), ahead=ahead)
    return Reach(back=max(inner.back, 0) + (length - 1 if history is History.WINDOW else length), ahead=ahead)
