"""Cuts expressions where an operator needs all symbols of a session; what lies between runs symbol by symbol."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trading_pipeline.core.features.expression import Call, Constant, Expression, Text
from trading_pipeline.core.features.operators import OPERATORS, Parameter
from trading_pipeline.core.features.program import Program, assemble


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A program, and what is made of its answers across symbols before the next stage.

    Attributes:
        program: emits the series of `calls` in order.
        calls: operators over the symbols of a session.
    """

    program: Program
    calls: tuple[Call, ...]


def staged(answers: Sequence[Expression]) -> tuple[tuple[Stage, ...], Program]:
    """Return the stages that come first and the program that emits the answers."""
    answers = [_hoisted(answer) for answer in answers]
    calls = dict(pair for answer in answers for pair in _crossing(answer))
    stages = []
    for depth in range(1, max(calls.values(), default=0) + 1):
        ready = frozenset(call for call, level in calls.items() if level < depth)
        mine = tuple(call for call, level in calls.items() if level == depth)
        program = assemble([call.arguments[0] for call in mine], ready)
        stages.append(Stage(program=program, calls=mine))
    return tuple(stages), assemble(answers, frozenset(calls))


def _crossing(expression: Expression) -> Iterator[tuple[Call, int]]:
    """Yield the operators across symbols, inner ones first, with how deep they are nested in one another."""
    if isinstance(expression, Call):
        depth = 0
        for argument in expression.arguments:
            for call, level in _crossing(argument):
                depth = max(depth, level)
                yield call, level
        if OPERATORS[expression.operator].cross_section:
            yield expression, depth + 1


def _hoisted(expression: Expression) -> Expression:
    """Move `Mask` outwards: pyqlib computes what is made of one symbol's series alone on all of that symbol's rows."""
    if not isinstance(expression, Call):
        return expression
    call = replace(expression, arguments=tuple(map(_hoisted, expression.arguments)))
    if call.operator == "ChangeInstrument":
        call = Call("Mask", call.arguments[::-1])
    operator = OPERATORS[call.operator]
    series = call.arguments[0]
    if call.operator == "Mask":
        return series if _instrument(series) else call
    if operator.cross_section:
        return call
    kinds = zip(call.arguments, operator.parameters, strict=True)
    read = [item for item, kind in kinds if kind in {Parameter.SERIES, Parameter.CONDITION}]
    instruments = {_instrument(item) for item in read if not isinstance(item, Constant)}
    if len(instruments) != 1 or None in instruments:
        return call
    inner = tuple(item.arguments[0] if isinstance(item, Call) else item for item in call.arguments)
    return Call("Mask", (replace(call, arguments=inner), Text(str(instruments.pop()))))


def _instrument(expression: Expression) -> str | None:
    if isinstance(expression, Call) and expression.operator == "Mask":
        symbol = expression.arguments[1]
        return symbol.value if isinstance(symbol, Text) else None
    return None
