"""What a seed stands for: actors, what each wants to do, the limits, and faults with the boundary each waits for."""

import random
from collections import Counter
from dataclasses import dataclass, replace

FAULTS = (
    "crash",
    "pause 60 s",
    "postgres down",
    "postgres down at commit",
    "postgres answer lost after commit",
    "postgres restarts",
    "redis down before",
    "redis answer lost",
    "redis restarts",
    "redis returns with an older book",
    "redis flushall",
    "redis script flush",
    "clock step",
    "broker drops before accept",
    "broker drops after accept",
    "broker times out, order arrives late",
    "broker 429",
    "broker 5xx before accept",
    "broker 5xx after accept",
    "broker duplicate id",
    "broker rejects",
    "broker shows order late",
    "broker look-up fails",
    "request limit used up",
    "events lost for a while",
    "events lost for ever",
    "events repeated and reordered",
    "overfill",
    "late fill after cancel",
    "foreign order",
)
CASES = (
    "a slice leaves",
    "a slice is too late",
    "a parent is cancelled before its last slice",
    "an order that must reduce leaves",
    "an order is cleared under lowered limits",
    "a loss is beyond its limit",
    "a fill is told again",
    "an end is told again",
    "a clearance is asked for again",
    "shares stand on figures for ever",
)
"""What the checks must meet now and then, or they would check nothing."""
RESTARTS = ("postgres restarts", "redis restarts", "redis returns with an older book")
STORIES = (
    ("engage",),
    ("engage", "disengage"),
    ("engage", "flatten"),
    ("trip",),
    ("trip", "reset"),
    ("trip", "reset"),
    ("limits",),
    ("limits",),
    ("limits", "raise"),
    ("rebuild",),
    ("rebuild", "cancel_all"),
    ("flatten",),
    ("cancel_all",),
    ("cancel_parent",),
    ("block",),
    ("block", "unblock"),
    ("quarantine",),
    ("quarantine", "release"),
    ("close_gate",),
    ("close_gate", "open_gate"),
)
"""What an operator does, in order; others come somewhere in between."""
MARKET = ("fill", "fill", "partial", "partial", "unseen", "arrive", "drop", "drop", "rise", "replay", "replay")
DAEMONS = (
    (("round",),),
    (("round", "watch"),),
    (("watch", "round"),),
    (("round",), ("round",)),
    (("round",), ("watch",)),
    (("round",), ("round", "watch")),
)
SYMBOLS = ("AAA", "BBB")
SHARES, LOWER_SHARES = 12, 5
BINDING = {
    "max_order_notional": (900, 500),
    "max_position_notional": (1_000, 600),
    "max_gross_notional": (1_500, 900),
    "max_notional_per_session": (1_500, 700),
    "max_orders_per_session": (3, 1),
}
"""Limits of which one may bind beside shares: as it is at first, and as an operator lowers it. A share is near 100."""


@dataclass(frozen=True)
class Wish:
    """One order somebody wants."""

    symbol: str
    side: str
    qty: int


@dataclass(frozen=True)
class Large:
    """One order somebody wants worked in slices, within a minute."""

    symbol: str
    side: str
    qty: int
    slices: int
    when_late: str
    grace_seconds: int


@dataclass(frozen=True)
class Part:
    """An actor: kind (submitter, slicer, daemon, operator, market) and what it does, in order."""

    kind: str
    todo: tuple[object, ...]


@dataclass(frozen=True)
class Fault:
    """Strikes at the first fitting boundary from the given one on."""

    kind: str
    at: int


@dataclass(frozen=True)
class Terms:
    """The limits of a scenario: the one that binds besides shares, if any, and those of quiet period and loss."""

    binding: str = ""
    quiet_seconds: int = 300
    daily_loss: int = 1_000_000

    def values(self, *, lowered: bool) -> dict[str, int]:
        """Return the limits an operator may lower, as they are at first or after."""
        own = {self.binding: BINDING[self.binding][lowered]} if self.binding else {}
        return {"max_position_shares": LOWER_SHARES if lowered else SHARES} | own

    def __str__(self) -> str:
        """Name them."""
        binding = f"{self.binding} beside shares" if self.binding else "shares alone"
        return f"{binding}, {self.quiet_seconds} s of quiet period, {self.daily_loss} dollars of loss"


@dataclass(frozen=True)
class Scenario:
    """All a run depends on."""

    seed: int
    parts: tuple[Part, ...]
    faults: tuple[Fault, ...]
    terms: Terms = Terms()

    def named_parts(self) -> list[tuple[str, Part]]:
        """Return the parts with a name each: the kind and a number among those of its kind."""
        kinds: Counter[str] = Counter()
        named = []
        for part in self.parts:
            kinds[part.kind] += 1
            named.append((f"{part.kind} {kinds[part.kind]}", part))
        return named

    def smaller(self) -> list["Scenario"]:
        """Return this scenario with one thing less, in every way."""
        fewer = [replace(self, faults=_without(self.faults, at)) for at in range(len(self.faults))]
        for at, part in enumerate(self.parts):
            if len(self.parts) > 1:
                fewer.append(replace(self, parts=_without(self.parts, at)))
            for step in range(len(part.todo)):
                if len(part.todo) > 1:
                    less = replace(part, todo=_without(part.todo, step))
                    fewer.append(replace(self, parts=(*self.parts[:at], less, *self.parts[at + 1 :])))
        return fewer


def draw(seed: int, kinds: tuple[str, ...] = FAULTS) -> Scenario:
    """Draw the scenario of a seed, with faults of these kinds."""
    chance = random.Random(seed)
    wishes = [
        Wish(chance.choice(SYMBOLS), chance.choice(("buy", "sell")), chance.choice((1, 4, 6, 10)))
        for _ in range(chance.randint(1, 3))
    ]
    if chance.random() < 0.4:
        # Somebody wants out of what was wanted first: that is what a halt lets pass.
        first = wishes[0]
        wishes.append(replace(first, side="sell" if first.side == "buy" else "buy"))
    parts = [
        *_submitters(chance, wishes),
        *_slicers(chance),
        *(Part("daemon", todo) for todo in chance.choice(DAEMONS)),
        *(Part("operator", _operations(chance)) for _ in range(2)),
        Part("market", tuple(chance.choice(MARKET) for _ in range(chance.randint(4, 9)))),
    ]
    terms = Terms(
        binding=chance.choice(("", "", *BINDING)),
        quiet_seconds=chance.choice((10, 300)),
        daily_loss=chance.choice((15, 40, 1_000_000)),
    )
    faults = [Fault(chance.choice(kinds), chance.randint(1, 90)) for _ in range(chance.randint(0, 4))]
    return Scenario(seed, tuple(parts), tuple(sorted(faults, key=lambda one: one.at)), terms)


def _submitters(chance: random.Random, wishes: list[Wish]) -> list[Part]:
    """Draw two that want all of it and up to two more that want some of it."""
    more = [chance.sample(wishes, chance.randint(1, len(wishes))) for _ in range(chance.choice((0, 0, 0, 1, 2)))]
    return [Part("submitter", tuple(todo)) for todo in (wishes, chance.sample(wishes, len(wishes)), *more)]


def _operations(chance: random.Random) -> tuple[str, ...]:
    """Draw what an operator does, at once or after a while."""
    todo: list[str] = []
    for verb in chance.choice(STORIES) if chance.random() < 0.8 else ():
        todo += ["wait", verb] if chance.random() < 0.7 else [verb]
    return tuple(todo) or ("wait",)


def _slicers(chance: random.Random) -> list[Part]:
    """Draw who works a large order: nobody, one, or two who were told of the same one."""
    large = Large(
        symbol=chance.choice(SYMBOLS),
        side=chance.choice(("buy", "sell")),
        qty=chance.choice((4, 7, 11)),
        slices=chance.choice((2, 3)),
        when_late=chance.choice(("run", "expire")),
        grace_seconds=chance.choice((5, 40)),
    )
    count = chance.choice((0, 0, 1, 1, 2))
    return [Part("slicer", (large, *("look",) * (large.slices + chance.randint(-1, 1)))) for _ in range(count)]


def _without(items: tuple, at: int) -> tuple:
    return (*items[:at], *items[at + 1 :])
