"""Whole-number checks at the door of the book: what Lua's doubles cannot hold exactly must not get in."""

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from trading_pipeline.core.money import LARGEST_EXACT_INTEGER, TICKS_PER_DOLLAR


def whole(name: str, value: object, *, at_least: int = 0) -> int:
    """Return `value` if it is an int from `at_least` up to, and not including, 2**53.

    Raises:
        ValueError: any other type (bool, float and Decimal among them) or size; the message starts with `name`.
    """
    if type(value) is not int or not at_least <= value < LARGEST_EXACT_INTEGER:
        msg = f"{name} must be a whole number from {at_least} up to 2**53, not {value!r}"
        raise ValueError(msg)
    return value


NANOS_PER_SHARE = 1_000_000_000
"""Fills may be fractions of a share, exact to a billionth."""


class Quantity(NamedTuple):
    """Shares as the book holds them: whole shares, rounded down, and the billionths above them."""

    shares: int
    nanos: int

    @property
    def decimal(self) -> Decimal:
        """The exact number of shares."""
        if not self.nanos:
            return Decimal(self.shares)
        return Decimal(self.shares) + (Decimal(self.nanos) / NANOS_PER_SHARE).normalize()


def quantity(name: str, value: object) -> Quantity:
    """Split a number of shares, without rounding.

    Raises:
        ValueError: neither an int nor a Decimal, no whole number of billionths, or not between -2**53 and 2**53; the
            message starts with `name`.
    """
    if type(value) is int or (isinstance(value, Decimal) and value.is_finite()):
        exact = Fraction(value)
    else:
        msg = f"{name} must be an int or a finite Decimal, not {value!r}"
        raise ValueError(msg)
    shares = exact.numerator // exact.denominator
    nanos = (exact - shares) * NANOS_PER_SHARE
    if nanos.denominator != 1 or not -LARGEST_EXACT_INTEGER < shares < LARGEST_EXACT_INTEGER:
        msg = f"{name} must be a number of billionths of a share between -2**53 and 2**53 shares, not {value}"
        raise ValueError(msg)
    return Quantity(shares, nanos.numerator)


def exact_ticks(name: str, dollars: object) -> int:
    """Return dollars as 1/10,000 dollars, without rounding.

    Raises:
        ValueError: not a Decimal, not a whole number of ticks, or not below 2**53 of them; the message starts with
            `name`.
    """
    if not isinstance(dollars, Decimal) or not dollars.is_finite():
        msg = f"{name} must be a finite Decimal, not {dollars!r}"
        raise ValueError(msg)
    ticks = Fraction(dollars) * TICKS_PER_DOLLAR  # exact, where Decimal would round to its context
    if ticks.denominator != 1:
        msg = f"{name} must have at most four decimal places, not {dollars}"
        raise ValueError(msg)
    return whole(name, ticks.numerator)


_LONGEST = 255
"""Bytes of a name: a record writes its length in one."""


def word(name: str, value: object) -> str:
    """Return `value` if it is a name without white space: an id, a symbol, a digest.

    Raises:
        ValueError: no name at all (see `label`), or with white space; the message starts with `name`.
    """
    if not isinstance(value, str) or value.split() != [value]:
        msg = f"{name} must be one word, not {value!r}"
        raise ValueError(msg)
    return label(name, value)


def label(name: str, value: object) -> str:
    """Return `value` if it is a name: printable characters of at most 255 bytes in UTF-8, and not only blanks.

    Raises:
        ValueError: not a text, empty, too long, or with control characters; the message starts with `name`.
    """
    text = filled(name, value)
    if not text.isprintable() or len(text.encode()) > _LONGEST:
        msg = f"{name} must be printable and of at most {_LONGEST} bytes, not {text!r}"
        raise ValueError(msg)
    return text


def filled(name: str, value: object) -> str:
    """Return `value` if it is a text with something in it.

    Raises:
        ValueError: not a text, or empty; the message starts with `name`.
    """
    if not isinstance(value, str) or not value.strip():
        msg = f"{name} must not be empty, but is {value!r}"
        raise ValueError(msg)
    return value
