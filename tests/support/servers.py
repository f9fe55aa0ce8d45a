"""Databases of a test's own on the shared servers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import psycopg
import tenacity
from psycopg import sql

from trading_pipeline.embedded import ServerUrls

_numbers = count(1)


@contextmanager
def fresh_database(servers: ServerUrls) -> Iterator[str]:
    """Make an empty database and drop it afterwards, whoever still holds it."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield servers.database_url.rpartition("/")[0] + f"/{name}"
    drop_database(servers, name)


def drop_database(servers: ServerUrls, name: str) -> None:
    """Drop a database, whoever still holds it, and however long its server takes to recover."""
    drop = sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
    # A worker of autovacuum is nobody's to end; it leaves by itself.
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((psycopg.errors.InsufficientPrivilege, psycopg.OperationalError)),
        wait=tenacity.wait_fixed(0.2),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    ):
        with attempt, psycopg.connect(servers.database_url, autocommit=True) as connection:
            connection.execute(drop)
