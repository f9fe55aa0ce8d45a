"""The real servers a simulation runs on: one database with a clock of its own, and a slot of connections a process.

Made once and swept between scenarios; making them anew would cost more than the scenarios.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from simulation.when import START
from support.stepped_redis import SteppedRedis

from trading_pipeline.adapters.store.ledger import Ledger, migrate

PROCESSES = (
    *(f"submitter {number}" for number in (1, 2, 3, 4)),
    *(f"{kind} {number}" for kind in ("slicer", "daemon", "operator") for number in (1, 2)),
    "restorer",
)
UNSEEN = "replayer"
"""A process at whose boundaries nothing happens: it only asks whether something changes."""
_CLOCK = """
create schema if not exists simulation;
create table if not exists simulation.time (instant timestamptz not null);
create or replace function simulation.clock_timestamp() returns timestamptz language sql volatile as
  'select instant from simulation.time';
create or replace function simulation.now() returns timestamptz language sql volatile as
  'select instant from simulation.time';
do $$ begin
  execute format('alter database %I set search_path = simulation, pg_catalog, public', current_database());
  execute format('alter database %I set lock_timeout = %L', current_database(), '15ms');
  execute format('alter database %I set synchronous_commit = off', current_database());
end $$;
"""
_DECIDED = """
create table if not exists simulation.decided (
    account text, epoch bigint, book jsonb, blocked text[], quarantined jsonb, last_decision bigint, last_fill bigint);
create or replace function simulation.remember() returns trigger language plpgsql as $$ begin
    insert into simulation.decided values (new.account, new.epoch, to_jsonb(new),
        array(select symbol from ledger.blocked_symbols s where s.account = new.account),
        (select coalesce(jsonb_object_agg(symbol, until), '{}') from ledger.quarantined_symbols s
          where s.account = new.account),
        (select coalesce(max(id), 0) from ledger.risk_decisions),
        (select coalesce(max(seq), 0) from ledger.fills where account = new.account));
    return null;
end $$;
create or replace trigger simulated after update on ledger.books for each row
    when (old.epoch <> new.epoch) execute function simulation.remember();
"""
# What the ledger decided in each epoch. It commits, or does not, together with that.

# Nobody who holds a lock runs while another waits for it, so the time-out decides nothing but how long that takes.

REDIS_CLOCK = "local function now_us() return tonumber(redis.call('GET', 'simulation:now_us')) end"
"""The guard's clock in its scripts: what the stage says it is."""

Boundary = Callable[[str], Any]


KEPT = ("ledger.schema_migrations", "ledger.chained_tables", "ledger.chain_head")
"""What the migrations wrote."""


def _nothing(_: str) -> None:
    """Happen at no boundary."""


LANE = "lane"
"""The boundary at which somebody else holds the account's lane."""


@dataclass
class Lanes:
    """How often a lane may have become free: nobody need ask for one before that changes."""

    freed: int = 0


class ObservedRedis(SteppedRedis):
    """A client whose every command is a boundary, before and after."""

    boundary: Boundary = staticmethod(_nothing)

    def execute_command(self, *args: object, **options: object) -> object:
        """Send a command between two boundaries."""
        self.boundary("redis")
        reply = super().execute_command(*args, **options)
        self.boundary("redis done")
        return reply


class SharedLedger(Ledger):
    """A ledger whose lane is waited for at boundaries, so that the one who holds it can go on.

    Attributes:
        clock: tells the time and by how much the clock has been stepped.
        lanes: those of all processes.
        since: what it told when the lane was taken last.
        canceled: the parents that were cancelled by then.
    """

    boundary: Boundary = staticmethod(_nothing)
    clock: Callable[[], tuple[datetime, float]]
    lanes: Lanes
    since: tuple[datetime, float] | None = None
    canceled: frozenset[str] = frozenset()

    @contextmanager
    def lane(self, account: str, **_: object) -> Iterator[None]:
        """Hold the same lock as the product does."""
        try:
            with self._locked(account):
                yield
        finally:
            self.lanes.freed += 1

    @contextmanager
    def _locked(self, account: str) -> Iterator[None]:
        with self._pool.connection() as connection:
            lock = "select pg_try_advisory_xact_lock(hashtext('lane'), hashtext(%s)) as got"
            while not connection.execute(lock, (account,)).fetchone()["got"]:
                self.boundary(LANE)
            rows = connection.execute("select parent_id from ledger.parent_cancellations").fetchall()
            self.canceled, self.since = frozenset(row["parent_id"] for row in rows), self.clock()
            yield


@dataclass
class Slot:
    """The connections of one process."""

    ledger: SharedLedger
    client: ObservedRedis


@dataclass
class Stage:
    """Everything that outlives a scenario."""

    admin: psycopg.Connection[dict[str, Any]]
    redis: redis.Redis
    dumps: redis.Redis
    """The same server, whose answers are bytes."""
    slots: dict[str, Slot]
    tables: list[str]
    lanes: Lanes
    accounts: set[str] = field(default_factory=set)
    latest: datetime = START
    """The latest instant that anybody was told in this scenario."""

    def begin(self, account: str, instant: datetime) -> None:
        """Make sure that nothing is left of an account, and set the clock. Emptying the tables takes its time."""
        self.redis.flushall()
        self.redis.script_flush()
        if account in self.accounts or len(self.accounts) > 200:
            self._sweep()
        self.accounts.add(account)
        self.latest = instant
        self.set_time(instant)

    def _sweep(self) -> None:
        self.accounts.clear()
        self.admin.execute(f"truncate {', '.join(self.tables)}")

    def copy_book(self) -> dict[bytes, bytes]:
        """Return what Redis holds, as a backup would."""
        return {key: self.dumps.dump(key) for key in self.dumps.scan_iter()}

    def restart_redis(self, held: dict[bytes, bytes] | None = None) -> None:
        """Take every connection and every script from its clients, and come back with what was held at another time."""
        self.dumps.script_flush()
        if held is not None:
            self.dumps.flushall()
            for key, value in held.items():
                self.dumps.restore(key, 0, value)
        self.dumps.client_kill_filter(_type="normal", skipme=True)

    def restart_postgres(self) -> None:
        """Take every connection from its clients, and with it transactions that are open and locks that are held."""
        self.lanes.freed += 1
        rows = self.admin.execute(
            """select pid, pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"""
        ).fetchall()
        # All at once: to wait for each in turn, as the server offers, takes a tenth of a second each.
        ended = [row["pid"] for row in rows]
        while self.admin.execute("select from pg_stat_activity where pid = any(%s) limit 1", (ended,)).fetchall():
            continue

    def set_time(self, instant: datetime) -> None:
        """Say what time it is."""
        self.latest = max(self.latest, instant)
        self.admin.execute("update simulation.time set instant = %s", (instant,))
        self.redis.set("simulation:now_us", int(instant.timestamp() * 1_000_000))


@contextmanager
def stage(
    database_url: str, redis_url: str, boundary: Boundary, clock: Callable[[], tuple[datetime, float]]
) -> Iterator[Stage]:
    """Open a stage; `boundary` is called at each boundary of every process, in the thread that reached it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_CLOCK)
        connection.execute("insert into simulation.time values (%s)", (START,))
    migrate(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_DECIDED)
    slots: dict[str, Slot] = {}
    lanes = Lanes()
    settings = {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0), "decode_responses": True}
    with (
        psycopg.connect(database_url, autocommit=True, row_factory=psycopg.rows.dict_row) as admin,
        redis.Redis.from_url(redis_url, **settings) as plain,
        redis.Redis.from_url(redis_url, socket_timeout=5) as dumps,
    ):
        try:
            for name in (*PROCESSES, UNSEEN):
                client = ObservedRedis.from_url(redis_url, **settings)
                ledger = SharedLedger(database_url, pool_size=4, observer=_nothing if name == UNSEEN else boundary)
                if name != UNSEEN:
                    client.boundary = ledger.boundary = boundary
                ledger.clock, ledger.lanes = clock, lanes
                ledger.open()
                slots[name] = Slot(ledger=ledger, client=client)
            rows = admin.execute(
                "select schemaname || '.' || tablename as name from pg_tables where schemaname = 'ledger'"
            ).fetchall()
            tables = ["simulation.decided", *(row["name"] for row in rows if row["name"] not in KEPT)]
            yield Stage(admin=admin, redis=plain, dumps=dumps, slots=slots, tables=tables, lanes=lanes)
        finally:
            for slot in slots.values():
                slot.ledger.close()
                slot.client.close()
