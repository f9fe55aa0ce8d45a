"""From a scenario that fails to the smallest one that does, and the words to replay it."""

from dataclasses import dataclass

from simulation.scenario import Scenario, draw
from simulation.stage import Stage
from simulation.world import World

MOST_TRIES = 60


@dataclass(frozen=True)
class Failure:
    """A scenario that broke something, as small as it gets, and what it broke."""

    scenario: Scenario
    what: str

    def describe(self) -> str:
        """Say what happened, with whom and which faults, and how to see it again."""
        parts = "\n".join(f"    {part.kind}: {', '.join(map(str, part.todo))}" for part in self.scenario.parts)
        faults = "\n".join(f"    {fault.kind} from boundary {fault.at}" for fault in self.scenario.faults)
        return (
            f"seed {self.scenario.seed}: {self.what}\n  smallest scenario that fails:\n{parts}\n"
            f"    limits: {self.scenario.terms}\n{faults or '    no faults'}\n"
            f"  replay: make simulate SEED={self.scenario.seed}"
        )


def play(world: World, stage: Stage, seed: int) -> Failure | None:
    """Play a seed; when it fails, shrink it and return the smallest failure."""
    scenario = draw(seed)
    what = attempt(world, stage, scenario)
    return None if what is None else shrink(world, stage, Failure(scenario, what))


def attempt(world: World, stage: Stage, scenario: Scenario) -> str | None:
    """Play a scenario and return what it broke; None when nothing."""
    try:
        world.play(stage, scenario)
    except Exception as broken:  # noqa: BLE001 - whatever a scenario raises is the finding
        return f"{type(broken).__name__}: {broken}"
    return None


def shrink(world: World, stage: Stage, failure: Failure) -> Failure:
    """Take away actors, wishes and faults for as long as something still breaks."""
    tries = 0
    smaller = True
    while smaller and tries < MOST_TRIES:
        smaller = False
        for candidate in failure.scenario.smaller():
            tries += 1
            what = attempt(world, stage, candidate)
            if what is not None:
                failure, smaller = Failure(candidate, what), True
                break
            if tries >= MOST_TRIES:
                break
    return failure
