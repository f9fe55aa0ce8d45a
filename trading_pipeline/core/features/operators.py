"""The operators of the expression language: their arguments and how far they look back; not how they are computed."""

from dataclasses import dataclass
from enum import StrEnum


class Parameter(StrEnum):
    """What may stand at one place of an operator's argument list."""

    SERIES = "an expression"
    CONDITION = "a condition"
    WINDOW = "a whole number of sessions from 0 (0: all history)"
    SHIFT = "a whole number of sessions (0: the first value)"
    DECAY = "a span of at least 1 session, or a weight between 0 and 1"
    FRACTION = "a number from 0 to 1"


class History(StrEnum):
    """How an operator reaches beyond the present row."""

    NONE = "none"
    WINDOW = "window"
    SHIFT = "shift"
    UNBOUNDED = "unbounded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """The signature of one operator.

    Attributes:
        parameters: what stands at each place.
        history: how far it reaches; windows and shifts take their length from the matching argument.
        is_condition: the answer is true or false rather than a number.
        cross_section: the answer of one symbol depends on the others of the session.
    """

    parameters: tuple[Parameter, ...]
    history: History = History.NONE
    is_condition: bool = False
    cross_section: bool = False


_S, _C, _W = Parameter.SERIES, Parameter.CONDITION, Parameter.WINDOW
_ROLLING = ("Sum", "Mean", "Std", "Var", "Max", "Min", "IdxMax", "IdxMin", "Med", "Rank", "Count")
_ROLLING_FITS = ("Slope", "Rsquare", "Resi")
_ROLLING_PAIRS = ("Corr", "Cov")
_ROLLING_BOUNDED = ("Mad", "WMA")
_UNARY = ("Abs", "Log", "Sign")
_BINARY = ("Add", "Sub", "Mul", "Div", "Power", "Greater", "Less")
_COMPARISONS = ("Gt", "Ge", "Lt", "Le", "Eq", "Ne")

OPERATORS: dict[str, Operator] = {
    **{
        name: Operator(parameters=(_S, _W), history=History.WINDOW)
        for name in _ROLLING + _ROLLING_FITS + _ROLLING_BOUNDED
    },
    **{name: Operator(parameters=(_S, _S, _W), history=History.WINDOW) for name in _ROLLING_PAIRS},
    **{name: Operator(parameters=(_S,)) for name in _UNARY},
    **{name: Operator(parameters=(_S, _S)) for name in _BINARY},
    **{name: Operator(parameters=(_S, _S), is_condition=True) for name in _COMPARISONS},
    "And": Operator(parameters=(_C, _C), is_condition=True),
    "Or": Operator(parameters=(_C, _C), is_condition=True),
    "Not": Operator(parameters=(_C,), is_condition=True),
    "If": Operator(parameters=(_C, _S, _S)),
    "Quantile": Operator(parameters=(_S, _W, Parameter.FRACTION), history=History.WINDOW),
    "EMA": Operator(parameters=(_S, Parameter.DECAY), history=History.UNBOUNDED),
    "Ref": Operator(parameters=(_S, Parameter.SHIFT), history=History.SHIFT),
    "Delta": Operator(parameters=(_S, _W), history=History.SHIFT),
}
"""Every operator by its name in pyqlib, with pyqlib's meaning."""

NEEDS_A_WINDOW = frozenset(_ROLLING_BOUNDED)
"""Operators that walk their window row by row and so refuse one over all history."""
