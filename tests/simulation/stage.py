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
from support.stepped_redis import SteppedRedis

from trading_pipeline.adapters.store.ledger import Ledger, migrate

PROCESSES = ("submitter 1", "submitter 2", "daemon 1", "operator 1", "operator 2", "restorer")
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
# Nobody who holds a lock runs while another waits for it, so the time-out decides nothing but how long that takes.

REDIS_CLOCK = "local function now_us() return tonumber(redis.call('GET', 'simulation:now_us')) end"
"""The guard's clock in its scripts: what the stage says it is."""

Boundary = Callable[[str], Any]


KEPT = ("ledger.schema_migrations", "ledger.chained_tables", "ledger.chain_head")
"""What the migrations wrote."""


class ObservedRedis(SteppedRedis):
    """A client whose every command is a boundary, before and after."""

    boundary: Boundary = staticmethod(lambda _: None)

    def execute_command(self, *args: object, **options: object) -> object:
        """Send a command between two boundaries."""
        self.boundary("redis")
        reply = super().execute_command(*args, **options)
        self.boundary("redis done")
        return reply


class SharedLedger(Ledger):
    """A ledger whose lane is waited for at boundaries, so that the one who holds it can go on."""

    boundary: Boundary = staticmethod(lambda _: None)

    @contextmanager
    def lane(self, account: str, **_: object) -> Iterator[None]:
        """Hold the same lock as the product does."""
        with self._pool.connection() as connection:
            lock = "select pg_try_advisory_xact_lock(hashtext('lane'), hashtext(%s)) as got"
            while not connection.execute(lock, (account,)).fetchone()["got"]:
                self.boundary("lane")
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
    accounts: set[str] = field(default_factory=set)

    def begin(self, account: str, instant: datetime) -> None:
        """Make sure that nothing is left of an account, and set the clock. Emptying the tables takes its time."""
        self.redis.flushall()
        self.redis.script_flush()
        if account in self.accounts or len(self.accounts) > 200:
            self._sweep()
        self.accounts.add(account)
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
        self.admin.execute(
            """select pg_terminate_backend(pid, 5000) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"""
        )

    def set_time(self, instant: datetime) -> None:
        """Say what time it is."""
        self.admin.execute("update simulation.time set instant = %s", (instant,))
        self.redis.set("simulation:now_us", int(instant.timestamp() * 1_000_000))


@contextmanager
def stage(database_url: str, redis_url: str, boundary: Boundary) -> Iterator[Stage]:
    """Open a stage; `boundary` is called at each boundary of every process, in the thread that reached it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_CLOCK)
        connection.execute("insert into simulation.time values ('2023-09-01 20:00+00')")
    migrate(database_url)
    slots: dict[str, Slot] = {}
    settings = {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0), "decode_responses": True}
    with (
        psycopg.connect(database_url, autocommit=True, row_factory=psycopg.rows.dict_row) as admin,
        redis.Redis.from_url(redis_url, **settings) as plain,
        redis.Redis.from_url(redis_url, socket_timeout=5) as dumps,
    ):
        try:
            for name in PROCESSES:
                client = ObservedRedis.from_url(redis_url, **settings)
                client.boundary = boundary
                ledger = SharedLedger(database_url, pool_size=4, observer=boundary)
                ledger.boundary = boundary
                ledger.open()
                slots[name] = Slot(ledger=ledger, client=client)
            rows = admin.execute(
                "select schemaname || '.' || tablename as name from pg_tables where schemaname = 'ledger'"
            ).fetchall()
            tables = [row["name"] for row in rows if row["name"] not in KEPT]
            yield Stage(admin=admin, redis=plain, dumps=dumps, slots=slots, tables=tables)
        finally:
            for slot in slots.values():
                slot.ledger.close()
                slot.client.close()
