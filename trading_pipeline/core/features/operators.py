"""The operators of the expression language: their arguments and how far they look back; not how they are computed."""

from dataclasses import dataclass
from enum import StrEnum

from trading_pipeline.core.features.expression import Call, Expression


class Parameter(StrEnum):
    """What may stand at one place of an operator's argument list."""

    SERIES = "an expression"
    CONDITION = "a condition"
    WINDOW = "a whole number of sessions from 0 (0: all history)"
    SHIFT = "a whole number of sessions (0: the first value)"
    DECAY = "a span of at least 1 session, a weight between 0 and 1, or 0 (all history)"
    FRACTION = "a number from 0 to 1"
    INSTRUMENT = "a symbol in quotes"
    GROUP = "a field that names groups"


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
        optional: how many of the last parameters may be left out.
        history: how far it reaches; windows and shifts take their length from the matching argument.
        shortest: least window other than 0.
        is_condition: the answer is true or false rather than a number.
        cross_section: an answer depends on other symbols of the same session.
    """

    parameters: tuple[Parameter, ...]
    optional: int = 0
    history: History = History.NONE
    shortest: int = 1
    is_condition: bool = False
    cross_section: bool = False


_S, _C, _W = Parameter.SERIES, Parameter.CONDITION, Parameter.WINDOW
_ROLLING = ("Sum", "Mean", "Std", "Var", "Max", "Min", "IdxMax", "IdxMin", "Med", "Mad", "Rank", "Count", "WMA")
_ROLLING_FITS = ("Slope", "Rsquare", "Resi")
_ROLLING_PAIRS = ("Corr", "Cov")
_UNARY = ("Abs", "Log", "Sign")
_BINARY = ("Add", "Sub", "Mul", "Div", "Power", "Greater", "Less")
_COMPARISONS = ("Gt", "Ge", "Lt", "Le", "Eq", "Ne")
_CROSS_SECTION = ("CSRank", "CSZScore", "CSDemean")

OPERATORS: dict[str, Operator] = {
    **{name: Operator(parameters=(_S, _W), history=History.WINDOW) for name in _ROLLING + _ROLLING_FITS},
    **{name: Operator(parameters=(_S, _S, _W), history=History.WINDOW) for name in _ROLLING_PAIRS},
    **{name: Operator(parameters=(_S,)) for name in _UNARY},
    **{name: Operator(parameters=(_S, _S)) for name in _BINARY},
    **{name: Operator(parameters=(_S, _S), is_condition=True) for name in _COMPARISONS},
    **{name: Operator(parameters=(_S, Parameter.GROUP), optional=1, cross_section=True) for name in _CROSS_SECTION},
    "And": Operator(parameters=(_C, _C), is_condition=True),
    "Or": Operator(parameters=(_C, _C), is_condition=True),
    "Not": Operator(parameters=(_C,), is_condition=True),
    "If": Operator(parameters=(_S, _S, _S)),
    "Skew": Operator(parameters=(_S, _W), history=History.WINDOW, shortest=3),
    "Kurt": Operator(parameters=(_S, _W), history=History.WINDOW, shortest=4),
    "Quantile": Operator(parameters=(_S, _W, Parameter.FRACTION), history=History.WINDOW),
    "EMA": Operator(parameters=(_S, Parameter.DECAY), history=History.UNBOUNDED),
    "Ref": Operator(parameters=(_S, Parameter.SHIFT), history=History.SHIFT),
    "Delta": Operator(parameters=(_S, Parameter.SHIFT), history=History.SHIFT),
    "Mask": Operator(parameters=(_S, Parameter.INSTRUMENT), cross_section=True),
    "ChangeInstrument": Operator(parameters=(Parameter.INSTRUMENT, _S), cross_section=True),
}
"""Every operator by its name in pyqlib, with pyqlib's meaning; those that begin with CS are ours."""

REFUSED = {
    "TResample": "it changes the sessions of a series, and a feature has one value for each session",
    "P": "it reads statements as of a point in time, and bars hold none",
    "PRef": "it reads statements as of a point in time, and bars hold none",
    "Rolling": "it is the base of the window operators; name one, such as Mean",
}
"""Operators of pyqlib that have no meaning here, and why."""


def is_condition(expression: Expression) -> bool:
    """Say whether the answer is true or false."""
    return isinstance(expression, Call) and OPERATORS[expression.operator].is_condition
