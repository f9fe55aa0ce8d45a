"""What a fault does at a boundary. A fault that does not fit the boundary waits for one that does."""

from typing import Any

import psycopg
import redis
from simulation.baton import Crash
from simulation.venue import VenueOrder

from trading_pipeline.core.orders.model import Side

PAUSE = 60.0
STEP = 3600.0
OLDER_BOOK = "redis returns with an older book"
_AT = {
    "postgres down": "begin",
    "postgres down at commit": "commit",
    "postgres answer lost after commit": "committed",
    "redis down before": "redis",
    "redis answer lost": "redis done",
    "redis restarts": "redis done",
    OLDER_BOOK: "redis done",
    "broker look-up fails": "find",
    "request limit used up": "turn",
}
_AT_SUBMIT = (
    "broker drops before accept",
    "broker drops after accept",
    "broker times out, order arrives late",
    "broker 429",
    "broker 5xx before accept",
    "broker 5xx after accept",
    "broker duplicate id",
    "broker rejects",
    "broker shows order late",
)


def strike(world: Any, kind: str, where: str) -> str | None:
    """Let a fault of a kind strike here. Return its kind when it did, None when it does not fit.

    Raises:
        Crash: the process dies here.
        psycopg.OperationalError, redis.ConnectionError: the server is away.
    """
    if kind in _AT:
        if where != _AT[kind]:
            return None
        if kind in ("redis restarts", OLDER_BOOK):
            world.stage.restart_redis(world.older_book if kind == OLDER_BOOK else None)
            if kind == OLDER_BOOK:
                world.older_book = {}
            world.stage.set_time(world.now())
        world.count(kind)
        if kind.startswith("postgres"):
            raise psycopg.OperationalError(kind)
        if kind.startswith("redis"):
            raise redis.ConnectionError(kind)
        return kind
    if kind in _AT_SUBMIT:
        if where != "submit":
            return None
        world.count(kind)
        return kind
    return kind if _anywhere(world, kind) else None


def _anywhere(world: Any, kind: str) -> bool:
    """Strike with what fits every boundary."""
    venue = world.venue
    if kind == "crash":
        world.count(kind)
        world.current.dead = True
        raise Crash
    if kind == "pause 60 s":
        world.current.asleep_until = world.seconds + PAUSE
    elif kind == "clock step":
        world.move_clock(STEP if world.chance.random() < 0.5 else -STEP)
    elif kind == "postgres restarts":
        world.stage.restart_postgres()
        venue.in_doubt.update(venue.on_the_way)
    elif kind == "redis flushall":
        world.stage.redis.flushall()
        world.stage.set_time(world.now())
    elif kind == "redis script flush":
        world.stage.redis.script_flush()
    elif kind == "events repeated and reordered":
        venue.scramble = True
    elif kind == "foreign order":
        name = f"foreign-{len(venue.orders)}"
        venue.orders[name] = VenueOrder(name, "AAA", Side.BUY, 5, ours=False)
    elif not _with_order(world, kind):
        return False
    world.count(kind)
    return True


def _with_order(world: Any, kind: str) -> bool:
    """Strike with what needs an order at the venue."""
    venue = world.venue
    ours = [order for order in venue.orders.values() if order.ours]
    if kind in ("events lost for a while", "events lost for ever"):
        fitting = [order for order in ours if order.working and order.filled < order.qty]
        if fitting:
            lost = kind == "events lost for ever"
            venue.fill(fitting[0], 1, hidden_looks=0 if lost else 2, lost=lost)
    elif kind == "overfill":
        fitting = [order for order in ours if order.working]
        if fitting:
            fitting[0].irregular = True
            venue.fill(fitting[0], fitting[0].qty - fitting[0].filled + 2)
    else:
        fitting = [order for order in ours if order.state.value == "canceled" and order.filled < order.qty]
        if fitting:
            fitting[0].irregular = True
            venue.fill(fitting[0], 1)
    return bool(fitting)
