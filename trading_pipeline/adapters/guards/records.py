"""How the book packs numbers into one text of Redis; the one place that knows order, width, range and names of them.

A record is a tag, which names its kind and the format of the book, and then numbers and words without anything
between them, little endian. Lua reads one into locals of the same names; in a list of them each has its place.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from trading_pipeline.adapters.guards.checks import NANOS_PER_SHARE
from trading_pipeline.core.money import LARGEST_EXACT_INTEGER
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch
from trading_pipeline.core.risk.limits import LIMIT_NAMES, OVERRIDABLE, may_be_off

BOOK_FORMAT = 3
"""Raised whenever a record changes: a book of another format is missing, not misread."""

ABSENT = -1
"""How a record writes a limit that is off, a price, age or volume that is not known, and what else is not there."""

UNKNOWN = -LARGEST_EXACT_INTEGER
"""How a request writes an equity that is not known: it may be below zero."""


@dataclass(frozen=True, slots=True)
class Width:
    """How one number is packed, and which are damage.

    Attributes:
        lua: its letter in Lua's `struct`. `l` is eight bytes wherever Redis is 64 bit, and read faster than `i8`.
        python: its letter in Python's.
        lowest: the smallest that is sound.
        beyond: the smallest that is too large.
    """

    lua: str
    python: str
    lowest: int = 0
    beyond: int = LARGEST_EXACT_INTEGER

    def damaged(self, name: str) -> list[str]:
        """Return Lua conditions under which a number of that name is damage."""
        largest = 2 ** (8 * struct.calcsize(f"<{self.python}")) - 1
        below = [f"{name} < {self.lowest}"] if self.python.islower() else []
        return below + ([f"{name} >= {self.beyond}"] if self.beyond <= largest else [])


COUNT = Width("l", "q")
SIGNED = Width("l", "q", lowest=1 - LARGEST_EXACT_INTEGER)
OPTIONAL = Width("l", "q", lowest=ABSENT)
FIGURE = Width("l", "q", lowest=UNKNOWN)
BILLIONTHS = Width("I4", "I", beyond=NANOS_PER_SHARE)
CODE = Width("B", "B", beyond=256)
SWITCH = Width("B", "B", beyond=2)


@dataclass(frozen=True)
class Layout:
    """What one kind of record holds.

    Attributes:
        name: how Lua calls the kind.
        kind: with the format of the book its tag, the first byte; none of them starts a text of format 1.
        fields: name and width of each number, in their order.
        words: names of the texts behind them, each of at most 255 bytes behind a byte with its length.
        usual: numbers at the end that most records of the kind leave out, with what they are then.
    """

    name: str
    kind: int
    fields: tuple[tuple[str, Width], ...]
    words: tuple[str, ...] = ()
    usual: Mapping[str, int] = field(default_factory=dict)

    @property
    def tag(self) -> int:
        """The first byte of a record."""
        return BOOK_FORMAT * 16 + self.kind

    @property
    def size(self) -> int:
        """Bytes of the tag and all numbers."""
        return self._packing.size

    @cached_property
    def _packing(self) -> struct.Struct:
        return struct.Struct("<B" + "".join(width.python for _, width in self.fields))

    def packed(self, numbers: Iterable[int], words: Iterable[str] = ()) -> bytes:
        """Pack a record; numbers and words are in the order of the layout."""
        texts = (word.encode() for word in words)
        return self._packing.pack(self.tag, *numbers) + b"".join(bytes((len(text),)) + text for text in texts)

    def as_words(self, values: Mapping[str, int]) -> str:
        """Write the numbers of a record as words, for `initialise` and `rebuild`, which pack them."""
        return " ".join(str(values[name]) for name, _ in self.fields)

    def read(self, words: str) -> dict[str, int]:
        """Read the numbers of a record from the words in which `snapshot` gives them."""
        return {name: int(word) for (name, _), word in zip(self.fields, words.split(" "), strict=True)}

    def lua_names(self) -> dict[str, str]:
        """Return the names by which scripts speak of the layout, with what stands in their place."""
        kept = tuple(one for one in self.fields if one[0] not in self.usual)
        rest = self.fields[len(kept) :]
        prefix = self.name.upper()
        return {
            f"{prefix}_TAG": str(self.tag),
            f"{prefix}_SIZE": str(self.size),
            f"{prefix}_COUNT": str(len(self.fields)),
            f"{prefix}_USUAL": ", ".join(str(self.usual.get(name, 0)) for name, _ in self.fields),
            **_lua_names(prefix, self.fields, self.words),
            **_lua_names(f"{prefix}_SHORT", kept),
            **_lua_names(f"{prefix}_REST", rest, tagged=False),
            f"{prefix}_SHORT_SIZE": str(struct.calcsize("<B" + "".join(width.python for _, width in kept))),
            f"{prefix}_REST_USUAL": ", ".join(str(self.usual[name]) for name, _ in rest),
        }


def _lua_names(
    prefix: str, fields: Iterable[tuple[str, Width]], words: Iterable[str] = (), *, tagged: bool = True
) -> dict[str, str]:
    fields, words = tuple(fields), tuple(words)
    widths = "".join(width.lua for _, width in fields) + "Bc0" * len(words)
    damaged = [condition for name, width in fields for condition in width.damaged(name)]
    return {
        f"{prefix}_STRUCT": f"'<{'B' if tagged else ''}{widths}'",
        f"{prefix}_NUMBERS": ", ".join((*(name for name, _ in fields), *words)),
        f"{prefix}_DAMAGED": f"({' or '.join(damaged)})",
    }


def _all(width: Width, *names: str) -> tuple[tuple[str, Width], ...]:
    return tuple((name, width) for name in names)


ACCOUNT = Layout(
    "account",
    1,
    (
        *_all(CODE, "kill_switch", "breaker", "gate"),
        *_all(COUNT, "epoch", "sequence", "quiet_until_ms", "limits_until_ms", "gross", "long", "short"),
        *_all(SIGNED, "net_high", "net_low"),
        *_all(COUNT, "symbols_over", "rate_at_us", "rate_second", "rate_minute"),
    ),
)
"""One for an account: halts, epoch and sequence; ends of the quiet period and of the next limit to expire, 0 for none;
worst cases in 1/10,000 dollar and symbols over a limit; when the token buckets were last drawn from, 0 for never, and
what was left in them, in tokens times microseconds."""

LIMITS = Layout("limits", 2, tuple((name, OPTIONAL if may_be_off(name) else COUNT) for name in LIMIT_NAMES))
"""One for an account: the limits as they bind now; `ABSENT` is off."""

SYMBOL = Layout(
    "symbol",
    3,
    (
        ("position", SIGNED),
        *_all(COUNT, "pending_buy", "pending_sell", "mark", "highest_buy", "lowest_sell"),
        ("over_limit", CODE),
        *_all(BILLIONTHS, "position_nanos", "pending_buy_nanos", "pending_sell_nanos"),
        ("blocked", CODE),
        *_all(OPTIONAL, "quarantined_until_ms", *(f"own_{name}" for name in OVERRIDABLE)),
    ),
    usual={
        **dict.fromkeys(("position_nanos", "pending_buy_nanos", "pending_sell_nanos", "blocked"), 0),
        **dict.fromkeys(("quarantined_until_ms", *(f"own_{name}" for name in OVERRIDABLE)), ABSENT),
    },
)
"""One a symbol: whole shares, the price they are judged at, the farthest prices of pending orders (0 without one),
whether it is over a limit of position; fractions of the shares, whether it is blocked, the end of its quarantine (0 for
no end), its own limits."""

SESSION = Layout("session", 4, _all(COUNT, "orders", "traded"))
"""One a trade session: orders cleared, and 1/10,000 dollars of them filled or still able to."""

ORDER = Layout("order", 5, (("remaining", COUNT), ("remaining_nanos", BILLIONTHS), *_all(COUNT, "sequence", "price")))
"""One an order that is not over: shares that may still fill, sequence of its clearance, price it was judged at. The
order's payload follows."""

PAYLOAD = Layout(
    "payload", 6, (("limit_price", OPTIONAL), ("side", SWITCH), ("qty", COUNT)), words=("session", "symbol", "digest")
)
"""What must be the same when an order is asked for again; of a duplicate, what is from side to symbol."""

INTENT = Layout("intent", 7, (("at_us", COUNT),))
"""When the newest order of its kind was cleared; the id of that order follows."""

REQUEST = Layout(
    "request",
    8,
    (
        ("flatten", SWITCH),
        *_all(OPTIONAL, "price", "age", "adv"),
        ("equity", FIGURE),
        *_all(COUNT, "repeated", "known_epoch", "min_sequence"),
    ),
    words=("id", "strategy"),
)
"""What `clear` is asked besides the payload; never stored."""

LAYOUTS = (ACCOUNT, LIMITS, SYMBOL, SESSION, ORDER, PAYLOAD, INTENT, REQUEST)

KILL_SWITCHES = (KillSwitch.DISENGAGED, KillSwitch.ENGAGED)
BREAKERS = (Breaker.OPEN, Breaker.TRIPPED, Breaker.QUIET_PERIOD)
GATES = (Gate.OPEN, Gate.CLOSED)
SIDES = (Side.BUY, Side.SELL)
"""States and sides by the number a record holds for them."""


def lua_names() -> dict[str, str]:
    """Return the names that scripts use for places, numbers and formats, with what stands in their place."""
    names = {
        "EXACT": str(LARGEST_EXACT_INTEGER),
        "NANOS": str(NANOS_PER_SHARE),
        "ABSENT": str(ABSENT),
        "UNKNOWN": str(UNKNOWN),
        "OK": "'ok'",
        "MISSING": f"'{VerdictCode.BOOK_MISSING}'",
        "STALE": f"'{VerdictCode.BOOK_STALE}'",
    }
    for layout in LAYOUTS:
        names |= layout.lua_names()
    for layout in (ACCOUNT, LIMITS, SYMBOL, SESSION):
        names |= _numbered((name for name, _ in layout.fields), start=1)
    for states in (KILL_SWITCHES, BREAKERS, GATES, SIDES):
        names |= _numbered((state.value for state in states), start=0)
    return names


def _numbered(names: Iterable[str], start: int) -> dict[str, str]:
    return {name.upper(): str(number) for number, name in enumerate(names, start)}
