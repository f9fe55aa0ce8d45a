"""The order path under drawn interleavings of processes and faults keeps its invariants."""

import logging
from collections.abc import Iterator

import pytest
import structlog
from simulation.scenario import CASES, FAULTS, RESTARTS, Scenario, draw
from simulation.shrinking import Failure, attempt, play, shrink
from simulation.stage import Stage, stage
from simulation.world import World
from support.servers import fresh_database

from trading_pipeline.adapters.store.ledger.sending import Batch
from trading_pipeline.embedded import ServerUrls

SEEDS = 200
IN_ONE_TEST = 50


@pytest.fixture(scope="module")
def played(servers: ServerUrls) -> Iterator[tuple[World, Stage]]:
    """A world on a stage that all tests of this file share."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    world = World()
    try:
        with (
            fresh_database(servers) as database_url,
            stage(database_url, servers.redis_url, world.boundary, world.time) as on,
        ):
            yield world, on
    finally:
        structlog.configure(**before)


@pytest.mark.parametrize("first", range(0, SEEDS, IN_ONE_TEST))
def test_no_seed_breaks_an_invariant(played: tuple[World, Stage], first: int) -> None:
    """Two hundred of them; `make simulate` plays any number."""
    for seed in range(first, first + IN_ONE_TEST):
        failure = play(*played, seed)
        assert failure is None, failure.describe()


def test_no_restart_of_a_server_breaks_an_invariant(played: tuple[World, Stage]) -> None:
    """Scenarios with no other fault: what was open is gone, and Redis may come back with a book of the past."""
    world, on = played
    before = world.struck.copy()
    for seed in range(IN_ONE_TEST):
        what = attempt(world, on, draw(seed, RESTARTS))
        assert what is None, f"seed {seed}: {what}"
    assert set(RESTARTS) == set(world.struck - before)


@pytest.mark.parametrize("kind", FAULTS)
def test_every_kind_of_fault_strikes(played: tuple[World, Stage], kind: str) -> None:
    """One that is never drawn, or never meets what it is to break, would test nothing."""
    world, on = played
    seeds = iter(range(SEEDS))
    while not world.struck[kind]:
        seed = next(seeds, None)
        assert seed is not None, f"{kind} never struck"
        assert attempt(world, on, draw(seed, (kind,))) is None, f"seed {seed}"


@pytest.mark.parametrize("case", CASES)
def test_every_case_that_a_check_is_for_is_met(played: tuple[World, Stage], case: str) -> None:
    """A check that never meets what it is to judge tells nothing."""
    world, on = played
    seeds = iter(range(SEEDS))
    while not world.met[case]:
        seed = next(seeds, None)
        assert seed is not None, f"never: {case}"
        assert attempt(world, on, draw(seed)) is None, f"seed {seed}"


def test_a_seed_replays_exactly(played: tuple[World, Stage]) -> None:
    """The same steps, the same boundaries, the same faults."""
    world, on = played
    traces = []
    for _ in range(2):
        before = (world.steps, world.struck.copy())
        world.play(on, draw(7))
        traces.append((world.steps - before[0], world.boundaries, world.struck - before[1], list(world.trace)))
    assert traces[0] == traces[1]


def test_a_planted_bug_is_found_and_shrunk(played: tuple[World, Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the last check before the send, some seed fails, and a smaller scenario fails too."""
    monkeypatch.setattr(Batch, "check", lambda *_: None)
    world, on = played
    found: tuple[Scenario, str] | None = None
    for seed in range(SEEDS):
        what = attempt(world, on, draw(seed))
        if what is not None:
            found = (draw(seed), what)
            break
    assert found is not None
    smallest = shrink(world, on, Failure(*found))
    assert _size(smallest.scenario) <= _size(found[0])
    assert f"make simulate SEED={found[0].seed}" in smallest.describe()


def _size(scenario: Scenario) -> int:
    return len(scenario.faults) + sum(len(part.todo) for part in scenario.parts)
