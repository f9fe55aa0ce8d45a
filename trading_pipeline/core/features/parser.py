"""Reads expression strings in pyqlib's notation into syntax trees; it never evaluates them."""

import ast
from typing import NoReturn

from trading_pipeline.core.features.expression import Call, Constant, Expression, Field, fields_of
from trading_pipeline.core.features.operators import NEEDS_A_WINDOW, OPERATORS, Parameter
from trading_pipeline.errors import FeatureError

MAX_DEPTH = 200
"""Deeper nesting is a mistake or an attack, and would exhaust the stack."""

_INFIX: dict[type[ast.operator] | type[ast.cmpop], str] = {
    ast.Add: "Add",
    ast.Sub: "Sub",
    ast.Mult: "Mul",
    ast.Div: "Div",
    ast.Pow: "Power",
    ast.BitAnd: "And",
    ast.BitOr: "Or",
    ast.Gt: "Gt",
    ast.GtE: "Ge",
    ast.Lt: "Lt",
    ast.LtE: "Le",
    ast.Eq: "Eq",
    ast.NotEq: "Ne",
}


def parse(text: str) -> Expression:
    """Parse an expression such as `Mean($close>Ref($close, 1), 5)`.

    The notation is pyqlib's, whose grammar is that of Python, so `&` and `|` bind tighter than comparisons.

    Raises:
        FeatureError: the text breaks the notation; `column` (from 1) says where.
    """
    return _Reader(text.strip()).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text

    def read(self) -> Expression:
        if not self._text.isascii() or "\n" in self._text:
            self._fail("only ASCII on a single line is allowed", 0)
        try:
            # `$` is not part of Python: an underscore keeps every column in its place.
            tree = ast.parse(self._text.replace("$", "_"), mode="eval")
        except SyntaxError as error:
            # Python reports no place for an expression that ends too early.
            self._fail(error.msg, error.offset - 1 if error.offset else len(self._text))
        except (ValueError, RecursionError, MemoryError) as error:
            self._fail(str(error) or "nested too deeply", 0)
        expression = self._expression(tree.body, 1)
        if not any(fields_of(expression)):
            self._fail("it reads no field; a field is written $close", 0)
        return expression

    def _fail(self, reason: str, column: int) -> NoReturn:
        message = f"cannot read the expression {self._text!r}: {reason} (column {column + 1})"
        raise FeatureError(message, expression=self._text, column=column + 1)

    def _expression(self, node: ast.expr, depth: int) -> Expression:  # noqa: RET503  the last case never returns
        if depth > MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH} levels", node.col_offset)
        match node:
            case ast.Name():
                return self._field(node)
            case ast.Constant(value=float() | int() as value) if not isinstance(value, bool):
                return Constant(value)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                return _signed(self._expression(operand, depth + 1), negative=isinstance(sign, ast.USub))
            case ast.BinOp(left=left, op=operator, right=right):
                return self._infix(node, operator, (left, right), depth)
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                return self._infix(node, operator, (left, right), depth)
            case ast.Compare():
                self._fail("comparisons cannot be chained; use brackets and &", node.col_offset)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, tuple(self._expression(item, depth + 1) for item in arguments))
            case _:
                self._fail("this is not part of the notation", node.col_offset)

    def _field(self, node: ast.Name) -> Field:
        name = node.id[1:]
        if self._text[node.col_offset] != "$" or not name[:1].isalpha():
            self._fail(f"{node.id!r} is neither a field ($close) nor a call", node.col_offset)
        return Field(name)

    def _infix(
        self, node: ast.expr, operator: ast.operator | ast.cmpop, operands: tuple[ast.expr, ast.expr], depth: int
    ) -> Call:
        name = _INFIX.get(type(operator))
        if name is None:
            self._fail(f"there is no infix operator {type(operator).__name__}", node.col_offset)
        return self._call(node, name, tuple(self._expression(operand, depth + 1) for operand in operands))

    def _call(self, node: ast.expr, name: str, arguments: tuple[Expression, ...]) -> Call:
        operator = OPERATORS.get(name)
        if operator is None:
            self._fail(f"unknown operator {name!r}, known are {', '.join(sorted(OPERATORS))}", node.col_offset)
        if len(arguments) != len(operator.parameters):
            expected, got = len(operator.parameters), len(arguments)
            self._fail(f"{name} takes {expected} argument{'s' * (expected != 1)}, not {got}", node.col_offset)
        for place, (argument, parameter) in enumerate(zip(arguments, operator.parameters, strict=True), start=1):
            if not _fits(argument, parameter) or (name in NEEDS_A_WINDOW and argument == Constant(0)):
                self._fail(f"argument {place} of {name} must be {parameter}, not {argument}", node.col_offset)
        return Call(name, arguments)


def _signed(operand: Expression, *, negative: bool) -> Expression:
    if not negative:
        return operand
    if isinstance(operand, Constant):
        return Constant(-operand.value)
    return Call("Mul", (Constant(-1), operand))


def _fits(argument: Expression, parameter: Parameter) -> bool:
    number = argument.value if isinstance(argument, Constant) else None
    match parameter:
        case Parameter.SERIES:
            return True
        case Parameter.CONDITION:
            return isinstance(argument, Call) and OPERATORS[argument.operator].is_condition
        case Parameter.WINDOW:
            return isinstance(number, int) and number >= 0
        case Parameter.SHIFT:
            return isinstance(number, int)
        case Parameter.DECAY:
            return number is not None and (0 < number < 1 or (isinstance(number, int) and number >= 1))
        case Parameter.FRACTION:
            return number is not None and 0 <= number <= 1
