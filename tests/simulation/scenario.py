"""What a seed stands for: actors, what each wants to do, and faults with the boundary from which each lies in wait."""

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
    "broker 5xx",
    "broker duplicate id",
    "broker rejects",
    "broker shows order late",
    "broker look-up fails",
    "events lost for a while",
    "events repeated and reordered",
    "overfill",
    "late fill after cancel",
    "foreign order",
)
RESTARTS = ("postgres restarts", "redis restarts", "redis returns with an older book")
OPERATIONS = (
    "engage",
    "disengage",
    "trip",
    "reset",
    "limits",
    "raise",
    "rebuild",
    "flatten",
    "cancel_all",
    "block",
)
MARKET = ("fill", "partial", "partial", "unseen", "unseen", "arrive", "wait")
SYMBOLS = ("AAA", "BBB")


@dataclass(frozen=True)
class Wish:
    """One order somebody wants."""

    symbol: str
    side: str
    qty: int


@dataclass(frozen=True)
class Part:
    """An actor: kind (submitter, daemon, operator, market) and what it does, in order."""

    kind: str
    todo: tuple[object, ...]


@dataclass(frozen=True)
class Fault:
    """Strikes at the first fitting boundary from the given one on."""

    kind: str
    at: int


@dataclass(frozen=True)
class Scenario:
    """All a run depends on."""

    seed: int
    parts: tuple[Part, ...]
    faults: tuple[Fault, ...]

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
    parts = [
        Part("submitter", tuple(wishes)),
        Part("submitter", tuple(chance.sample(wishes, len(wishes)))),
        Part("daemon", ("round",) * chance.randint(1, 2)),
        *(
            Part("operator", tuple(chance.choice(OPERATIONS) for _ in range(chance.randint(0, 3))) or ("cancel_all",))
            for _ in range(2)
        ),
        Part("market", tuple(chance.choice(MARKET) for _ in range(chance.randint(3, 8)))),
    ]
    faults = [Fault(chance.choice(kinds), chance.randint(1, 70)) for _ in range(chance.randint(0, 4))]
    return Scenario(seed, tuple(parts), tuple(sorted(faults, key=lambda one: one.at)))


def _without(items: tuple, at: int) -> tuple:
    return (*items[:at], *items[at + 1 :])
