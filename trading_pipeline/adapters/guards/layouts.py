"""What a record is: numbers and words packed into one text, by names that Python and Lua share."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from trading_pipeline.adapters.guards.checks import NANOS_PER_SHARE
from trading_pipeline.core.money import LARGEST_EXACT_INTEGER

BOOK_FORMAT = 3
"""Raised whenever a record changes: a book of another format is missing, not misread."""

ABSENT = -1
"""How a record writes a limit that is off, a price, age or volume that is not known, and what else is not there."""

UNKNOWN = -LARGEST_EXACT_INTEGER
"""How a request writes an equity that is not known: it may be below zero."""


@dataclass(frozen=True, slots=True)
class Width:
    """How one number is packed, and which numbers are damage.

    Attributes:
        lua: its letter in Lua's `struct`. `l` is eight bytes wherever Redis is 64 bit, and read faster than `i8`.
        python: its letter in Python's, of the same sign: capital is unsigned.
        lowest: the smallest that is sound.
        beyond: the smallest that is too large; None when every number of the width is sound.
    """

    lua: str
    python: str
    lowest: int = 0
    beyond: int | None = LARGEST_EXACT_INTEGER

    def damage(self, name: str) -> Iterator[str]:
        """Give the Lua conditions under which a number of that name, as it was read, is damage.

        What is written below zero where no sign is kept reads as a number beyond all others.
        """
        if self.python.islower():
            yield self._too_small(name)
        yield from self._too_large(name)

    def unfit(self, name: str) -> Iterator[str]:
        """Give the Lua conditions under which a number of that name may not be written."""
        yield self._too_small(name)
        yield from self._too_large(name)

    def _too_small(self, name: str) -> str:
        return f"{name} < {self.lowest}"

    def _too_large(self, name: str) -> Iterator[str]:
        if self.beyond is not None:
            yield f"{name} >= {self.beyond}"


COUNT = Width("L", "Q")
SIGNED = Width("l", "q", lowest=1 - LARGEST_EXACT_INTEGER)
OPTIONAL = Width("l", "q", lowest=ABSENT)
FIGURE = Width("l", "q", lowest=UNKNOWN)
BILLIONTHS = Width("I4", "I", beyond=NANOS_PER_SHARE)
CODE = Width("B", "B", beyond=None)
SWITCH = Width("B", "B", beyond=2)

Field = tuple[str, Width]


@dataclass(frozen=True)
class Layout:
    """What one kind of record holds.

    Attributes:
        name: how Lua calls the kind.
        kind: with the format of the book its tag, the first byte; none of them starts a text of format 1.
        fields: name and width of each number, in their order.
        words: names of the texts behind them, each of at most 255 bytes and behind a byte with its length.
        usual: numbers at the end that most records of the kind leave out, with what they are then.
    """

    name: str
    kind: int
    fields: tuple[Field, ...]
    words: tuple[str, ...] = ()
    usual: Mapping[str, int] = field(default_factory=dict)

    @property
    def tag(self) -> int:
        """The first byte of a record."""
        return BOOK_FORMAT * 16 + self.kind

    @cached_property
    def numbers(self) -> struct.Struct:
        """How Python packs tag and numbers."""
        return struct.Struct(_python(self.fields))

    def packed(self, numbers: Iterable[int], words: Iterable[str] = ()) -> bytes:
        """Pack a record; numbers and words are in the order of the layout."""
        texts = (word.encode() for word in words)
        return self.numbers.pack(self.tag, *numbers) + b"".join(bytes((len(text),)) + text for text in texts)

    def as_words(self, values: Mapping[str, int]) -> str:
        """Write the numbers of a record as words, for `initialise` and `rebuild`, which pack them."""
        return " ".join(str(values[name]) for name, _ in self.fields)

    def from_words(self, words: str) -> dict[str, int]:
        """Read the numbers of a record from the words in which `snapshot` gives them."""
        return {name: int(word) for (name, _), word in zip(self.fields, words.split(" "), strict=True)}

    def lua_names(self) -> dict[str, str]:
        """Return the names by which scripts speak of the layout, with what stands in their place.

        `_NUMBERS` names all numbers and words, as locals; `_DAMAGED` is the condition that one of the numbers that were
        read is damage, `_UNFIT` that one may not be written. Where most records leave out a part, `_SHORT` names what
        is left of them and `_REST` that part.
        """
        prefix = self.name.upper()
        names = {
            f"{prefix}_TAG": str(self.tag),
            f"{prefix}_COUNT": str(len(self.fields)),
            **_lua_names(prefix, self.fields, self.words),
        }
        if self.usual:
            kept = tuple(one for one in self.fields if one[0] not in self.usual)
            names |= _lua_names(f"{prefix}_SHORT", kept)
            names |= _lua_names(f"{prefix}_REST", self.fields[len(kept) :])
            names[f"{prefix}_REST_USUAL"] = ", ".join(map(str, self.usual.values()))
            names[f"{prefix}_USUAL"] = ", ".join(str(self.usual.get(name, 0)) for name, _ in self.fields)
        return names

    def starts_at(self, name: str) -> int:
        """Return where in a record a number starts, as Lua counts: from 1."""
        before = self.fields[: [one for one, _ in self.fields].index(name)]
        return struct.calcsize(_python(before)) + 1


def _python(fields: Iterable[Field]) -> str:
    return "<B" + "".join(width.python for _, width in fields)


def _lua_names(prefix: str, fields: tuple[Field, ...], words: tuple[str, ...] = ()) -> dict[str, str]:
    damaged = [condition for name, width in fields for condition in width.damage(name)]
    unfit = [condition for name, width in fields for condition in width.unfit(name)]
    return {
        f"{prefix}_STRUCT": "'<B" + "".join(width.lua for _, width in fields) + "Bc0" * len(words) + "'",
        f"{prefix}_SIZE": str(struct.calcsize(_python(fields))),
        f"{prefix}_NUMBERS": ", ".join((*(name for name, _ in fields), *words)),
        f"{prefix}_DAMAGED": f"({' or '.join(damaged)})",
        f"{prefix}_UNFIT": f"({' or '.join(unfit)})",
    }
