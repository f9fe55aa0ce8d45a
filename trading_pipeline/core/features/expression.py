"""The syntax tree of a feature expression: immutable and hashable; it knows nothing of data."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the bars, written `$name`."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal number."""

    value: float

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True)
class Text:
    """The name of a symbol, written in quotes."""

    value: str

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True)
class Call:
    """An operator applied to arguments; infix operators carry their function names (`+` is `Add`)."""

    operator: str
    arguments: tuple["Expression", ...]

    def __str__(self) -> str:
        return f"{self.operator}({','.join(map(str, self.arguments))})"


Expression = Field | Constant | Text | Call


def fields_of(expression: Expression) -> Iterator[str]:
    """Yield the names of the bar columns the expression reads, repeats included."""
    match expression:
        case Field(name):
            yield name
        case Call(_, arguments):
            for argument in arguments:
                yield from fields_of(argument)
        case Constant() | Text():
            return
