"""What the guard costs in messages: one for an order, one for many, and one more where Redis forgot the script."""

from collections.abc import Callable

import pytest
import redis
from redis.connection import AbstractConnection

from tests.adapters.guards.builders import ask
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.risk.clearance import VerdictCode

MANY = 50
FORGETS = [False, True]


def _seen_by_redis(url: str, raw: redis.Redis, act: Callable[[], object]) -> list[str]:
    """Return the commands that reach the server while something is done, those its scripts call left out."""
    names: list[str] = []
    raw.ping()  # connected: what a new connection says of itself is not what is counted
    with redis.Redis.from_url(url) as watcher, watcher.monitor() as monitor:
        act()
        raw.echo("over")
        for seen in monitor.listen():
            name = seen["command"].split(" ")[0].upper()
            if name == "ECHO":
                return names
            if seen["client_type"] != "lua":
                names.append(name)
    return names


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch, guard: RiskGuard) -> list[int]:
    """Count what is sent on any connection from now on, after one order has made the guard's own warm."""
    assert guard.clear(ask("warm", qty=1)).cleared
    sent: list[int] = []
    send = AbstractConnection.send_packed_command

    def count(connection: AbstractConnection, command: object, **options: bool) -> None:
        sent.append(1)
        send(connection, command, **options)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", count)
    return sent


@pytest.mark.parametrize("forgets", FORGETS)
def test_an_order_is_one_round_trip(
    guard: RiskGuard, raw: redis.Redis, redis_url: str, messages: list[int], forgets: bool
) -> None:
    """Cleared or refused, every check of it; a server that forgot the script is sent it, once."""
    for order, code in (("yes", VerdictCode.CLEARED), ("much", VerdictCode.POSITION_SHARES)):
        if forgets:
            raw.script_flush()
        del messages[:]
        assert code is guard.clear(ask(order, qty=1 if order == "yes" else 1_100)).code
        assert (2 if forgets else 1) == len(messages)

    if forgets:
        raw.script_flush()
    commands = _seen_by_redis(redis_url, raw, lambda: guard.clear(ask("again", qty=1)))
    assert (["EVALSHA", "EVAL"] if forgets else ["EVALSHA"]) == commands


@pytest.mark.parametrize("forgets", FORGETS)
def test_many_orders_are_one_message(
    guard: RiskGuard, raw: redis.Redis, redis_url: str, messages: list[int], forgets: bool
) -> None:
    """Not one each; a server that forgot the script is taught it once, and each order is judged once."""
    asked = [ask(f"order-{number}", qty=1) for number in range(MANY)]
    if forgets:
        raw.script_flush()
    del messages[:]
    assert all(one.cleared for one in guard.clear_many(asked))
    assert (3 if forgets else 1) == len(messages)
    assert [*range(2, 2 + MANY)] == [one.clearance.sequence for one in guard.clear_many(asked) if one.clearance]

    commands = _seen_by_redis(
        redis_url, raw, lambda: guard.clear_many([ask(f"more-{at}", qty=1) for at in range(MANY)])
    )
    assert ["EVALSHA"] * MANY == commands
