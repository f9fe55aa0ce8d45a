"""How the book packs numbers into one text of Redis; the one place that knows the order, width and names of them.

A record is a tag, which names its kind and the format of the book, and then numbers without anything between them,
little endian. In Lua a record is a list of its numbers, the first at 1; `lua_names` gives the places their names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from trading_pipeline.adapters.guards.checks import NANOS_PER_SHARE
from trading_pipeline.core.money import LARGEST_EXACT_INTEGER
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch
from trading_pipeline.core.risk.limits import LIMIT_NAMES, OVERRIDABLE

BOOK_FORMAT = 2
"""Raised whenever a record changes: a book of another format is missing, not misread."""

ABSENT = -1
"""How a record writes a limit that is off and an own limit or a quarantine that is not there."""

NUMBER, BILLIONTHS, CODE = "i8", "I4", "B"
_BYTES = {NUMBER: 8, BILLIONTHS: 4, CODE: 1}


@dataclass(frozen=True, slots=True)
class Layout:
    """The numbers of one kind of record.

    Attributes:
        name: how Lua calls the kind.
        tag: first byte of the record; none of them starts a text of format 1, which was JSON and digits.
        fields: name and width of each number, in their order.
    """

    name: str
    kind: int
    fields: tuple[tuple[str, str], ...]

    @property
    def tag(self) -> int:
        """The first byte of a record."""
        return BOOK_FORMAT * 16 + self.kind

    @property
    def struct(self) -> str:
        """The format of Lua's `struct`, tag included."""
        return "<B" + "".join(width for _, width in self.fields)

    @property
    def size(self) -> int:
        """Bytes of a record."""
        return 1 + sum(_BYTES[width] for _, width in self.fields)

    def words(self, values: Mapping[str, int]) -> str:
        """Write the numbers of a record as words, for `initialise` and `rebuild`, which pack them."""
        return " ".join(str(values[name]) for name, _ in self.fields)

    def read(self, words: str) -> dict[str, int]:
        """Read the numbers of a record from the words in which `snapshot` gives them."""
        return {name: int(word) for (name, _), word in zip(self.fields, words.split(" "), strict=True)}


def _numbers(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, NUMBER) for name in names)


def _quantity(name: str) -> tuple[tuple[str, str], ...]:
    return (name, NUMBER), (f"{name}_nanos", BILLIONTHS)


ACCOUNT = Layout(
    "account",
    1,
    (
        ("kill_switch", CODE),
        ("breaker", CODE),
        ("gate", CODE),
        *_numbers("epoch", "sequence", "quiet_until_ms", "limits_until_ms"),
        *_numbers("gross", "long", "short", "net_high", "net_low", "symbols_over"),
        *_numbers("rate_at_us", "rate_second", "rate_minute"),
    ),
)
"""One for an account: halts, epoch and sequence; ends of the quiet period and of the next limit to expire, 0 for none;
worst cases in 1/10,000 dollar and symbols over a limit; when the token buckets were last drawn from, 0 for never, and
what was left in them, in tokens times microseconds."""

LIMITS = Layout("limits", 2, _numbers(*LIMIT_NAMES))
"""One for an account: the limits as they bind now; `ABSENT` is off."""

SYMBOL = Layout(
    "symbol",
    3,
    (
        *chain.from_iterable(map(_quantity, ("position", "pending_buy", "pending_sell"))),
        *_numbers("mark", "highest_buy", "lowest_sell"),
        ("over_limit", CODE),
        ("blocked", CODE),
        *_numbers("quarantined_until_ms", *(f"own_{name}" for name in OVERRIDABLE)),
    ),
)
"""One a symbol: shares, the price they are judged at, the farthest prices of pending orders (0 without one), whether it
is over a limit of position, whether it is blocked, the end of its quarantine (0 for no end), its own limits."""

SESSION = Layout("session", 4, _numbers("orders", "traded"))
"""One a trade session: orders cleared, and 1/10,000 dollars of them filled or still able to."""

LAYOUTS = (ACCOUNT, LIMITS, SYMBOL, SESSION)

KILL_SWITCHES = (KillSwitch.DISENGAGED, KillSwitch.ENGAGED)
BREAKERS = (Breaker.OPEN, Breaker.TRIPPED, Breaker.QUIET_PERIOD)
GATES = (Gate.OPEN, Gate.CLOSED)
"""States by the number a record holds for them."""


def lua_names() -> dict[str, str]:
    """Return the names that scripts use for places, numbers and formats, with what stands in their place."""
    names = {
        "EXACT": str(LARGEST_EXACT_INTEGER),
        "NANOS": str(NANOS_PER_SHARE),
        "ABSENT": str(ABSENT),
        "OK": "'ok'",
        "MISSING": f"'{VerdictCode.BOOK_MISSING}'",
        "STALE": f"'{VerdictCode.BOOK_STALE}'",
    }
    for layout in LAYOUTS:
        prefix = layout.name.upper()
        names |= {
            f"{prefix}_STRUCT": f"'{layout.struct}'",
            f"{prefix}_SIZE": str(layout.size),
            f"{prefix}_TAG": str(layout.tag),
            f"{prefix}_COUNT": str(len(layout.fields)),
        }
        names |= _numbered((name for name, _ in layout.fields), start=1)
    for states in (KILL_SWITCHES, BREAKERS, GATES):
        names |= _numbered((state.value for state in states), start=0)
    return names


def _numbered(names: Iterable[str], start: int) -> dict[str, str]:
    return {name.upper(): str(number) for number, name in enumerate(names, start)}
