"""Reads expression strings in pyqlib's notation into syntax trees; it never evaluates them."""

import ast
import difflib
from typing import NoReturn

from trading_pipeline.core.features.expression import Call, Constant, Expression, Field, Text, fields_of
from trading_pipeline.core.features.ladder import ALL_HISTORY
from trading_pipeline.core.features.operators import OPERATORS, REFUSED, Operator, Parameter, is_condition
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
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text.strip()
        self._indent = len(text) - len(text.lstrip())

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
        column += self._indent + 1
        message = f"cannot read the expression {self._text!r}: {reason} (column {column})"
        raise FeatureError(message, expression=self._text, column=column)

    def _expression(self, node: ast.expr, depth: int) -> Expression:  # noqa: RET503, C901, PLR0911  a case each
        if depth > MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH} levels", node.col_offset)
        match node:
            case ast.Name():
                return self._field(node)
            case ast.Constant(value=float() | int() as value) if not isinstance(value, bool):
                return Constant(value)
            case ast.Constant(value=str() as value):
                return Text(value)
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                return self._call(node, "Not", [operand], depth)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                return _signed(self._expression(operand, depth + 1), negative=isinstance(sign, ast.USub))
            case ast.BinOp(left=left, op=operator, right=right):
                return self._infix(node, operator, [left, right], depth)
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                return self._infix(node, operator, [left, right], depth)
            case ast.Compare():
                self._fail("comparisons cannot be chained; use brackets and &", node.col_offset)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, arguments, depth)
            case _:
                self._fail("this is not part of the notation", node.col_offset)

    def _field(self, node: ast.Name) -> Field:
        name = node.id[1:]
        if self._text[node.col_offset] != "$" or not name[:1].isalpha():
            self._fail(f"{node.id!r} is neither a field ($close) nor a call", node.col_offset)
        return Field(name)

    def _infix(self, node: ast.expr, operator: ast.operator | ast.cmpop, operands: list[ast.expr], depth: int) -> Call:
        name = _INFIX.get(type(operator))
        if name is None:
            self._fail(f"there is no infix operator {type(operator).__name__}", node.col_offset)
        return self._call(node, name, operands, depth)

    def _call(self, node: ast.expr, name: str, arguments: list[ast.expr], depth: int) -> Call:
        if name in REFUSED:
            self._fail(f"{name} is not supported: {REFUSED[name]}", node.col_offset)
        operator = OPERATORS.get(name)
        if operator is None:
            self._fail(f"unknown operator {name!r}{_similar(name)}", node.col_offset)
        most = len(operator.parameters)
        if not most - operator.optional <= len(arguments) <= most:
            least = f"{most - operator.optional} or " if operator.optional else ""
            self._fail(f"{name} takes {least}{most} argument{'s' * (most != 1)}, not {len(arguments)}", node.col_offset)
        read = tuple(self._expression(argument, depth + 1) for argument in arguments)
        for place, (argument, parameter) in enumerate(zip(read, operator.parameters, strict=False)):
            if not _fits(argument, parameter, operator):
                least = f" of at least {operator.shortest}" * (parameter is Parameter.WINDOW and operator.shortest > 1)
                reason = f"argument {place + 1} of {name} must be {parameter}{least}, not {argument}"
                self._fail(reason, arguments[place].col_offset)
        return Call(name, read)


def _similar(name: str) -> str:
    close = difflib.get_close_matches(name, OPERATORS, n=1)
    return f"; did you mean {close[0]}?" if close else f", known are {', '.join(sorted(OPERATORS))}"


def _signed(operand: Expression, *, negative: bool) -> Expression:
    if not negative:
        return operand
    if isinstance(operand, Constant):
        return Constant(-operand.value)
    return Call("Mul", (Constant(-1), operand))


def _fits(argument: Expression, parameter: Parameter, operator: Operator) -> bool:  # noqa: PLR0911  one for each kind
    number = argument.value if isinstance(argument, Constant) else None
    match parameter:
        case Parameter.SERIES:
            return not isinstance(argument, Text)
        case Parameter.CONDITION:
            return is_condition(argument)
        case Parameter.WINDOW:
            return isinstance(number, int) and (number == 0 or operator.shortest <= number < ALL_HISTORY)
        case Parameter.SHIFT:
            return isinstance(number, int) and abs(number) < ALL_HISTORY
        case Parameter.DECAY:
            return number is not None and (0 <= number < 1 or (isinstance(number, int) and number >= 1))
        case Parameter.FRACTION:
            return number is not None and 0 <= number <= 1
        case Parameter.INSTRUMENT:
            return isinstance(argument, Text) and argument.value != ""
        case Parameter.GROUP:
            return isinstance(argument, Field)
