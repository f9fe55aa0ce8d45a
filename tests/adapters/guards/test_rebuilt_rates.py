"""A book that is rebuilt again and again lets no more orders through than one that never is."""

from dataclasses import replace

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters.guards.builders import ACCOUNT, EMPTY, LIMITS, ask
from trading_pipeline.adapters.guards.guard import RiskGuard

CLOCK = "local function now_us() return tonumber(redis.call('GET', 'clock')) end"
SECOND, MINUTE = 1_000_000, 60_000_000
BUSY = replace(EMPTY, limits=replace(LIMITS, max_orders_per_second=2, max_orders_per_minute=5))
WAITS = st.sampled_from([0, 0, 300_000, SECOND // 2, SECOND, 11 * SECOND, 12 * SECOND, MINUTE - 1, MINUTE])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(WAITS, st.booleans()), min_size=8, max_size=40))
def test_no_rebuild_gives_more_orders_than_its_limits(client: redis.Redis, steps: list[tuple[int, bool]]) -> None:
    """At every moment, and never so few that nothing clears for longer than a period."""
    now = 1_700_000_000 * SECOND
    client.set("clock", now)
    steady, rebuilt = (RiskGuard(client, name, clock=CLOCK) for name in ("never-rebuilt", ACCOUNT))
    steady.rebuild(BUSY)
    rebuilt.rebuild(BUSY)
    epoch, drawn, cleared = 1, [], 0
    for number, (wait, anew) in enumerate(steps):
        now += wait
        client.set("clock", now)
        if anew:
            epoch += 1
            rebuilt.rebuild(
                replace(
                    BUSY,
                    epoch=epoch,
                    sequence=1_000,
                    cleared_last_second=sum(now - at < SECOND for at in drawn),
                    cleared_last_minute=sum(now - at < MINUTE for at in drawn),
                )
            )
        cleared += steady.clear(ask(f"steady-{number}", qty=1)).cleared
        quiet = not drawn or now - drawn[-1] >= MINUTE
        if rebuilt.clear(ask(f"rebuilt-{number}", qty=1, epoch=epoch)).cleared:
            drawn.append(now)
        else:
            assert not quiet
        assert len(drawn) <= cleared
