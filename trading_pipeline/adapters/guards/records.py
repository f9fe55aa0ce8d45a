"""The records of the book and of a request; the one place that knows order, width, range and names of their numbers.

A record is a tag, which names its kind and the format of the book, and then numbers and words without anything
between them, little endian. Lua reads one into locals of the same names; in a list of them each has its place.
"""

from collections.abc import Iterable

from trading_pipeline.adapters.guards.checks import NANOS_PER_SHARE
from trading_pipeline.adapters.guards.layouts import (
    ABSENT,
    BILLIONTHS,
    CODE,
    COUNT,
    FIGURE,
    OPTIONAL,
    SIGNED,
    SWITCH,
    UNKNOWN,
    Field,
    Layout,
    Width,
)
from trading_pipeline.core.money import LARGEST_EXACT_INTEGER
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch
from trading_pipeline.core.risk.limits import LIMIT_NAMES, OVERRIDABLE, may_be_off


def _all(width: Width, *names: str) -> tuple[Field, ...]:
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
        "PAYLOAD_SIDE_AT": str(PAYLOAD.starts_at("side")),
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
