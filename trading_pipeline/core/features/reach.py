"""How many sessions before and after the present one an expression needs; it reads expressions, never data."""

from dataclasses import dataclass

from trading_pipeline.core.features.expression import Call, Constant, Expression
from trading_pipeline.core.features.operators import OPERATORS, History, Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The rows an expression reads, from `back` sessions before the present one to `ahead` after it.

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
    places = list(zip(expression.arguments, operator.parameters, strict=True))
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
    if history is History.UNBOUNDED or length == 0 or inner.back is None:
        return Reach(back=None, ahead=inner.ahead - (length if name == "Ref" and length else 0))
    if history is History.WINDOW:
        return Reach(back=inner.back + length - 1, ahead=inner.ahead)
    shifted = Reach(back=inner.back + length, ahead=inner.ahead - length)
    return union(shifted, inner) if name == "Delta" else shifted
