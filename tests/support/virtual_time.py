"""Time of a test's database: the real one, moved by as much as the test says.

The product's SQL asks for `now()` and `clock_timestamp()`; a schema of ours comes first in the search path and answers.
"""

import psycopg

_SET_UP = """
create schema if not exists simulation;
create table if not exists simulation.shift (by interval not null);
insert into simulation.shift select interval '0' where not exists (select from simulation.shift);
create or replace function simulation.clock_timestamp() returns timestamptz language sql volatile as
  'select pg_catalog.clock_timestamp() + by from simulation.shift';
create or replace function simulation.now() returns timestamptz language sql volatile as
  'select pg_catalog.now() + by from simulation.shift';
do $$ begin
  execute format('alter database %I set search_path = simulation, pg_catalog, public', current_database());
end $$;
"""


def virtual_time(database_url: str) -> None:
    """Give a database a clock that can be moved; call it before the tables are made."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_SET_UP)


def shift_time(database_url: str, seconds: float) -> None:
    """Move the database's clock, back too."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update simulation.shift set by = by + make_interval(secs => %s)", (seconds,))


def set_shift(database_url: str, seconds: float) -> None:
    """Let the database's clock stand so far from the real one."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update simulation.shift set by = make_interval(secs => %s)", (seconds,))
